"""Time a classifier's server on batches of images, against the pipeline and a recommender.

    python -m benchmarks classify CLASSIFIER --recommender RECOMMENDER --images DIR

The server, as ``augrank serve`` starts it, the pipeline in as many processes, and a recommender's
pipeline take turns. A request of a classifier has 32 images, a recommender's has one image, of
which it makes candidates; with the same network and size, an image and a candidate cost about the
same. Finally ``augrank score`` classifies the whole folder, from its start to its end.

The JSON line holds ``images_per_s``, ``ratios`` and ``score``.
"""

import base64
import itertools
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from augrank.bundle.classify_spec import ClassifyBundle
from augrank.bundle.graphs import Way, open_graph
from augrank.bundle.recommend_spec import RecommendBundle
from augrank.bundle.spec import Bundle
from augrank.errors import AugrankError, DataError
from augrank.reporting import Reporter
from augrank.serving.capacity import CapacityRequest, ServingPlan, plan_serving
from benchmarks.common.http_client import OK, HttpClient
from benchmarks.common.load import closed_loop
from benchmarks.common.machine import machine
from benchmarks.common.requests import requests_for
from benchmarks.common.results import RESULTS_VERSION
from benchmarks.common.statistics import Median
from benchmarks.serving.in_process import InProcessBaseline
from benchmarks.serving.measurements import ServerMeasurement
from benchmarks.serving.servers import start_servers, without_settings
from benchmarks.serving.systems import augrank_system

BATCH = 32  # images of a request
REQUESTS = 8  # different ones
CLIENTS = (1, 2, 4)  # for each worker; the best is taken


@dataclass(frozen=True)
class ClassifyBenchConfig:
    """The amount of work."""

    rounds: int = 7
    seconds: float = 6.0  # of each system in a round
    score_runs: int = 3


@dataclass
class _Rates:
    """Images or candidates a second, by round."""

    server: list[float]
    pipeline: list[float]
    candidates: list[float]


def measure_classify(
    classifier: ClassifyBundle,
    recommender: RecommendBundle | None,
    images: Sequence[Path],
    config: ClassifyBenchConfig,
    reporter: Reporter,
) -> dict[str, Any]:
    """Measure a classifier.

    Args:
        classifier: its bundle.
        recommender: to compare its candidates a second; the same network and size.
        images: files of one folder.
        config: the amount of work.
        reporter: says what is being measured.

    Returns:
        The contents of results.json, without the command.
    """
    plan = plan_serving(CapacityRequest("throughput"))
    requests = _requests(images)
    with ExitStack() as stack:
        stack.enter_context(without_settings())
        way = _chosen(classifier, plan)
        reporter.say(f"auto takes {way.label}; {plan.explained()}")
        system = augrank_system(classifier, plan, way)
        servers, _ = start_servers([system], requests, stack)
        server = servers[system.name]
        _check(server)
        server.clients = _best_clients(server, plan.workers, config)
        pipeline = _baseline(classifier, way, plan, requests, stack)
        rates = _Rates([], [], [])
        other = None
        if recommender is not None:
            other_way = _chosen(recommender, plan)
            asked = requests_for(recommender, list(images[: BATCH * REQUESTS]))
            other = _baseline(recommender, other_way, plan, asked, stack)
        for number in range(config.rounds):
            reporter.say(f"round {number + 1} of {config.rounds}")
            rates.server.append(BATCH * _server_rate(server, config.seconds))
            rates.pipeline.append(BATCH * pipeline.rate("pipeline", way, config.seconds))
            if recommender is not None and other is not None:
                candidates = len(recommender.spec.augmentations.names)
                rate = other.rate("pipeline", other_way, config.seconds)
                rates.candidates.append(candidates * rate)
    score = [_score(classifier, images, reporter) for _ in range(config.score_runs)]
    seconds = asdict(Median.of(score, 1)) if score else None
    return {
        **_results(classifier, plan, way, rates),
        "score": {"images": len(images), "seconds": seconds},
    }


def _results(
    classifier: ClassifyBundle, plan: ServingPlan, way: Way, rates: _Rates
) -> dict[str, Any]:
    spec = classifier.spec
    ratios = {"server_over_pipeline": Median.of_ratios(rates.server, rates.pipeline)}
    if rates.candidates:
        ratios["images_over_candidates"] = Median.of_ratios(rates.pipeline, rates.candidates)
    found = {name: values for name, values in asdict(rates).items() if values}
    return {
        "benchmark": "classify",
        "results_version": RESULTS_VERSION,
        "machine": machine(plan.threads),
        "model": {
            "backbone": spec.backbone,
            "image_size": spec.image_size,
            "labels": list(spec.labels),
            "way": way.label,
        },
        "batch": BATCH,
        "images_per_s": {name: asdict(Median.of(values, 1)) for name, values in found.items()},
        "ratios": {name: asdict(ratio) for name, ratio in ratios.items()},
    }


def _requests(images: Sequence[Path]) -> list[dict[str, Any]]:
    """Return requests of BATCH images each; a few images come again."""
    turns = itertools.cycle(images)
    return [
        {"images": [base64.b64encode(next(turns).read_bytes()).decode() for _ in range(BATCH)]}
        for _ in range(min(REQUESTS, max(1, len(images) // BATCH)))
    ]


def _chosen(bundle: Bundle[Any], plan: ServingPlan) -> Way:
    return open_graph(bundle, None, threads=plan.threads, device="auto", spin=plan.spin).way


def _baseline(
    bundle: Bundle[Any],
    way: Way,
    plan: ServingPlan,
    requests: Sequence[dict[str, Any]],
    stack: ExitStack,
) -> InProcessBaseline:
    baseline = InProcessBaseline(bundle, [way], plan, requests)
    stack.callback(baseline.close)
    return baseline


def _check(server: ServerMeasurement) -> None:
    """Check that all images of the first request are answered.

    Raises:
        AugrankError: they are not.
    """
    client = HttpClient(server.endpoint)
    status, content = client.post(server.bodies[0])
    client.close()
    answered = server.endpoint.unwrap(content).get("images", []) if status == OK else []
    if len(answered) != BATCH or any(each["error"] for each in answered):
        raise AugrankError(
            "the server does not classify the images",
            expected=f"{BATCH} answers without an error",
            got=f"{status}: {content[:300]!r}",
        )


def _best_clients(server: ServerMeasurement, workers: int, config: ClassifyBenchConfig) -> int:
    def rate(clients: int) -> float:
        return closed_loop(
            server.endpoint, server.bodies, clients=clients, seconds=config.seconds / 2
        ).rate

    counts = [each * workers for each in CLIENTS]
    rate(counts[-1])  # warm-up
    return max(counts, key=rate)


def _server_rate(server: ServerMeasurement, seconds: float) -> float:
    return closed_loop(server.endpoint, server.bodies, clients=server.clients, seconds=seconds).rate


def _score(classifier: ClassifyBundle, images: Sequence[Path], reporter: Reporter) -> float:
    """Classify a folder with ``augrank score``; return seconds.

    Raises:
        DataError: the command failed; it has printed its own message.
    """
    reporter.say(f"scoring {len(images):,} images")
    with TemporaryDirectory(prefix="augrank-score-") as folder:
        out = Path(folder) / "labels.parquet"
        command = [sys.executable, "-m", "augrank", "score", str(classifier.directory),
                   str(images[0].parent), "--out", str(out)]  # fmt: skip
        started = time.perf_counter()
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
    if done.returncode:
        raise DataError(f"augrank score failed with exit code {done.returncode}")
    return seconds
