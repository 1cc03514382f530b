"""What a history of a billion sends costs to train from: reading, embedding, rows that differ."""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from augrank.errors import DataError
from benchmarks.instances.catalogue import instance_types, prices
from benchmarks.scale.model import Rates

CATALOGUE = Path(__file__).parents[2] / "examples/catalogue"
MEASURED_SENDS = (76, 761)  # of each candidate of the catalogue: 100,000 and 1,000,000 rows
SENDS = 1_000_000_000
IMAGES = 100_000  # stated: distinct originals of the history
CONTEXTS = 100  # stated: distinct contexts of an image and augmentation
AUGMENTATIONS = 6


@dataclass(frozen=True)
class Reading:
    """The reading of a manifest in a process of its own: rows, seconds, its peak memory in GB."""

    rows: int
    s: float
    gb: float


def measure_readings(sends: tuple[int, int] = MEASURED_SENDS) -> tuple[Reading, Reading]:
    """Simulate a short and a long history of the example catalogue, and read each.

    Raises:
        DataError: one of the processes failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        short, long = (_reading(Path(folder) / f"{each}.csv", each) for each in sends)
    return short, long


def _reading(file: Path, sends: int) -> Reading:
    manifest = str(CATALOGUE / "manifest.csv")
    _run("training", "simulate", "--manifest", manifest, "--sends", str(sends), "--out", str(file))
    content = json.loads(_run("benchmarks.scale.manifest", str(file), str(CATALOGUE)))
    return Reading(content["rows"], content["s"], content["gb"])


def _run(*words: str) -> str:
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"{words[0]} failed", got=done.stderr.strip()[-600:])
    return done.stdout


def history(rates: Rates, short: Reading, long: Reading) -> dict[str, Any]:
    """Return hours, memory and dollars, on the cheapest type whose memory holds the manifest.

    Args:
        rates: of the task ``recommend``; its stages give the embedding of an image's candidates.
        short: reading of a short history.
        long: reading of a long one; what more rows cost is the difference.
    """
    hours = SENDS * long.s / long.rows / 3600
    row_gb = (long.gb - short.gb) / (long.rows - short.rows)
    memory_gb = long.gb + (SENDS - long.rows) * row_gb
    known = prices()
    fitting = [
        each
        for each in instance_types().values()
        if each.memory_gb > memory_gb and each.name in known
    ]
    cheapest = min(fitting, key=lambda each: known[each.name])
    stages = rates.stages_ms
    image_s = sum(stages.get(name, 0.0) for name in ("decode", "augment", "embed")) / 1000
    embedding_hours = IMAGES * image_s / cheapest.vcpu / 3600
    whole = hours + embedding_hours
    return {
        "readings": [asdict(each) for each in (short, long)],
        "sends": SENDS,
        "images": IMAGES,
        "different": IMAGES * AUGMENTATIONS * CONTEXTS * 2,  # for each outcome, 0 or 1
        "read_hours": hours,
        "memory_gb": memory_gb,
        "type": cheapest.name,
        "type_memory_gb": cheapest.memory_gb,
        "vcpu": cheapest.vcpu,
        "embedding_hours": embedding_hours,
        "hours": whole,
        "usd": whole * known[cheapest.name],
        "read_usd": hours * known[cheapest.name],
        "parts_of_10_million_hours": hours / 100,
    }
