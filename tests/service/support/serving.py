"""The service on loopback: a process as people start it, or an application in a thread."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

from tests.service.support.processes import ROOT, free_port
from tests.support.patience import PATIENCE_S

STOP_S = 120


@dataclass(frozen=True)
class Site:
    """A running service, and the folder with its database and log."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


@contextmanager
def running(
    folder: Path, *bundles: Path, port: int = 0, settings: Mapping[str, object] | None = None
) -> Iterator[Site]:
    """Run ``python -m service BUNDLES`` until the block ends.

    Args:
        folder: for the database and the log.
        bundles: to serve.
        port: 0: a free one.
        settings: by name, such as ``{"max_upload_mb": 1}``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    words = [*map(str, bundles), "--folder", str(folder), "--port", str(port)]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("AUGRANK_SERVICE_")}
    own = {f"AUGRANK_SERVICE_{name.upper()}": str(v) for name, v in (settings or {}).items()}
    with (folder / "log").open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", *words],
            cwd=ROOT,
            env={**inherited, **own},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    site = Site(f"http://127.0.0.1:{port}", folder, process)
    try:
        _wait_until_ready(site)
        yield site
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(site: Site) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and site.process.poll() is None:
        try:
            if httpx.get(f"{site.url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the service is not ready: {site.log[-2000:]}")


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve an application from a thread of this process until the block ends; give its URL."""
    listening = socket.create_server(("127.0.0.1", 0))  # closed by the server
    config = uvicorn.Config(
        app, log_config=None, log_level="warning", timeout_keep_alive=PATIENCE_S
    )
    server = uvicorn.Server(config)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=([listening],), name="uvicorn")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the application did not start"
            time.sleep(0.02)
        yield url
    finally:
        server.should_exit = True
        thread.join()
