"""The service and a PostgreSQL server as processes of their own, to be killed."""

import secrets
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.service.support.postgres import open_postgres
from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]
# Connections of other processes get higher ones: a port stays free while a service is killed and
# started again.
PORTS = range(20_000, 32_768)
_given_out: set[int] = set()


def free_port() -> int:
    """Return a port that is free and that this process has not returned before."""
    while True:
        port = secrets.choice(PORTS)  # pytest-randomly seeds the others, alike in all processes
        if port in _given_out:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            _given_out.add(port)
            return port


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
    deadline = time.monotonic() + PATIENCE_S
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
        self._folder = folder
        self._server: Any = None

    def start(self) -> None:
        """Start it, with the data that are there."""
        if self._server is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._server = open_postgres(self._folder)
        else:
            self._server.ensure_postgres_running()

    def kill(self) -> None:
        """End all its processes at once, as when a machine fails."""
        postmaster = psutil.Process(self._server.get_pid())
        everyone = [postmaster, *postmaster.children(recursive=True)]
        for process in everyone:
            process.kill()
        psutil.wait_procs(everyone, PATIENCE_S)

    def stop(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.cleanup()

    @property
    def url(self) -> str:
        """URL of its first database."""
        return str(self._server.get_uri()).replace("postgresql://", "postgresql+psycopg://")
