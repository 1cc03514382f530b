"""The service as a process of its own, to be killed."""

import secrets
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx

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
