"""Measures whole runs of ``fit``: against a plain script, on more processes, the seeds' job."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augrank.errors import ServerError
from augrank.resources import usable_cores
from benchmarks.training.measure import BATCH, GPU_BATCH, Effort, Note
from simulation.render import RenderOptions, render_catalogue
from training.config import Architecture

ORIGINALS_A_PROCESS, ORIGINALS_A_GPU = 200, 4_000
SCALING_EPOCHS, SCALING_ROUNDS = 3, 6  # the first epoch warms up
# With fit's own shares of test and validation these train on the seeds' 32,370 images an epoch.
JOB_ORIGINALS, JOB_EPOCHS, JOB_SIZE = 8_300, 10, 224
JOB_BACKBONE: Architecture = "resnet34"


@dataclass
class SeenRuns:
    """Whole runs, ours and the plain script's, by round."""

    ours_s: list[float] = field(default_factory=list)
    naive_s: list[float] = field(default_factory=list)
    ours_accuracy: list[float] = field(default_factory=list)
    naive_accuracy: list[float] = field(default_factory=list)


@dataclass
class SeenScaling:
    """Training on more and more processes, by round."""

    of: str  # what each process has: core or GPU
    rates: dict[int, list[float]] = field(default_factory=dict)  # images a second; a batch each
    shared: list[float] = field(default_factory=list)  # of two that share one batch


@dataclass(frozen=True)
class SeenJob:
    """The seeds' job, from the start of its process to its end."""

    images: int  # trained on in an epoch
    cold_s: float  # decoding each original once
    warm_s: float
    accuracy: float


def measure_runs(images: Path, scratch: Path, effort: Effort, note: Note) -> SeenRuns:
    """Whole runs against the plain script, on CPUs, each pair with splits and weights of its own.

    Nothing is kept from one run for the next.
    """
    seen, size, backbone = SeenRuns(), effort.sizes[0], effort.backbones[0]
    for number in range(effort.runs):
        note(f"whole runs of {effort.epochs} epochs: {number + 1} of {effort.runs}")
        report, seconds = _fit(
            images, scratch / "run", epochs=effort.epochs, size=size, backbone=backbone,
            device="cpu", seed=number,
        )  # fmt: skip
        seen.ours_s.append(seconds)
        seen.ours_accuracy.append(report["backbone"]["test_accuracy"])
        naive = _naive(images, effort.epochs, size, backbone, number)
        seen.naive_s.append(naive["seconds"])
        seen.naive_accuracy.append(naive["accuracy"])
    return seen


def measure_scaling(scratch: Path, effort: Effort, note: Note) -> SeenScaling:
    """One process, two, ... up to all under torchrun: a GPU each where there are some, or a core.

    Each takes images and a batch of its own, so that what grows is the work; and two that share
    one batch.
    """
    gpus = torch.cuda.device_count()
    seen = SeenScaling("GPU" if gpus > 1 else "core")
    most = max(2, gpus if gpus > 1 else usable_cores())
    powers = () if effort.quick else (2**n for n in range(most.bit_length()))
    counts = sorted({1, 2, *powers, most})
    rounds = 2 if effort.quick else SCALING_ROUNDS
    device, own = ("cuda", GPU_BATCH) if gpus > 1 else ("cpu", BATCH)
    originals = ORIGINALS_A_GPU if gpus > 1 else ORIGINALS_A_PROCESS

    def rate(processes: int, batch: int) -> float:
        catalogue = scratch / f"scaling-{processes}"
        render_catalogue("sneaker", processes * originals, catalogue)
        report, _ = _fit(
            catalogue / "images", scratch / "run", epochs=SCALING_EPOCHS, size=effort.sizes[0],
            backbone=effort.backbones[0], processes=processes, batch=batch, device=device,
        )  # fmt: skip
        return float(np.median([epoch["samples_per_s"] for epoch in report["history"][1:]]))

    for number in range(rounds):
        note(f"{', '.join(map(str, counts))} processes: {number + 1} of {rounds}")
        for count in counts:
            seen.rates.setdefault(count, []).append(rate(count, count * own))
        seen.shared.append(rate(2, own))
    return seen


def measure_job(scratch: Path, note: Note) -> SeenJob:
    """The seeds' job: cold, then with its images decoded."""
    note(f"the seeds' job: rendering {JOB_ORIGINALS:,} images")
    render_catalogue("sneaker", JOB_ORIGINALS, scratch / "job", RenderOptions(size=JOB_SIZE))
    cache, seconds = scratch / "job-cache", list[float]()
    shutil.rmtree(cache, ignore_errors=True)
    for state in ("cold", "warm"):
        note(f"the seeds' job, {state}")
        report, taken = _fit(
            scratch / "job" / "images", scratch / "run", epochs=JOB_EPOCHS, size=JOB_SIZE,
            backbone=JOB_BACKBONE, cache=cache,
        )  # fmt: skip
        seconds.append(taken)
    recognised = report["backbone"]["per_augmentation"]
    images = report["rows"]["originals"]["train"] * len(recognised)
    cold_s, warm_s = seconds
    return SeenJob(images, cold_s, warm_s, report["backbone"]["test_accuracy"])


def _fit(
    images: Path,
    out: Path,
    *,
    epochs: int,
    size: int,
    backbone: Architecture = "resnet18",
    processes: int | None = None,
    batch: int = BATCH,
    device: str = "auto",
    cache: Path | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], float]:
    """``fit`` on an image folder, from the start of its process to its end.

    Args:
        images: the folder.
        out: run directory; removed first.
        epochs: of training.
        size: side, pixels.
        backbone: of the run.
        processes: under torchrun, a core or a GPU each; by default one process on all cores.
        batch: of all processes together.
        device: of fit.
        cache: of decoded images; by default the run's own, which is empty.
        seed: of the splits, the weights and the order.
    """
    shutil.rmtree(out, ignore_errors=True)
    launcher: list[str] = []
    if processes is not None and processes > 1:
        launcher = [
            "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"
        ]  # fmt: skip
    command = [
        sys.executable, *launcher, "-m", "training", "fit", "--images", str(images), "--out",
        str(out), "--backbone", backbone, "--image-size", str(size), "--epochs", str(epochs),
        "--batch-size", str(batch), "--device", device, "--seed", str(seed),
        *(["--cache", str(cache)] if cache else []),
    ]  # fmt: skip
    with _cores(processes if processes and device == "cpu" else usable_cores()):
        seconds = _run(command)[1]
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report, seconds


def _naive(
    images: Path, epochs: int, size: int, backbone: Architecture, seed: int
) -> dict[str, float]:
    command = [
        sys.executable, "-m", "benchmarks.training.baseline_script", "--images", str(images),
        "--backbone", backbone, "--epochs", str(epochs), "--image-size", str(size),
        "--batch-size", str(BATCH), "--seed", str(seed),
    ]  # fmt: skip
    output, seconds = _run(command)
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return {**result, "seconds": seconds}


def _run(command: Sequence[str]) -> tuple[str, float]:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"{' '.join(command[1:5])} failed", got=done.stderr[-1500:])
    return done.stdout, time.perf_counter() - start


def _place_in_its_core(cpu: int) -> tuple[int, int]:
    """Which of a core's hardware threads it is, then its number: for an order."""
    file = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        siblings = re.findall(r"\d+", file.read_text(encoding="ascii"))
    except OSError:
        return 0, cpu
    return siblings.index(str(cpu)) if str(cpu) in siblings else 1, cpu


@contextmanager
def _cores(count: int) -> Iterator[None]:
    """Let what is started in this block run on so many cores alone, not on two halves of one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before, key=_place_in_its_core)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
