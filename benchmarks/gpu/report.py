"""The conditions and the JSON object of a visit."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from augrank.errors import DataError
from augrank.reporting import Table
from augrank.resources import usable_cores
from benchmarks.common.machine import machine
from benchmarks.common.results import RESULTS_VERSION, Results
from benchmarks.gpu.config import REPOSITORY, DeviceKind, GpuBenchConfig
from benchmarks.gpu.targets import target_rows
from benchmarks.gpu.visit import RowResult
from training.common.device import Device

SOURCES = ("augrank", "training", "export", "handlers", "simulation", "benchmarks", "tests")


def describe(config: GpuBenchConfig) -> dict[str, Any]:
    """Describe the machine and its device, for results.json.

    Raises:
        DataError: there is no GPU.
    """
    gpu = gpu_name(config.device)
    return {
        "engine": Device.choose(config.device, "auto").name,
        "gpu": gpu,
        "machine": machine(usable_cores()),
        "torch": torch.__version__,
    }


def gpu_name(device: DeviceKind) -> str | None:
    """Return the name of the GPU, or None for the CPU.

    Raises:
        DataError: there is no GPU.
    """
    if device == "cpu":
        return None
    if not torch.cuda.is_available():
        raise DataError(
            "there is no GPU here",
            expected="an NVIDIA GPU that the installed torch supports",
            remedy="--device cpu --quick runs the same rows, tiny, on the CPU.",
        )
    return torch.cuda.get_device_name()


def conditions(config: GpuBenchConfig, described: Results) -> dict[str, Any]:
    """Return what the rows depend on, as plain data that survives JSON.

    The sources count by content: a machine that is lent has a new copy of them every time.
    """
    digest = hashlib.sha256()
    for folder in SOURCES:
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            digest.update(file.relative_to(REPOSITORY).as_posix().encode())
            digest.update(file.read_bytes())
    work = asdict(replace(config, bundle=None))  # the subject of one row alone
    content = {**described, "config": work, "sources": digest.hexdigest()}
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain


def result_json(
    config: GpuBenchConfig, described: Results, rows: Sequence[RowResult], command: str
) -> dict[str, Any]:
    """Return the content of results.json: a row for each part, measured or not."""
    return {
        "benchmark": "gpu",
        "results_version": RESULTS_VERSION,
        "command": command,
        "quick": config.quick,
        **described,
        "rows": [asdict(row) for row in rows],
    }


def row_table(results: Results) -> Table:
    """One line for each row: its result, or why it has none."""
    rows = [
        [
            row["name"],
            row["state"],
            f"{row['seconds']:.0f}",
            row["figures"].get("summary", row["reason"]),
        ]
        for row in results["rows"]
    ]
    device = results["gpu"] or results["machine"]["processor"]
    return Table(f"On {device}", ("row", "", "seconds", "result"), rows)


def target_table(results: Results) -> Table:
    """The targets of an H100."""
    columns = ("target of an H100", "measured", "at least", "aim", "")
    return Table("Targets", columns, target_rows(results))
