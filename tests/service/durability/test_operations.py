"""Random operations while the service, and its database, are killed: nothing lost, stale, leaked.

The same with 10,000 operations and 20 kills: ``python -m tests.service.durability.operations``.
"""

import pytest

from tests.service.durability.operations import run_operations
from tests.service.support.processes import PostgresServer

OPERATIONS, KILLS = 600, 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_is_lost_stale_or_leaked(classify_export, tmp_path, kind):
    postgres = None
    if kind == "postgresql":
        postgres = PostgresServer(tmp_path / "postgres")
        postgres.start()
    try:
        report = run_operations(classify_export.bundle, tmp_path, OPERATIONS, KILLS, postgres)
    finally:
        if postgres is not None:
            postgres.stop()
    assert (report.lost, report.stale, report.leaked, report.refused) == ([], [], [], [])
    assert report.operations >= OPERATIONS
    assert report.kills == KILLS
    assert report.fixes > OPERATIONS // 10
