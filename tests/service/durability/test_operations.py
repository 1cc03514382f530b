"""Random operations while the service, and its database, are killed: nothing lost, stale, leaked.

The same with 10,000 operations and 20 kills: ``python -m benchmarks durability``.
"""

import json

import pytest
from typer.testing import CliRunner

from benchmarks.cli.app import app
from benchmarks.durability import postgres
from benchmarks.durability.document import HEADING
from benchmarks.durability.tally import FAULTS
from benchmarks.service import server
from tests.support.patience import PATIENCE_S

OPERATIONS, KILLS = 600, 3


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "database_kills"), [("sqlite", 0), ("postgresql", 1)])
def test_nothing_is_lost_stale_or_leaked(
    classify_export, tmp_path, monkeypatch, kind, database_kills
):
    for module in (server, postgres):
        monkeypatch.setattr(module, "START_S", PATIENCE_S)
    document = tmp_path / "results.md"
    document.write_text("# Results\n\n## Another\n\nIts text.\n", encoding="utf-8")
    command = ["durability", str(classify_export.bundle), "--database", kind, "--operations",
               str(OPERATIONS), "--kills", str(KILLS), "--out", str(tmp_path / "out"),
               "--document", str(document)]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    (counts,) = json.loads(done.stdout.splitlines()[-1])["databases"].values()
    assert counts["examples"] == {name: [] for name in FAULTS}
    assert [counts[name] for name in FAULTS] == [0, 0, 0, 0]
    assert counts["operations"] >= OPERATIONS
    assert (counts["kills"], counts["database_kills"]) == (KILLS, database_kills)
    assert counts["fixes"] > OPERATIONS // 10
    assert counts["unanswered"] > 0
    text = document.read_text(encoding="utf-8")
    assert text.startswith("# Results\n\n## Another\n\nIts text.\n\n" + HEADING)
    name = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[kind]
    assert f"| {name}: fixes lost | 0 | ≤ 0 | ≤ 0 | aim reached |" in text
    assert f"| {name}: random operations | {counts['operations']} | 10000 | 10000 | missed" in text
