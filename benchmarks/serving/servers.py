"""Start the systems under test, and check that all give the same answers."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from augrank.bundle.graphs import Way, possible_ways
from augrank.bundle.recommend_spec import RecommendBundle
from augrank.errors import AugrankError
from augrank.tasks.recommend.pipeline import Recommender
from benchmarks.common.http_client import OK, HttpClient
from benchmarks.serving.in_process import expected_probabilities
from benchmarks.serving.measurements import ServerMeasurement
from benchmarks.serving.systems import SystemUnderTest, wait_until_answering

# A different number of threads, or network, sums in a different order.
TOLERANCE, EAGER_TOLERANCE = 1e-5, 2e-3
SETTINGS_PREFIX = "AUGRANK_"  # environment variables that would configure only augrank's servers


@contextmanager
def without_settings() -> Iterator[None]:
    """Remove this shell's settings of augrank's servers from every server's environment."""
    removed = {
        name: os.environ.pop(name) for name in list(os.environ) if name.startswith(SETTINGS_PREFIX)
    }
    try:
        yield
    finally:
        os.environ.update(removed)


def start_servers(
    systems: Sequence[SystemUnderTest], requests: Sequence[dict[str, Any]], stack: ExitStack
) -> tuple[dict[str, ServerMeasurement], dict[str, str]]:
    """Start augrank's default server, then all others at once.

    The first times its engines, which others that start would disturb.

    Args:
        systems: first one of augrank's: the one that chooses its engine, if any does.
        requests: that all are warmed up with.
        stack: ends them.

    Returns:
        Running servers by name, and the reasons of others that did not start.

    Raises:
        AugrankError: one of augrank's servers did not start.
    """

    def start(system: SystemUnderTest) -> ServerMeasurement | AugrankError:
        running = system.start()
        try:
            endpoint = running.__enter__()
        except AugrankError as error:
            return error
        bodies = system.bodies(requests)
        try:
            wait_until_answering(endpoint, bodies[0])
        except AugrankError as error:
            running.__exit__(None, None, None)
            return error
        stack.push(running)
        return ServerMeasurement(system, endpoint, bodies)

    first, *others = systems
    outcomes = [start(first)]
    if isinstance(outcomes[0], AugrankError):
        raise outcomes[0]
    with ThreadPoolExecutor(max(1, len(others))) as pool:
        outcomes += pool.map(start, others)
    servers, skipped = {}, {}
    for system, outcome in zip(systems, outcomes, strict=True):
        if isinstance(outcome, ServerMeasurement):
            servers[system.name] = outcome
        elif system.name.startswith("augrank"):
            raise outcome
        else:
            skipped[system.name] = str(outcome)
    return servers, skipped


def check_answers(
    servers: Mapping[str, ServerMeasurement],
    bundle: RecommendBundle,
    requests: Sequence[dict[str, Any]],
) -> None:
    """Check that every server gives the candidates and probabilities of the pipeline in process.

    The server that chose its engine by itself is compared with the pipeline on the engine that its
    answers name.

    Raises:
        AugrankError: a server does not; gives its name.
    """
    expected: dict[str, list[dict[str, float]]] = {}  # by engine
    engines: dict[Way, str] = {}
    told = [server.system.way for server in servers.values() if server.system.way]
    for way in dict.fromkeys([*told, *possible_ways(bundle.spec, None, "auto")]):
        recommender = Recommender(bundle, precision=way.precision, device=way.device)
        engines[way] = recommender.engine
        expected[recommender.engine] = [
            expected_probabilities(recommender, request) for request in requests
        ]
    for server in servers.values():
        system = server.system
        _check_server(server, expected[engines[system.way] if system.way else engine_of(server)])


def engine_of(server: ServerMeasurement) -> str:
    """Return the engine that a server's answers name."""
    client = HttpClient(server.endpoint)
    _, content = client.post(server.bodies[0])
    client.close()
    return str(server.endpoint.unwrap(content)["engine"])


def _check_server(server: ServerMeasurement, expected: Sequence[Mapping[str, float]]) -> None:
    eager = server.system.name.startswith("documented")
    tolerance = EAGER_TOLERANCE if eager else TOLERANCE
    client = HttpClient(server.endpoint)
    for want, body in zip(expected, server.bodies, strict=False):
        status, content = client.post(body)
        answer = server.endpoint.unwrap(content) if status == OK else {"candidates": []}
        got = {item["name"]: item["probability"] for item in answer["candidates"]}
        difference = max((abs(got.get(n, np.inf) - p) for n, p in want.items()), default=np.inf)
        if set(got) != set(want) or difference > tolerance or answer.get("cached"):
            raise AugrankError(
                f"{server.system.name} answers differently from the pipeline in process",
                expected=str(want),
                got=f"{status}, cached {answer.get('cached')}: {got}",
            )
    client.close()
