"""Serves a bundle or an archive on the real TorchServe."""

import os
import shlex
import tempfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from augrank.bundle.load import load_bundle
from augrank.bundle.spec import BUNDLE_FILE, BundleSpec, Precision
from augrank.errors import ServerError
from augrank.images.decode import encode
from augrank.models.engines import Device
from augrank.runtime import settings
from augrank.serving.capacity import ServingPlan, plan_serving
from augrank.serving.model_folder import MANIFEST, ModelConfig, lay_out, link_served, write_config
from augrank.serving.torchserve import (
    LOOPBACK,
    READY_TIMEOUT_S,
    TENSORRT_TIMEOUT_S,
    TorchServe,
    TorchServeOptions,
    run_torchserve,
)

EXAMPLE, WARM_UP_S = "example.jpg", 2.0


@dataclass(frozen=True)
class ServerOptions:
    """How to serve. ``port`` 0 takes any free one.

    None leaves a setting to the workers' own environment variables.
    """

    port: int = 8080
    host: str = LOOPBACK
    auth: bool = True
    plan: ServingPlan = field(default_factory=plan_serving)
    precision: Precision | None = None
    device: Device | None = None
    cache_mb: int | None = None
    timeout_s: int = 60  # for an answer; a worker that takes longer is started anew

    @property
    def model_config(self) -> ModelConfig:
        """TorchServe's side of it."""
        return ModelConfig(
            minWorkers=self.plan.workers,
            maxWorkers=self.plan.workers,
            batchSize=self.plan.batch_size,
            maxBatchDelay=self.plan.batch_delay_ms,
            responseTimeout=self.timeout_s,
        )

    @property
    def torchserve(self) -> TorchServeOptions:
        """TorchServe's own."""
        plan = self.plan
        device = self.device or os.environ.get(settings.DEVICE)
        wait_s = TENSORRT_TIMEOUT_S if device == "tensorrt" else READY_TIMEOUT_S
        return TorchServeOptions(
            self.port, self.host, self.auth, plan.workers, plan.queue_size, wait_s
        )

    @property
    def worker_environment(self) -> dict[str, str]:
        """The workers' side of it: what was planned and asked goes before the environment."""
        asked = {
            settings.THREADS: self.plan.threads,
            settings.SPIN: int(self.plan.spin),
            settings.PRECISION: self.precision,
            settings.DEVICE: self.device,
            settings.CACHE_MB: self.cache_mb,
        }
        given = {name: str(value) for name, value in asked.items() if value is not None}
        return {**os.environ, **given}


@dataclass(frozen=True)
class Server(TorchServe):
    """A running, ready server of a bundle."""

    spec: BundleSpec

    @property
    def example(self) -> Path:
        """An image to try it with, there as long as the server runs."""
        return self.folder / EXAMPLE

    def curl(self) -> str:
        """A command line that works as it is: an image and context that this bundle knows."""
        words = ["curl"]
        for name, value in self.headers.items():
            words += ["-H", f"{name}: {value}"]
        words += ["-F", f"image=@{self.example}"]
        for name, value in self.spec.example_fields().items():
            words += ["--form-string", f"{name}={value}"]
        return shlex.join([*words, self.url])


@contextmanager
def serve(source: Path, options: ServerOptions | None = None) -> Iterator[Server]:
    """Serve a bundle directory, a ``.mar`` or an archive's unpacked folder for the while.

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
        _write_example(folder, name)
        with run_torchserve(folder, name, options.torchserve, options.worker_environment) as server:
            served = Server(**vars(server), spec=spec)
            _warm_up(served, options.plan.workers)
            yield served


def _warm_up(server: Server, workers: int) -> None:
    """Ask small questions for a moment, so that Java has compiled its part before users come."""
    deadline = time.monotonic() + WARM_UP_S
    fields = server.spec.cheap_fields()
    image = server.example.read_bytes()

    def ask(_: int) -> None:
        with httpx.Client(headers=server.headers, timeout=60) as client:
            while time.monotonic() < deadline:
                client.post(server.url, files={"image": image}, data=fields)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(ask, range(workers)))


def _model_folder(source: Path, store: Path, options: ServerOptions) -> tuple[str, BundleSpec]:
    """Unpack, link or lay out the served folder under ``store``, with a config of ours."""
    if (source / MANIFEST).is_file():
        spec = load_bundle(source / "bundle").spec
        link_served(source, store / spec.name)
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
    return spec.name, spec


def _unpack(source: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise ServerError(
            f"{source} cannot be served: {error}",
            expected="a bundle directory or a .mar archive",
            remedy="Make one with: python -m export build RUN --out DIST",
        ) from error


def _write_example(folder: Path, name: str) -> None:
    """An image of the catalogue where the bundle carries any, else a grey one."""
    data = encode(np.full((160, 160, 3), 128, np.uint8))
    archive = folder / "models" / name / "bundle" / "alternates" / "thumbnails.zip"
    if archive.is_file():
        with zipfile.ZipFile(archive) as thumbnails:
            data = thumbnails.read("0.jpg")
    (folder / EXAMPLE).write_bytes(data)
