"""Measure, simulate and compare: the contents of results.json.

python -m benchmarks scale BUNDLE --classifier BUNDLE --images FOLDER --document docs/scale.md
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from augrank.batch.job import RecommendJob
from augrank.bundle.spec import Bundle, BundleSpec
from augrank.errors import DataError
from augrank.reporting import Reporter
from benchmarks.common.machine import machine
from benchmarks.common.results import RESULTS_VERSION
from benchmarks.common.statistics import Median
from benchmarks.scale import limits
from benchmarks.scale.history import history, measure_readings
from benchmarks.scale.model import BATCH_OF, NOW, STEPS, Rates, RayRates
from benchmarks.scale.project import NODES, Row, Scenario, check, project, steps
from benchmarks.scale.rates import measure_rates, scale_job

STEPS_NODES = 64  # of the first type, for the table of what fails first
RAY_TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class ScaleConfig:
    """The amount of work."""

    most: int = 400  # images to score
    images: int = 100_000_000  # of the simulated job
    check_nodes: tuple[int, ...] = (1, 2)  # of real runs
    nodes: tuple[int, ...] = NODES  # of simulated ones


def measure_scale(
    bundles: Sequence[Bundle[BundleSpec]], images: Path, config: ScaleConfig, reporter: Reporter
) -> dict[str, Any]:
    """Measure rates here, compare real runs with the simulation, and project.

    Args:
        bundles: the first is also run for real, on Ray.
        images: folder of images that no bundle knows.
        config: the amount of work.
        reporter: says what is being measured.

    Returns:
        The contents of results.json, without the command.

    Raises:
        DataError: Ray's process failed.
    """
    rates = [measure_rates(bundle, images, reporter, config.most) for bundle in bundles]
    reporter.say("Ray's driver, and real runs on " + " and ".join(map(str, config.check_nodes)))
    on_ray = _ray_runs(bundles[0], images, rates[0], config)
    ray = RayRates(**on_ray["driver"])
    reporter.say("reading a short and a long history")
    readings = measure_readings()
    scenarios = [Scenario(each, ray, images=config.images) for each in rates]
    rows, parts = list[Row](), dict[str, dict[str, Any]]()
    for scenario in scenarios:
        for name in (*limits.CPU_TYPES, *limits.GPU_TYPES):
            node = limits.node_of(name)
            reporter.say(f"simulating {scenario.rates.task} on {name}")
            rows += [project(scenario, node, NOW, nodes) for nodes in config.nodes]
        first = limits.node_of(limits.CPU_TYPES[0])
        parts[scenario.rates.task] = steps(scenario, NOW, first)
    return {
        "benchmark": "scale",
        "results_version": RESULTS_VERSION,
        **machine(1),
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "config": asdict(config),
        "rates": [_summary(each) for each in rates],
        "ray": asdict(ray),
        "checks": [check(scenarios[0], NOW, run) for run in on_ray["runs"]],
        "rows": [row.to_dict() for row in rows],
        "steps": parts,
        "first_to_fail": [row.to_dict() for row in _changes(scenarios, reporter)],
        "one_prefix": [
            project(
                replace(each, store=limits.Store(prefixes=1)),
                limits.node_of(limits.CPU_TYPES[0]),
                NOW,
                STEPS_NODES,
            ).to_dict()
            for each in scenarios
        ],
        "history": history(rates[0], *readings),
        "limits": _limits(),
    }


def _changes(scenarios: Sequence[Scenario], reporter: Reporter) -> list[Row]:
    node = limits.node_of(limits.CPU_TYPES[0])
    rows = []
    for scenario in scenarios:
        for design in STEPS:
            reporter.say(f"simulating {scenario.rates.task}, {design.name}")
            rows.append(project(scenario, node, design, STEPS_NODES))
    return rows


def _ray_runs(
    bundle: Bundle[BundleSpec], images: Path, rates: Rates, config: ScaleConfig
) -> dict[str, Any]:
    asked = scale_job(bundle, images)
    given = {
        "bundle": str(bundle.directory.resolve()),
        "images": str(images.resolve()),
        "task": rates.task,
        "targets": asked.job.targets if isinstance(asked.job, RecommendJob) else (),
        "context": asked.context,
        "row_bytes": rates.row_bytes,
        "nodes": config.check_nodes,
        "most": config.most,
    }
    command = [sys.executable, "-m", "benchmarks.scale.ray_runs", json.dumps(given)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=RAY_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise DataError("the runs on Ray failed", got=done.stderr.strip()[-600:])
    content: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return content


def _summary(rates: Rates) -> dict[str, Any]:
    """Return rates as plain data, and as figures an engineer would look for."""
    per_image = Median.of([each / BATCH_OF for each in rates.batch_s], 6)
    return {
        **rates.to_dict(),
        "image_s": per_image.to_dict(),
        "images_per_s": round(1 / per_image.median, 2),
        "decode_mb_per_s": rates.image_bytes / 1e3 / rates.stages_ms["decode"],
        "parquet_rows_per_s": 1 / rates.parquet_s,
        "merge_rows_per_s": 1 / rates.merge_s,
        "listed_per_s": 1 / rates.list_s,
    }


def _limits() -> dict[str, Any]:
    return {
        "get_per_s": limits.GET_PER_S,
        "prefixes": limits.MOUNTED.prefixes,
        "requests": limits.REQUESTS_PER_IMAGE,
        "latency_ms": 1000 * limits.GET_LATENCY_S,
        "list_ms": 1000 * limits.LIST_S,
        "failures": limits.FAILURES_PER_NODE_HOUR,
        "replace_s": limits.REPLACE_S,
        "nodes": {
            name: {**asdict(limits.node_of(name)), "gbit_per_s": limits.BASELINE_GBIT[name]}
            for name in (*limits.CPU_TYPES, *limits.GPU_TYPES)
        },
    }
