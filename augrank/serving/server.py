"""Serve a bundle or an archive on TorchServe."""

import os
import shlex
import tempfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from augrank.bundle.load import load_bundle
from augrank.bundle.spec import BUNDLE_FILE, BundleSpec
from augrank.contracts.run import Precision
from augrank.errors import ServerError, reason
from augrank.images.decode import encode
from augrank.models.engines import Device, uses_accelerator
from augrank.runtime import settings
from augrank.runtime.settings import WorkerSettings
from augrank.serving.capacity import ServingPlan, plan_serving
from augrank.serving.model_folder import (
    MANIFEST,
    ModelConfig,
    lay_out,
    link_model_folder,
    write_config,
)
from augrank.serving.torchserve import (
    LOOPBACK,
    READY_TIMEOUT_S,
    TENSORRT_TIMEOUT_S,
    TorchServe,
    TorchServeOptions,
    loopback_client,
    run_torchserve,
)

EXAMPLE, WARM_UP_S = "example.jpg", 2.0
WITHOUT_TORCH = Path(__file__).with_name("without_torch")
SCRATCH = "augrank-serve-"
MAX_SOCKET_PATH_BYTES = 107


@dataclass(frozen=True)
class ServerOptions:
    """Options of a server. ``port`` 0 selects a free one.

    None leaves a setting to the workers' own environment variables.
    """

    port: int = 8080
    host: str = LOOPBACK
    auth: bool = True
    plan: ServingPlan = field(default_factory=plan_serving)
    precision: Precision | None = None
    device: Device | None = None
    cache_mb: int | None = None
    embedding_cache_mb: int | None = None
    allow_urls: bool | None = None
    timeout_s: int = 60  # for an answer; a worker that takes longer is restarted
    management_port: int = 0  # of the API that registers models; 0: they stay as they are

    @property
    def model_config(self) -> ModelConfig:
        """The options that TorchServe reads from model-config.yaml."""
        return ModelConfig(
            minWorkers=self.plan.workers,
            maxWorkers=self.plan.workers,
            batchSize=self.plan.batch_size,
            maxBatchDelay=self.plan.batch_delay_ms,
            responseTimeout=self.timeout_s,
        )

    @property
    def torchserve(self) -> TorchServeOptions:
        """The options that TorchServe reads from its properties."""
        plan = self.plan
        wait_s = TENSORRT_TIMEOUT_S if self._device == "tensorrt" else READY_TIMEOUT_S
        return TorchServeOptions(
            self.port,
            self.host,
            self.auth,
            plan.workers,
            plan.queue_size,
            wait_s,
            self.management_port,
        )

    @property
    def worker_environment(self) -> dict[str, str]:
        """The options that workers read; they override the environment."""
        variables = {
            settings.THREADS: self.plan.threads,
            settings.SPIN: int(self.plan.spin),
            settings.PRECISION: self.precision,
            settings.DEVICE: self.device,
            settings.CACHE_MB: self.cache_mb,
            settings.EMBEDDING_CACHE_MB: self.embedding_cache_mb,
            settings.ALLOW_URLS: int(self.allow_urls) if self.allow_urls is not None else None,
        }
        given = {name: str(value) for name, value in variables.items() if value is not None}
        if not uses_accelerator(self._device) or find_spec("torch") is None:
            path = (str(WITHOUT_TORCH), os.environ.get("PYTHONPATH", ""))
            given["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        return {**os.environ, **given}

    @property
    def _device(self) -> Device:
        return self.device or WorkerSettings.from_environment().device


@dataclass(frozen=True)
class Server:
    """A running, ready server of a bundle."""

    torchserve: TorchServe
    spec: BundleSpec

    @property
    def url(self) -> str:
        """The address of predictions."""
        return self.torchserve.url

    @property
    def headers(self) -> dict[str, str]:
        """The headers that a client must send: the inference key, if keys are on."""
        return self.torchserve.headers

    @property
    def logs(self) -> Path:
        """The folder of TorchServe's logs."""
        return self.torchserve.folder / "logs"

    @property
    def example(self) -> Path:
        """An example image, which exists while the server runs."""
        return self.torchserve.folder / EXAMPLE

    def curl(self) -> str:
        """Return a working command line, with fields that this bundle knows."""
        words = ["curl"]
        for name, value in self.headers.items():
            words += ["-H", f"{name}: {value}"]
        words += ["-F", f"image=@{self.example}"]
        for name, value in self.spec.example_fields().items():
            words += ["--form-string", f"{name}={value}"]
        return shlex.join([*words, self.url])


@contextmanager
def serve(source: Path, options: ServerOptions | None = None) -> Iterator[Server]:
    """Serve a bundle directory, a ``.mar`` or an archive's unpacked folder during the block.

    Args:
        source: a bundle, archive or folder that ``python -m export build`` wrote.
        options: port, keys, plan; by default those for the shortest answer to one request.

    Yields:
        The server, once its workers are READY.

    Raises:
        ServerError: it did not start; includes the end of its log.
        BundleError: the bundle is incompatible.
    """
    options = options or ServerOptions()
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=_scratch_parent()) as scratch:
        folder = Path(scratch)
        spec = _model_folder(source, folder / "models", options)
        _write_example(folder, spec.name)
        with run_torchserve(
            folder, spec.name, options.torchserve, options.worker_environment
        ) as torchserve:
            server = Server(torchserve, spec)
            _warm_up(server, options.plan.workers)
            yield server


def _scratch_parent() -> str:
    """Return a directory for the server's files whose path is short enough for its sockets.

    TorchServe's workers listen on Unix sockets in the server's temporary directory, and the system
    bounds the length of a socket's path (unix(7)).

    Raises:
        ServerError: no such directory.
    """
    for parent in (tempfile.gettempdir(), "/tmp"):
        longest = f"{parent}/{SCRATCH}12345678/tmp/.ts.sock.12345"
        if len(os.fsencode(longest)) <= MAX_SOCKET_PATH_BYTES and os.access(parent, os.W_OK):
            return parent
    raise ServerError(
        "the path of the directory for temporary files is too long for TorchServe's sockets",
        expected=f"socket paths of at most {MAX_SOCKET_PATH_BYTES} bytes",
        got=tempfile.gettempdir(),
        remedy="Set TMPDIR to a shorter path, such as /tmp.",
    )


def _warm_up(server: Server, workers: int) -> None:
    """Send cheap requests for a moment, so that Java compiles its code before users connect."""
    deadline = time.monotonic() + WARM_UP_S
    fields = server.spec.cheap_fields()
    image = server.example.read_bytes()

    def ask(_: int) -> None:
        with loopback_client(headers=server.headers, timeout=60) as client:
            while time.monotonic() < deadline:
                client.post(server.url, files={"image": image}, data=fields)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(ask, range(workers)))


def _model_folder(source: Path, store: Path, options: ServerOptions) -> BundleSpec:
    """Unpack, link or lay out the model folder under ``store``, and write its config."""
    if (source / MANIFEST).is_file():
        spec = load_bundle(source / "bundle").spec
        link_model_folder(source, store / spec.name)
    elif source.is_dir():
        if (source / "bundle" / BUNDLE_FILE).is_file():
            source = source / "bundle"
        spec = load_bundle(source).spec
        lay_out(source, store / spec.name, spec.name)
    else:
        unpacked = store / "unpacked"
        _unpack(source, unpacked)
        spec = load_bundle(unpacked / "bundle").spec
        unpacked.rename(store / spec.name)
    write_config(store / spec.name, options.model_config)
    return spec


def _unpack(source: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise ServerError(
            f"{source} cannot be served",
            expected="a bundle directory or a .mar archive",
            got=reason(error),
            remedy="Create one with: python -m export build RUN --out DIST",
        ) from error


def _write_example(folder: Path, name: str) -> None:
    """Write an image of the catalogue if the bundle contains any, else a grey one."""
    data = encode(np.full((160, 160, 3), 128, np.uint8))
    archive = folder / "models" / name / "bundle" / "alternates" / "thumbnails.zip"
    if archive.is_file():
        with zipfile.ZipFile(archive) as thumbnails:
            data = thumbnails.read("0.jpg")
    (folder / EXAMPLE).write_bytes(data)
