"""Time the service: kept answers, new images, fixes, a batch of URLs, promotion under load.

    python -m benchmarks service CLASSIFIER --candidate OTHER --recommender BUNDLE

The service runs as ``python -m service`` starts it, on a new SQLite database, and is asked over
HTTP. Its pictures are random patterns, each of which is new. For new images, the service and the
same pipeline in a process of its own take turns.

The JSON line holds ``figures``: medians with intervals, by the keys of ``targets.TARGETS``.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from augrank.bundle.classify_spec import ClassifyBundle
from augrank.bundle.recommend_spec import RecommendBundle
from augrank.errors import DataError
from augrank.reporting import Reporter
from augrank.resources import usable_cores
from benchmarks.common.http_client import OK, HttpEndpoint, Payload
from benchmarks.common.load import Replies, closed_loop
from benchmarks.common.machine import machine
from benchmarks.common.results import RESULTS_VERSION
from benchmarks.common.resume import PartialResults, with_sources
from benchmarks.common.statistics import Median
from benchmarks.service.new_images import (
    BATCH,
    NewImages,
    Turns,
    measure_classified,
    measure_recommended,
)
from benchmarks.service.pictures import new_pictures
from benchmarks.service.promotion import PromotionMeasurement, measure_promotion
from benchmarks.service.server import (
    ADVERTISER,
    RunningService,
    answered,
    running_service,
    running_site,
    upload,
)

KNOWN = 64  # pictures that are asked about again and again
CLIENTS = 4  # that ask at once for the highest rate
SITE_PICTURES = 500  # behind the URLs that were seen before
SEEN = 0.95  # share of the URLs that were seen before
POLL_S = 0.1
SOURCES = ("augrank", "service", "benchmarks")


@dataclass(frozen=True)
class ServiceBenchConfig:
    """The amount of work."""

    rounds: int = 7
    seconds: float = 4.0  # of each load
    fixes: int = 200
    urls: int = 20_000
    promotion_requests: int = 10_000  # at least, while models are promoted and rolled back


@dataclass(frozen=True)
class Others:
    """Further bundles, for further figures."""

    candidate: Path | None  # to be promoted and rolled back under load
    recommender: RecommendBundle | None  # for recommendations of new images


@dataclass
class _Measured:
    """By round or request."""

    p50_ms: list[float] = field(default_factory=list)  # of a kept answer, one client
    p99_ms: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)  # answers a second, one a request
    images: list[float] = field(default_factory=list)  # answers a second, BATCH a request
    fix_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Batch:
    """A batch of URLs, most of which were seen before; measured once."""

    seconds: float


def measure_service(
    bundle: ClassifyBundle,
    others: Others,
    folder: Path,
    config: ServiceBenchConfig,
    reporter: Reporter,
) -> tuple[dict[str, Any], PartialResults]:
    """Measure of the service in front of a classifier what an interrupted run has not measured.

    Args:
        bundle: of the classifier.
        others: further bundles.
        folder: for the service's database and images, and for the partial results.
        config: the amount of work.
        reporter: says what is being measured.

    Returns:
        The contents of results.json, without the command; and the partial results, to be deleted
        once these are saved.
    """
    settings = {"allow_loopback": True, "per_host": 5000, "requests_per_s": 0}
    candidate, recommender = others.candidate, others.recommender
    conditions = {
        "config": asdict(config),
        "bundle": bundle.digest,
        "candidate": str(candidate),
        "recommender": recommender and recommender.digest,
    }
    parts = PartialResults(folder / "measured.json", with_sources(conditions, SOURCES), reporter)
    reporter.say("drawing pictures")
    home = folder / "service"
    shutil.rmtree(home, ignore_errors=True)  # of an interrupted run
    bundles = [each.directory for each in (bundle, recommender) if each is not None]
    turns = Turns(config.rounds, config.seconds)
    with running_service(bundles, home, settings) as service:
        loads = partial(_measure_loads, service, bundle, config, reporter)
        figures = _figures(parts.get_or_measure("loads", _Measured, loads))
        classified = partial(measure_classified, service.root, bundle, turns, reporter)
        new = parts.get_or_measure("new images", NewImages, classified)
        figures["new_over_pipeline"] = new.ratio()
        if recommender is not None:
            recommended = partial(measure_recommended, service.root, recommender, turns, reporter)
            asked = parts.get_or_measure("recommendations", NewImages, recommended)
            figures["recommended_over_pipeline"] = asked.ratio()
        if candidate is not None:
            requests = config.promotion_requests
            changes = partial(measure_promotion, service, home, candidate, requests, reporter)
            promoted = parts.get_or_measure("promotion", PromotionMeasurement, changes)
            figures |= promoted.figures()
        urls = partial(_measure_urls, service, folder / "site", config, reporter)
        batch = parts.get_or_measure("urls", _Batch, urls)
        figures["urls_s"] = Median.of([batch.seconds], 1)
    content = {
        "benchmark": "service",
        "results_version": RESULTS_VERSION,
        "machine": machine(usable_cores()),
        "config": asdict(config),
        "model": {
            "backbone": bundle.spec.backbone,
            "image_size": bundle.spec.image_size,
            "way": new.way,
        },
        "batch": BATCH,
        "images_per_s": {
            name: asdict(Median.of(getattr(new, name), 1)) for name in ("service", "pipeline")
        },
        "figures": {name: asdict(value) for name, value in figures.items()},
    }
    return content, parts


def _figures(measured: _Measured) -> dict[str, Median]:
    return {
        "cached_p50_ms": Median.of(measured.p50_ms, 2),
        "cached_p99_ms": Median.of(measured.p99_ms, 2),
        "cached_per_s": Median.of(measured.images, 0),
        "cached_requests_per_s": Median.of(measured.requests, 0),
        "fix_effective_ms": Median.of(measured.fix_ms, 2),
    }


def _measure_loads(
    service: RunningService,
    bundle: ClassifyBundle,
    config: ServiceBenchConfig,
    reporter: Reporter,
) -> _Measured:
    measured = _Measured()
    _measure_known(service, config, measured, reporter)
    _measure_fixes(service, bundle, config, measured, reporter)
    return measured


def _measure_known(
    service: RunningService, config: ServiceBenchConfig, measured: _Measured, reporter: Reporter
) -> None:
    pictures = new_pictures(KNOWN, seed=1)
    single = [upload([picture]) for picture in pictures]
    many = [upload(pictures[:BATCH]), upload(pictures[BATCH:])]
    _load(service, many, clients=1, seconds=1)
    for number in range(config.rounds):
        reporter.say(f"kept answers: round {number + 1} of {config.rounds}")
        lone = _load(service, single, clients=1, seconds=config.seconds)
        p50, p99 = lone.percentile(50, 99)
        measured.p50_ms.append(p50)
        measured.p99_ms.append(p99)
        busy = _load(service, single, clients=CLIENTS, seconds=config.seconds)
        measured.requests.append(busy.rate)
        rate = _load(service, many, clients=CLIENTS, seconds=config.seconds).rate
        measured.images.append(BATCH * rate)


def _load(
    service: RunningService, bodies: Sequence[Payload], *, clients: int, seconds: float
) -> Replies:
    """Ask again and again; every answer must be one."""
    endpoint = HttpEndpoint(f"{service.root}/v1/classify")
    replies = closed_loop(endpoint, bodies, clients=clients, seconds=seconds)
    if not replies.ok.all():
        status = sorted(set(replies.status[~replies.ok].tolist()))
        raise DataError("the service failed under load", expected=str(OK), got=str(status))
    return replies


def _measure_fixes(
    service: RunningService,
    bundle: ClassifyBundle,
    config: ServiceBenchConfig,
    measured: _Measured,
    reporter: Reporter,
) -> None:
    """Time from a fix that is sent to the next answer, which must show it."""
    reporter.say(f"{config.fixes} fixes")
    (picture,) = new_pictures(1, seed=2)
    label, files = bundle.spec.labels[0], [("images", ("a.jpg", picture))]
    asked = {**_ADVERTISER, "top": "1000"}
    image = answered(service.http.post("/v1/classify", files=files, data=asked))["images"][0]
    classes = [each["name"] for each in image["labels"][label]["top"]]
    digest, held = image["sha256"], None
    for number in range(config.fixes):
        value = classes[number % len(classes)]
        body = {
            **_ADVERTISER, "sha256": digest, "label": label, "value": value,
            "before": held, "who": "benchmark",
        }  # fmt: skip
        start = time.perf_counter()
        answered(service.http.post("/v1/fixes", json=body))
        answer = answered(service.http.post("/v1/classify", files=files, data=_ADVERTISER))
        measured.fix_ms.append(1e3 * (time.perf_counter() - start))
        held = answer["images"][0]["labels"][label]["value"]
        if held != value:
            raise DataError("a fix is not in the next answer", expected=value, got=str(held))


def _measure_urls(
    service: RunningService, folder: Path, config: ServiceBenchConfig, reporter: Reporter
) -> _Batch:
    seen = round(SEEN * config.urls)
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(new_pictures(SITE_PICTURES + config.urls - seen, seed=4)):
        (folder / f"{number}.jpg").write_bytes(data)
    order = np.random.default_rng(0).permutation(config.urls)
    with running_site(folder) as root:
        old = [f"{root}/{number % SITE_PICTURES}/{number}" for number in range(seen)]
        new = [f"{root}/{SITE_PICTURES + number}/0" for number in range(config.urls - seen)]
        reporter.say(f"{seen:,} URLs are seen for the first time")
        _batch(service, old)
        reporter.say(f"{config.urls:,} URLs, {SEEN:.0%} seen before")
        every = old + new
        return _Batch(_batch(service, [every[number] for number in order]))


def _batch(service: RunningService, urls: Sequence[str]) -> float:
    start = time.perf_counter()
    body = {**_ADVERTISER, "urls": list(urls)}
    state = answered(service.http.post("/v1/batches", json=body))
    while state["state"] in ("waiting", "running"):
        time.sleep(POLL_S)
        path = f"/v1/batches/{state['id']}"
        state = answered(service.http.get(path, params=_ADVERTISER))
    if (state["state"], state["answered"]) != ("done", len(urls)):
        raise DataError("a batch failed", expected=f"{len(urls):,} answers", got=str(state))
    return time.perf_counter() - start


_ADVERTISER = {"advertiser": ADVERTISER}
