"""What every peer runs: the bundle's own pipeline, told by the environment how.

So that the comparison is of servers alone, each loads the same recommender with the same threads,
and answers the same JSON.
"""

import os
from typing import Any

import cv2

from augrank import AugrankError, Recommender
from augrank.runtime.settings import WorkerSettings
from augrank.runtime.wire import read_body
from augrank.tasks.recommend.request import parse_request

BUNDLE, WORKERS, PORT = "AUGRANK_BUNDLE", "AUGRANK_PEER_WORKERS", "AUGRANK_PEER_PORT"


def load() -> Recommender:
    """The recommender, warmed up."""
    cv2.setNumThreads(1)  # as our own handler does
    settings = WorkerSettings.from_environment()
    recommender = Recommender.load(
        os.environ[BUNDLE],
        threads=settings.threads,
        precision=settings.precision,
        device=settings.device,
        spin=settings.spin,
    )
    recommender.warm_up()
    return recommender


def workers() -> int:
    """How many processes to start."""
    return int(os.environ[WORKERS])


def port() -> int:
    """Where to listen on loopback."""
    return int(os.environ[PORT])


def answer(recommender: Recommender, body: dict[str, Any]) -> str:
    """The answer's JSON text to a request's JSON object.

    Raises:
        AugrankError: the request is not good.
    """
    (outcome,) = recommender.recommend_batch([parse_request(read_body({"body": body}, {}))])
    if isinstance(outcome, AugrankError):
        raise outcome
    return outcome.model_dump_json()
