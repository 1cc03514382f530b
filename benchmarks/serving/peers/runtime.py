"""The runtime behind every peer: the bundle's pipeline, configured by the environment.

Each peer loads the same recommender with the same threads and returns the same JSON, so that only
the servers differ.
"""

import os
from typing import Any

from augrank import AugrankError, Recommender
from augrank.processes import use_one_thread_for_arrays
from augrank.runtime.settings import WorkerSettings
from augrank.runtime.wire import read_body
from augrank.tasks.recommend.request import parse_request

BUNDLE, WORKERS, PORT = "AUGRANK_BUNDLE", "AUGRANK_PEER_WORKERS", "AUGRANK_PEER_PORT"


def load() -> Recommender:
    """Load the recommender and warm it up."""
    use_one_thread_for_arrays()  # as augrank's handler does
    settings = WorkerSettings.from_environment()
    recommender = Recommender.load(
        os.environ[BUNDLE],
        threads=settings.threads,
        precision=settings.precision,
        device=settings.device,
        spin=settings.spin,
        embedding_cache_mb=0,
    )
    recommender.warm_up()
    return recommender


def workers() -> int:
    """Return the number of worker processes to start."""
    return int(os.environ[WORKERS])


def port() -> int:
    """Return the loopback port to listen on."""
    return int(os.environ[PORT])


def answer(recommender: Recommender, body: dict[str, Any]) -> str:
    """Return the answer's JSON text for a request's JSON object.

    Raises:
        AugrankError: the request is rejected.
    """
    (outcome,) = recommender.recommend_batch([parse_request(read_body({"body": body}, {}))])
    if isinstance(outcome, AugrankError):
        raise outcome
    return outcome.model_dump_json()
