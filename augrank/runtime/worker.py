"""A model server's worker: pass a batch of HTTP requests to a task's pipeline, and return answers.

Written for TorchServe's handler interface, which SageMaker's PyTorch serving stack runs too. A
handler file (handlers/) subclasses ``Worker`` and names its task; TorchServe loads it from a
``.mar`` whose folder is first on ``sys.path``, so the ``augrank`` packed in it runs. It contains no
model logic: ``augrank/tasks/<task>/`` has the request and the pipeline.
"""

import json
import logging
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar

import cv2

from augrank.bundle.load import load_bundle
from augrank.errors import AugrankError, BundleError
from augrank.models.head import import_xgboost_without_sklearn
from augrank.resources import threads_per_worker
from augrank.runtime.batching import CachedTask, answer_batch
from augrank.runtime.settings import WorkerSettings
from augrank.runtime.wire import JSON_TYPE, read_body
from augrank.tasks.base import AnyTask, TaskAnswer, load_task
from augrank.tasks.isolation import isolated

logger = logging.getLogger(__name__)
METRICS_INTERVAL_S = 1.0


class Worker:
    """Loads the bundle packed beside the handler, then answers batches."""

    task_name: ClassVar[str]

    def initialize(self, context: Any) -> None:
        """Load and warm up; TorchServe calls the worker READY when this returns."""
        settings = WorkerSettings.from_environment()
        workers = int((context.model_yaml_config or {}).get("minWorkers", 1))
        import_xgboost_without_sklearn()
        cv2.setNumThreads(1)  # the cores are divided among workers and the backbone
        bundle = load_bundle(Path(context.system_properties["model_dir"]) / "bundle")
        if bundle.spec.task != self.task_name:
            raise BundleError(
                "the bundle does not fit the handler that is packed with it",
                expected=f"task {self.task_name}",
                got=f"task {bundle.spec.task}",
                remedy="Export the run again.",
            )
        self.task: AnyTask = load_task(bundle, settings.engine_options(threads_per_worker(workers)))
        if settings.cache_mb:
            self.task = CachedTask(self.task, settings.cache_mb * 1024 * 1024)
        self.task.warm_up()
        self._settings = settings
        self._reported_at = -METRICS_INTERVAL_S
        logger.info("%s %s ready: %s", bundle.spec.name, bundle.version, self.task.engine)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Answer a batch: one JSON text for each request, each with its own status."""
        requests = [
            isolated(self._parse, parts, context, index) for index, parts in enumerate(data)
        ]
        answers = answer_batch(self.task, requests)
        self._report_timings(answers, context)
        for index, answer in enumerate(answers):
            context.set_response_content_type(index, JSON_TYPE)
            if isinstance(answer, AugrankError) and not self._settings.errors_as_200:
                phrase = HTTPStatus(answer.status).phrase
                context.set_response_status(code=answer.status, phrase=phrase, idx=index)
        return [_body(answer) for answer in answers]

    def _parse(self, parts: dict[str, Any], context: Any, index: int) -> Any:
        """Read one request, of the task's own type."""
        texts = {
            name.lower(): value
            for name, value in context.get_all_request_header(index).items()
            if isinstance(value, str)  # a multipart part's own headers are mappings
        }
        return self.task.parse(read_body(parts, texts, self._settings.request_fields))

    def _report_timings(self, answers: Sequence[TaskAnswer | AugrankError], context: Any) -> None:
        """Report the stages of one computed answer as metrics, at most once a second.

        TorchServe keeps the last value of a metric, and logs a line for every value.
        """
        if time.monotonic() - self._reported_at < METRICS_INTERVAL_S:
            return
        for answer in answers:
            if not isinstance(answer, AugrankError) and not answer.cached:
                self._reported_at = time.monotonic()
                for stage, milliseconds in answer.timings_ms:
                    context.metrics.add_time(f"Augrank{stage.capitalize()}Time", milliseconds)
                return


def _body(answer: TaskAnswer | AugrankError) -> str:
    if isinstance(answer, AugrankError):
        return json.dumps(answer.to_dict())
    return answer.model_dump_json()
