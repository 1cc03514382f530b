"""TorchServe's adapter: a batch of HTTP requests to augrank's pipeline and back.

Served by TorchServe from a ``.mar``, and by SageMaker's PyTorch serving stack, which runs
TorchServe. The archive's folder is first on ``sys.path``, so the ``augrank`` packed in it is what
runs. No model logic here: augrank/tasks/recommend/ has the request and the pipeline.
"""

import json
import logging
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import cv2

from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.errors import AugrankError
from augrank.models.head import import_xgboost_alone
from augrank.resources import threads_per_worker
from augrank.runtime.settings import WorkerSettings
from augrank.tasks.recommend.pipeline import Recommender
from augrank.tasks.recommend.request import JSON_TYPE, Request, parse_request
from augrank.tasks.recommend.response import Answer

logger = logging.getLogger(__name__)
GAUGE_INTERVAL_S = 1.0


class RecommendHandler:
    """Loads the bundle packed beside it, then answers batches."""

    def initialize(self, context: Any) -> None:
        """Load and warm up; TorchServe calls the worker READY when this returns."""
        settings = WorkerSettings.from_environment()
        workers = int((context.model_yaml_config or {}).get("minWorkers", 1))
        import_xgboost_alone()
        cv2.setNumThreads(1)  # the cores are shared out between workers and the backbone
        bundle = load_bundle(Path(context.system_properties["model_dir"]) / "bundle", RecommendSpec)
        self.recommender = Recommender(
            bundle,
            threads=settings.threads or threads_per_worker(workers),
            precision=settings.precision,
            device=settings.device,
            spin=settings.spin,
            cache_bytes=settings.cache_mb * 1024 * 1024,
        )
        self.recommender.warm_up()
        self._fields, self._errors_as_200 = settings.fields, settings.errors_as_200
        self._gauged = -GAUGE_INTERVAL_S
        logger.info(
            "%s %s ready: %s on %s (%s)",
            bundle.spec.name,
            bundle.version,
            self.recommender.precision,
            self.recommender.backbone.provider,
            self.recommender.backbone.arithmetic,
        )

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Answer a batch: one JSON text for each request, each with its own status."""
        parsed = [_parse(fields, index, context, self._fields) for index, fields in enumerate(data)]
        requests = [item for item in parsed if isinstance(item, Request)]
        answers = iter(self.recommender.recommend_batch(requests))
        outcomes = [next(answers) if isinstance(item, Request) else item for item in parsed]
        self._gauge(outcomes, context)
        for index, outcome in enumerate(outcomes):
            context.set_response_content_type(index, JSON_TYPE)
            if isinstance(outcome, AugrankError) and not self._errors_as_200:
                phrase = HTTPStatus(outcome.status).phrase
                context.set_response_status(code=outcome.status, phrase=phrase, idx=index)
        return [_body(outcome) for outcome in outcomes]

    def _gauge(self, outcomes: list[Answer | AugrankError], context: Any) -> None:
        """Report an answer's timings, at most once a second.

        TorchServe keeps the last value of a metric, and every value is a line of log to it.
        """
        if time.monotonic() - self._gauged < GAUGE_INTERVAL_S:
            return
        computed = (o for o in outcomes if isinstance(o, Answer) and not o.cached)
        answer = next(computed, None)
        if answer is not None:
            self._gauged = time.monotonic()
            for stage, milliseconds in answer.timings_ms:
                context.metrics.add_time(f"Augrank{stage.capitalize()}Time", milliseconds)


def _parse(
    fields: dict[str, Any], index: int, context: Any, defaults: Mapping[str, Any]
) -> Request | AugrankError:
    try:
        headers = {
            name.lower(): value
            for name, value in context.get_all_request_header(index).items()
            if isinstance(value, str)  # a multipart part's own headers are mappings
        }
        return parse_request(fields, headers, defaults)
    except AugrankError as error:
        return error
    except Exception:
        logger.exception("request could not be read")
        return AugrankError("the request failed inside the server", remedy="See the server's log.")


def _body(outcome: Answer | AugrankError) -> str:
    if isinstance(outcome, AugrankError):
        return json.dumps(outcome.to_dict())
    return outcome.model_dump_json()
