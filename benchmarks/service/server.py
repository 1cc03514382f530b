"""Start the service as a user does, and ask it."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from augrank.errors import DataError
from benchmarks.common.http_client import Payload

START_S, STOP_S = 120.0, 30.0
ADVERTISER, LOG = "benchmark", "service.log"
# Connections of other processes get higher ones: a port stays free while a service is killed and
# started again.
PORTS = range(20_000, 32_768)


@dataclass(frozen=True)
class RunningService:
    """A service that answers."""

    root: str  # its URL
    http: httpx.Client
    process: subprocess.Popen[bytes]
    log: Path


def free_port() -> int:
    """Return a port that nobody listens on."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def running_service(
    bundles: Sequence[Path], folder: Path, settings: Mapping[str, object]
) -> Iterator[RunningService]:
    """Start ``python -m service`` on a new database; end it with the block.

    Args:
        bundles: that it serves.
        folder: for its database, images and log.
        settings: by name, as of ``ServiceSettings``.

    Raises:
        DataError: it does not start.
    """
    port = free_port()
    process = start_service(bundles, folder, port, settings)
    root = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=root, timeout=120) as http:
            yield RunningService(root, http, process, folder / LOG)
    finally:
        stop(process)


def start_service(
    bundles: Sequence[Path], folder: Path, port: int, settings: Mapping[str, object]
) -> subprocess.Popen[bytes]:
    """Start ``python -m service`` and wait until it answers.

    Args:
        bundles: that it serves.
        folder: with its database, images and log, or for them.
        port: on loopback.
        settings: by name, as of ``ServiceSettings``.

    Returns:
        The process, for ``stop``.

    Raises:
        DataError: it does not start.
    """
    log = folder / LOG
    folder.mkdir(parents=True, exist_ok=True)
    variables = {f"AUGRANK_SERVICE_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "service", *map(str, bundles), "--folder", str(folder)]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **variables},
        )
    try:
        _wait(f"http://127.0.0.1:{port}", process, log)
    except BaseException:
        stop(process)
        raise
    return process


@contextmanager
def running_site(folder: Path) -> Iterator[str]:
    """Start the local web site with a folder's images; give its URL."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.service.site", str(folder), str(port)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    root = f"http://127.0.0.1:{port}"
    try:
        _wait(root, process, None)
        yield root
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, kindly first."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def upload(images: Sequence[bytes]) -> Payload:
    """Return a request of ``/v1/classify`` with image files, ready to send."""
    return form({}, "images", images)


def form(fields: Mapping[str, str], name: str, images: Sequence[bytes]) -> Payload:
    """Return a request with a form, ready to send.

    Args:
        fields: beside the advertiser.
        name: of the field with image files.
        images: their content.
    """
    boundary = secrets.token_hex(12)
    parts = [
        _part(boundary, f'name="{field}"', text.encode())
        for field, text in {"advertiser": ADVERTISER, **fields}.items()
    ]
    parts += [
        _part(boundary, f'name="{name}"; filename="{number}.jpg"', data)
        for number, data in enumerate(images)
    ]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return Payload(body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


def _part(boundary: str, disposition: str, data: bytes) -> bytes:
    head = f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    return head.encode() + data + b"\r\n"


def _wait(root: str, process: subprocess.Popen[bytes], log: Path | None) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{root}/readyz").status_code < 500:
                return
        time.sleep(0.1)
    told = log.read_text(encoding="utf-8")[-2000:] if log is not None else "no answer"
    raise DataError("the service does not start", expected=f"an answer at {root}", got=told)


def answered(response: httpx.Response) -> Any:
    """Return a response's JSON.

    Raises:
        DataError: it is an error.
    """
    if response.is_error:
        raise DataError(
            f"the service refused {response.request.method} {response.request.url.path}",
            expected="a success",
            got=response.text[:500],
        )
    return response.json()
