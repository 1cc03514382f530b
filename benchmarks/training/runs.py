"""Whole runs of ``fit``: against a plain script, on several processes, and a large job.

Each is timed from the start of its process to its end, imports included, as a user waits for it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augrank.contracts.run import BackboneName
from augrank.errors import ServerError
from augrank.resources import usable_cores
from benchmarks.training.measurements import BATCH, GPU_BATCH, TrainingBench
from simulation.render import RenderOptions, render_catalogue

ORIGINALS_PER_CORE, ORIGINALS_PER_GPU = 200, 4_000
SCALING_EPOCHS, SCALING_ROUNDS, QUICK_SCALING_ROUNDS = 3, 6, 2  # the first epoch is a warm-up
# With fit's default shares of test and validation, an epoch trains on the 32,370 images of the
# first experiments.
JOB_ORIGINALS, JOB_EPOCHS, JOB_SIZE = 8_300, 10, 224
JOB_BACKBONE: BackboneName = "resnet34"
ERROR_CHARACTERS = 1500


@dataclass
class RunMeasurement:
    """Whole runs of ``fit`` and of the plain script, by round."""

    ours_s: list[float] = field(default_factory=list)
    naive_s: list[float] = field(default_factory=list)
    ours_accuracy: list[float] = field(default_factory=list)
    naive_accuracy: list[float] = field(default_factory=list)


@dataclass
class ScalingMeasurement:
    """Training on an increasing number of processes, by round."""

    of: str  # resource of each process: core or GPU
    # Images per second by number of processes, with a batch for each.
    rates: dict[int, list[float]] = field(default_factory=dict)
    shared: list[float] = field(default_factory=list)  # two processes that share one batch


@dataclass(frozen=True)
class JobMeasurement:
    """The first experiments' job, from the start of its process to its end."""

    images: int  # of an epoch
    cold_s: float  # includes decoding each original once
    warm_s: float
    accuracy: float


@dataclass(frozen=True)
class FitRun:
    """One run of ``fit`` on an image folder.

    Attributes:
        images: the folder.
        out: run directory; removed first.
        epochs: training epochs.
        size: side, pixels.
        backbone: the network.
        processes: under torchrun, a core or a GPU each; by default one process on all cores.
        batch: batch size of all processes together.
        device: fit's option.
        cache: cache of decoded images; by default the run's own empty one.
        seed: of the splits, the weights and the order.
    """

    images: Path
    out: Path
    epochs: int
    size: int
    backbone: BackboneName = "resnet18"
    processes: int | None = None
    batch: int = BATCH
    device: str = "auto"
    cache: Path | None = None
    seed: int = 0

    def run(self) -> tuple[dict[str, Any], float]:
        """Run ``fit``; return report.json and seconds."""
        shutil.rmtree(self.out, ignore_errors=True)
        one_core_each = self.processes if self.device == "cpu" else None
        with _pinned_to_cores(one_core_each or usable_cores()):
            _, seconds = _run(self._command())
        report: dict[str, Any] = json.loads((self.out / "report.json").read_text(encoding="utf-8"))
        return report, seconds

    def _command(self) -> list[str]:
        options = {
            "--images": self.images,
            "--out": self.out,
            "--backbone": self.backbone,
            "--image-size": self.size,
            "--epochs": self.epochs,
            "--batch-size": self.batch,
            "--device": self.device,
            "--seed": self.seed,
            **({"--cache": self.cache} if self.cache else {}),
        }
        launcher: list[str] = []
        if self.processes is not None and self.processes > 1:
            torchrun = ["torch.distributed.run", "--standalone"]
            launcher = ["-m", *torchrun, f"--nproc-per-node={self.processes}"]
        return [sys.executable, *launcher, "-m", "training", "fit", *_words(options)]


def measure_runs(bench: TrainingBench) -> RunMeasurement:
    """Measure whole runs against the plain script, on the CPU.

    Each pair has its own seed; nothing is reused between runs.
    """
    measured, config = RunMeasurement(), bench.config
    for number in range(config.runs):
        bench.reporter.say(f"whole runs of {config.epochs} epochs: {number + 1} of {config.runs}")
        fit = FitRun(
            bench.images,
            bench.scratch / "run",
            config.epochs,
            config.sizes[0],
            config.backbones[0],
            device="cpu",
            seed=number,
        )
        report, seconds = fit.run()
        measured.ours_s.append(seconds)
        measured.ours_accuracy.append(report["backbone"]["test_accuracy"])
        accuracy, seconds = _run_baseline_script(fit)
        measured.naive_s.append(seconds)
        measured.naive_accuracy.append(accuracy)
    return measured


def measure_scaling(bench: TrainingBench) -> ScalingMeasurement:
    """Measure one process, two, ... up to all under torchrun, with a GPU or a core each.

    Each process has its own images and batch, so that the work grows with the processes. Two
    processes that share one batch are measured too.
    """
    gpus, config = torch.cuda.device_count(), bench.config
    use_gpus = gpus > 1
    measured = ScalingMeasurement("GPU" if use_gpus else "core")
    device, batch, originals = (
        ("cuda", GPU_BATCH, ORIGINALS_PER_GPU) if use_gpus else ("cpu", BATCH, ORIGINALS_PER_CORE)
    )
    counts = _process_counts(max(2, gpus if use_gpus else usable_cores()), quick=config.quick)

    def rate(processes: int, total_batch: int) -> float:
        catalogue = bench.scratch / f"scaling-{processes}"
        render_catalogue("sneaker", processes * originals, catalogue)
        report, _ = FitRun(
            catalogue / "images",
            bench.scratch / "run",
            SCALING_EPOCHS,
            config.sizes[0],
            config.backbones[0],
            processes=processes,
            batch=total_batch,
            device=device,
        ).run()
        return float(np.median([epoch["samples_per_s"] for epoch in report["history"][1:]]))

    rounds = QUICK_SCALING_ROUNDS if config.quick else SCALING_ROUNDS
    for number in range(rounds):
        bench.reporter.say(f"{', '.join(map(str, counts))} processes: {number + 1} of {rounds}")
        for count in counts:
            measured.rates.setdefault(count, []).append(rate(count, count * batch))
        measured.shared.append(rate(2, batch))
    return measured


def _process_counts(most: int, *, quick: bool) -> list[int]:
    """Return one, two and, unless it is quick, all powers of two up to ``most``."""
    powers = () if quick else (2**n for n in range(most.bit_length()))
    return sorted({1, 2, *powers, most})


def measure_job(bench: TrainingBench) -> JobMeasurement:
    """Measure the first experiments' job: cold, then with its images decoded."""
    catalogue, cache = bench.scratch / "job", bench.scratch / "job-cache"
    bench.reporter.say(f"the first experiments' job: rendering {JOB_ORIGINALS:,} images")
    render_catalogue("sneaker", JOB_ORIGINALS, catalogue, RenderOptions(size=JOB_SIZE))
    shutil.rmtree(cache, ignore_errors=True)
    fit = FitRun(
        catalogue / "images", bench.scratch / "run", JOB_EPOCHS, JOB_SIZE, JOB_BACKBONE, cache=cache
    )
    bench.reporter.say("the first experiments' job, cold")
    _, cold_s = fit.run()
    bench.reporter.say("the first experiments' job, warm")
    report, warm_s = fit.run()
    candidates = len(report["backbone"]["per_augmentation"])
    images = report["rows"]["originals"]["train"] * candidates
    return JobMeasurement(images, cold_s, warm_s, report["backbone"]["test_accuracy"])


def _run_baseline_script(fit: FitRun) -> tuple[float, float]:
    """Run the plain script on the same job; return its test accuracy and seconds."""
    options = {
        "--images": fit.images,
        "--backbone": fit.backbone,
        "--epochs": fit.epochs,
        "--image-size": fit.size,
        "--batch-size": fit.batch,
        "--seed": fit.seed,
    }
    script = [sys.executable, "-m", "benchmarks.training.baseline_script"]
    output, seconds = _run([*script, *_words(options)])
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result["accuracy"], seconds


def _words(options: Mapping[str, object]) -> list[str]:
    return [str(word) for option in options.items() for word in option]


def _run(command: Sequence[str]) -> tuple[str, float]:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)  # the message below has only its end
        raise ServerError(f"{' '.join(command[1:5])} failed", got=done.stderr[-ERROR_CHARACTERS:])
    return done.stdout, time.perf_counter() - start


def _hardware_thread(cpu: int) -> tuple[int, int]:
    """Return which hardware thread of its core a CPU is, then its number, to sort by."""
    file = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        siblings = re.findall(r"\d+", file.read_text(encoding="ascii"))
    except OSError:
        return 0, cpu
    return siblings.index(str(cpu)) if str(cpu) in siblings else 1, cpu


@contextmanager
def _pinned_to_cores(count: int) -> Iterator[None]:
    """Pin what the block starts to this many cores, not to two hardware threads of one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before, key=_hardware_thread)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
