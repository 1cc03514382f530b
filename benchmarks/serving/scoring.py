"""``augrank score`` as a user runs it, against the pipeline in process on all cores."""

import base64
import itertools
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from augrank.bundle.graphs import Way
from augrank.bundle.recommend_spec import RecommendBundle
from augrank.errors import DataError
from augrank.tasks.recommend.request import DEFAULT_ALTERNATES
from benchmarks.serving.in_process import InProcessBaseline
from benchmarks.serving.measurements import ServingBenchConfig


def measure_score(
    bundle: RecommendBundle,
    requests: Sequence[Mapping[str, Any]],
    baseline: InProcessBaseline,
    way: Way,
    config: ServingBenchConfig,
) -> tuple[float, float]:
    """Score images with the command, from its start to its end; the pipeline runs before and after.

    Args:
        bundle: the model; ``score`` chooses its graph by itself.
        requests: whose images are scored, again and again as different files.
        baseline: the pipeline in as many processes and threads as a server has.
        way: the graph and device of the pipeline.
        config: number of images, duration of the pipeline.

    Returns:
        Images per second of the command, and of the pipeline.

    Raises:
        DataError: the command failed; it has printed its own message.
    """
    with TemporaryDirectory(prefix="augrank-score-") as folder:
        images = Path(folder) / "images"
        images.mkdir()
        for number, request in zip(
            range(config.score_images), itertools.cycle(requests), strict=False
        ):
            data = base64.b64decode(request["image"]) + number.to_bytes(4)  # the same pixels
            (images / f"{number:06d}.png").write_bytes(data)  # the content tells its format
        fields = bundle.spec.example_fields()
        target = fields.pop("target")
        given = [f"--context={name}={value}" for name, value in fields.items()]
        alternates = str(DEFAULT_ALTERNATES)  # as the pipeline's requests have
        command = [sys.executable, "-m", "augrank", "score", str(bundle.directory), str(images),
                   "--out", str(Path(folder) / "answers.parquet"), "--target", target,
                   "--alternates", alternates]  # fmt: skip
        before = baseline.rate("pipeline", way, config.in_process_s)
        started = time.perf_counter()
        done = subprocess.run([*command, *given], check=False, stdout=subprocess.DEVNULL)
        wall_s = time.perf_counter() - started
        if done.returncode:
            raise DataError(f"augrank score failed with exit code {done.returncode}")
        after = baseline.rate("pipeline", way, config.in_process_s)
    return config.score_images / wall_s, (before + after) / 2
