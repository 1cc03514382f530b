"""This machine as instance types: 1, 2, 4, ... and all cores, and its GPU."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from augrank.bundle.load import load_bundle
from augrank.errors import BadRequest, ServerError
from augrank.images.files import IMAGE_SUFFIXES
from augrank.reporting import ShowStatus
from augrank.resources import available_memory, usable_cores
from augrank.serving.capacity import CapacityRequest, plan_serving
from augrank.serving.server import ServerOptions, serve
from benchmarks.common.http_client import HttpEndpoint
from benchmarks.common.requests import requests_for
from benchmarks.instances.catalogue import InstanceType
from benchmarks.instances.figures import (
    LoadPlan,
    ServingFigures,
    TrainingFigures,
    measure_load,
    training_figures,
)
from benchmarks.serving.systems import json_body

FAMILY = "here"
GPU = f"{FAMILY}.gpu"


def local_types(gpu: str = "") -> list[InstanceType]:
    """Return 1, 2, 4, ... and all cores as instance types, and the GPU of this name."""
    cores, memory_gb = usable_cores(), round(available_memory() / 2**30, 1)
    counts = sorted({cores, *(2**n for n in range(cores.bit_length()) if 2**n <= cores)})
    kinds = [
        InstanceType(f"{FAMILY}.{count}", count, memory_gb, 0, "", trains=True, serves=True)
        for count in counts
    ]
    if gpu:
        kinds.append(InstanceType(GPU, cores, memory_gb, 1, gpu, trains=True, serves=True))
    return kinds


def gpu_name() -> str:
    """Return the name of this machine's GPU; an empty string without one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


@dataclass(frozen=True)
class Workload:
    """The training and serving to measure on this machine."""

    manifest: Path
    images: Path
    options: dict[str, Any]  # of fit
    dist: Path | None  # an export to serve; by default the one that was trained here
    scratch: Path


class LocalPlatform:
    """Trains with ``python -m training fit`` and serves with TorchServe, on some of the cores."""

    def __init__(self, workload: Workload, load: LoadPlan) -> None:
        self._work, self._load = workload, load

    def train(self, kind: InstanceType, step: ShowStatus) -> TrainingFigures:
        """Train from the beginning; its hours include decoding."""
        run = self._work.scratch / kind.name / "run"
        options = [
            f"--{name.replace('_', '-')}={_as_typed(value)}"
            for name, value in self._work.options.items()
        ]
        device = "cuda" if kind.name == GPU else "cpu"
        command = [
            sys.executable,
            "-m",
            "training",
            "fit",
            "--manifest",
            self._work.manifest,
            "--images",
            self._work.images,
            "--out",
            run,
            "--overwrite",
            "--no-baselines",
            "--threads",
            kind.vcpu,
            "--device",
            device,
            *options,
        ]
        _run(command, kind, step)
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
        column = partial(_column, report["history"])
        hours = sum(report["seconds"].values()) / 3600
        return training_figures(
            column("samples_per_s"), column("seconds"), column("input_share"), hours
        )

    def serve(self, kind: InstanceType, step: ShowStatus) -> ServingFigures:
        """Run TorchServe on these cores; the clients may use all."""
        bundle = load_bundle(self._dist(kind, step) / "bundle")
        asked = requests_for(bundle, self._images())
        gpu = kind.name == GPU
        plan = plan_serving(CapacityRequest("throughput", cores=kind.vcpu, gpu=gpu))
        options = ServerOptions(port=0, auth=False, plan=plan, device="cuda" if gpu else "cpu")
        with cores(kind.vcpu), serve(bundle.directory, options) as server, cores(usable_cores()):
            endpoint = HttpEndpoint(server.url, server.headers)
            return measure_load(endpoint, [json_body(each) for each in asked], self._load, step)

    def clean(
        self, works: Sequence[str], kinds: Sequence[InstanceType], step: ShowStatus
    ) -> list[str]:
        """Remove nothing: servers end with the process that started them."""
        return []

    def _dist(self, kind: InstanceType, step: ShowStatus) -> Path:
        """Return the export to serve: the user's, or the run trained here, exported once."""
        if self._work.dist is not None:
            return self._work.dist
        dist = self._work.scratch / "dist"
        if not (dist / "bundle" / "bundle.json").is_file():
            runs = sorted(self._work.scratch.glob("*/run/run.json"))
            if not runs:
                raise BadRequest(
                    "there is nothing to serve", remedy="Give --dist DIST, or train with --training"
                )
            step("exporting the trained run")
            command = [sys.executable, "-m", "export", "build", runs[-1].parent, "--out", dist]
            _run([*command, "--images", self._work.images], kind, step)
        return dist

    def _images(self) -> Sequence[Path]:
        return sorted(
            path for path in self._work.images.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES
        )[:20]


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Restrict processes started in this block to this number of cores."""
    _all_cores()  # before the first restriction
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _all_cores()[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@cache
def _all_cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _run(command: Sequence[object], kind: InstanceType, step: ShowStatus) -> None:
    words = [str(word) for word in command]
    with cores(kind.vcpu):
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    output = []
    try:
        for line in process.stdout or ():
            output.append(line.rstrip())
            if line[:1].isalpha():  # not the tables
                step(f"{kind.name}: {line.strip()[:90]}")
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise ServerError(
            f"{' '.join(words[1:5])} failed on {kind.name}", got="\n".join(output[-5:])
        )


def _as_typed(value: object) -> str:
    if isinstance(value, dict):
        value = [f"{name}={each}" for name, each in value.items()]
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _column(history: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [float(epoch[name]) for epoch in history]
