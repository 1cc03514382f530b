"""Images that the service has never seen: it and the same pipeline in process, in turns."""

import base64
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from augrank.bundle.classify_spec import ClassifyBundle
from augrank.bundle.graphs import open_graph
from augrank.bundle.recommend_spec import RecommendBundle
from augrank.bundle.spec import Bundle
from augrank.errors import DataError
from augrank.reporting import Reporter
from augrank.resources import usable_cores
from augrank.serving.capacity import ServingPlan
from benchmarks.common.http_client import OK, HttpEndpoint, Payload
from benchmarks.common.requests import recommend_request
from benchmarks.common.statistics import Median
from benchmarks.service.pictures import new_pictures
from benchmarks.service.server import form, upload
from benchmarks.serving.in_process import InProcessBaseline

BATCH = 32  # images of a request to classify
CLASSIFIED, RECOMMENDED = 384, 48  # images of a round
CLIENTS = 4  # that send at once: one request arrives while three are computed
CLASSIFIED_SEED, RECOMMENDED_SEED = 100, 10_100  # of the pictures of the first round


@dataclass
class NewImages:
    """Images a second, by round."""

    way: str  # what computes: the graph and its device
    service: list[float] = field(default_factory=list)
    pipeline: list[float] = field(default_factory=list)

    def ratio(self) -> Median:
        """Return the service's rate over the pipeline's."""
        return Median.of_ratios(self.service, self.pipeline)


@dataclass(frozen=True)
class Turns:
    """How often the two are measured."""

    rounds: int
    seconds: float  # of the pipeline in a round


@dataclass(frozen=True)
class _Load:
    """What the service and the pipeline answer."""

    bundle: Bundle[Any]
    endpoint: HttpEndpoint
    bodies: Callable[[int], list[Payload]]  # of a round: each image is new
    images: int  # of a request
    requests: Sequence[dict[str, Any]]  # of the pipeline, again and again: it keeps nothing


def measure_classified(
    root: str, bundle: ClassifyBundle, turns: Turns, reporter: Reporter
) -> NewImages:
    """Measure the labels of new images, many in a request.

    Args:
        root: URL of a service with the bundle.
        bundle: of the classifier.
        turns: the amount of work.
        reporter: says what is being measured.
    """

    def bodies(number: int) -> list[Payload]:
        fresh = new_pictures(CLASSIFIED, seed=CLASSIFIED_SEED + number)
        return [upload(part) for part in _parts(fresh)]

    pictures = _parts(new_pictures(BATCH * 4, seed=3))
    requests = [{"images": [_text(each) for each in part]} for part in pictures]
    load = _Load(bundle, HttpEndpoint(f"{root}/v1/classify"), bodies, BATCH, requests)
    return _in_turns(load, turns, reporter)


def measure_recommended(
    root: str, bundle: RecommendBundle, turns: Turns, reporter: Reporter
) -> NewImages:
    """Measure recommendations for new images, one in a request.

    Args:
        root: URL of a service with the bundle.
        bundle: of the recommender.
        turns: the amount of work.
        reporter: says what is being measured.
    """
    fields = bundle.spec.example_fields()
    target = fields.pop("target")
    asked = {"target": target, "context": json.dumps(fields)}

    def bodies(number: int) -> list[Payload]:
        fresh = new_pictures(RECOMMENDED, seed=RECOMMENDED_SEED + number)
        return [form(asked, "image", [each]) for each in fresh]

    requests = [recommend_request(each, target, fields) for each in new_pictures(16, seed=3)]
    load = _Load(bundle, HttpEndpoint(f"{root}/v1/recommend"), bodies, 1, requests)
    return _in_turns(load, turns, reporter)


def _in_turns(load: _Load, turns: Turns, reporter: Reporter) -> NewImages:
    plan = _one_process()
    way = open_graph(load.bundle, None, threads=plan.threads, device="auto", spin=plan.spin).way
    measured = NewImages(way.label)
    baseline = InProcessBaseline(load.bundle, [way], plan, load.requests)
    try:
        for number in range(turns.rounds + 1):
            if number:
                task = load.bundle.spec.task
                reporter.say(f"new images, {task}: round {number} of {turns.rounds}")
            bodies = load.bodies(number)
            pipeline = load.images * baseline.rate("pipeline", way, turns.seconds)
            rate = load.images * len(bodies) / _time_of(load.endpoint, bodies)
            if number:  # the first one warms up
                measured.service.append(rate)
                measured.pipeline.append(pipeline)
    finally:
        baseline.close()
    return measured


def _one_process() -> ServingPlan:
    """One process on all cores, as the service is."""
    cores = usable_cores()
    return ServingPlan("latency", cores, 1, cores, 1, 0, 100, spin=False)


def _time_of(endpoint: HttpEndpoint, bodies: Sequence[Payload]) -> float:
    """Send each request once, a few at a time; return the seconds."""

    def send(share: Sequence[Payload]) -> None:
        client = endpoint.client()
        for body in share:
            status, content = client.post(body)
            if status != OK:
                raise DataError("the service failed", expected=str(OK), got=f"{content[:300]!r}")
        client.close()

    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(send, [bodies[n::CLIENTS] for n in range(CLIENTS)]))
    return time.perf_counter() - start


def _parts(pictures: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]


def _text(image: bytes) -> str:
    return base64.b64encode(image).decode()
