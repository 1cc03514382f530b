"""A model server's worker: pass a batch of HTTP requests to a task's pipeline, and return answers.

Written for TorchServe's handler interface, which SageMaker's PyTorch serving stack runs too. A
handler file (handlers/) subclasses ``Worker`` and names its task; TorchServe loads it from a
``.mar`` whose folder is first on ``sys.path``, so the ``augrank`` packed in it runs. It contains no
model logic: ``augrank/tasks/<task>/`` has the request and the pipeline.
"""

import json
import logging
import os
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar

from augrank.bundle.load import load_bundle
from augrank.errors import AugrankError, BundleError, ServerError
from augrank.processes import use_one_thread_for_arrays
from augrank.resources import threads_per_worker
from augrank.runtime.batching import CachedTask, answer_batch
from augrank.runtime.settings import WorkerSettings
from augrank.runtime.url_images import FetchImages, with_downloads
from augrank.runtime.wire import (
    INSTANCES,
    JSON_TYPE,
    PREDICTIONS,
    Requests,
    read_requests,
)
from augrank.runtime.worker_log import drop_request_lines, write_metrics
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
        os.environ["TS_DECODE_INPUT_REQUEST"] = "false"  # read by TorchServe for every request
        workers = int((context.model_yaml_config or {}).get("minWorkers", 1))
        use_one_thread_for_arrays()
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
        self._fetch = _url_reader() if settings.allow_urls else None
        self._reported_at = -METRICS_INTERVAL_S
        logger.info("%s %s ready: %s", bundle.spec.name, bundle.version, self.task.engine)
        drop_request_lines()

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Answer a batch: one JSON text for each request, each with its own status."""
        received = [isolated(self._read, parts, context, index) for index, parts in enumerate(data)]
        if self._fetch is not None:
            received = with_downloads(received, self._fetch)
        requests: list[Any] = []  # of the task's own type, or errors
        for each in received:
            if isinstance(each, AugrankError):
                requests.append(each)
            else:
                requests += [isolated(self.task.parse, body) for body in each.bodies]
        answers = answer_batch(self.task, requests)
        self._report_timings(answers, context)
        rest, results = iter(answers), []
        for index, each in enumerate(received):
            if isinstance(each, Requests) and each.instances:
                result = _predictions([next(rest) for _ in each.bodies])
            else:
                result = next(rest)
            context.set_response_content_type(index, JSON_TYPE)
            if isinstance(result, AugrankError) and not self._settings.errors_as_200:
                phrase = HTTPStatus(result.status).phrase
                context.set_response_status(code=result.status, phrase=phrase, idx=index)
            results.append(_body(result))
        return results

    def _read(self, parts: dict[str, Any], context: Any, index: int) -> Requests:
        """Read one HTTP request."""
        texts = {
            name.lower(): value
            for name, value in context.get_all_request_header(index).items()
            if isinstance(value, str)  # a multipart part's own headers are mappings
        }
        fields, allow_urls = self._settings.request_fields, self._settings.allow_urls
        return read_requests(parts, texts, fields, allow_urls=allow_urls)

    def _report_timings(self, answers: Sequence[TaskAnswer | AugrankError], context: Any) -> None:
        """Report the stages of one computed answer as metrics, at most once a second.

        TorchServe keeps the last value of a metric, and logs a line for every value; its own
        ``PredictionTime``, which it adds after this, is written with them only. Kept answers and
        errors write none.
        """
        write_metrics(False)
        if time.monotonic() - self._reported_at < METRICS_INTERVAL_S:
            return
        for answer in answers:
            if not isinstance(answer, AugrankError) and not answer.cached:
                self._reported_at = time.monotonic()
                write_metrics(True)
                for stage, milliseconds in answer.timings_ms:
                    context.metrics.add_time(f"Augrank{stage.capitalize()}Time", milliseconds)
                return


def _url_reader() -> FetchImages:
    """Return what downloads the images of requests.

    Raises:
        ServerError: a package for it is missing.
    """
    try:
        from augrank.download.request_images import RequestImages
    except ImportError as error:
        raise ServerError(
            "AUGRANK_ALLOW_URLS=1 needs packages that are not installed",
            expected="aiohttp and httpx",
            got=str(error),
            remedy="pip install aiohttp httpx, beside the server's other packages.",
        ) from error
    return RequestImages().of_batch


def _predictions(answers: Sequence[TaskAnswer | AugrankError]) -> str | AugrankError:
    """Return the answer to a list of instances as JSON, or the error of the first that has one."""
    texts = []
    for number, answer in enumerate(answers):
        if isinstance(answer, AugrankError):
            return answer.at(f"{INSTANCES}[{number}]")
        texts.append(answer.model_dump_json())
    return f'{{"{PREDICTIONS}":[{",".join(texts)}]}}'


def _body(result: TaskAnswer | AugrankError | str) -> str:
    if isinstance(result, AugrankError):
        return json.dumps(result.to_dict())
    return result if isinstance(result, str) else result.model_dump_json()
