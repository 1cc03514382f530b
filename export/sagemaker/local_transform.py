"""Batch transform on this machine: the answers that a job would write, in the same places.

For machines of your own, with S3 or a store that speaks its protocol: no role, no instances.
Requests are read and answered by the code of the model server's worker.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from augrank.aws.client import Aws
from augrank.bundle.load import load_bundle
from augrank.bundle.spec import Bundle, BundleSpec
from augrank.errors import AugrankError
from augrank.reporting import ShowStatus, no_progress
from augrank.resources import usable_cores
from augrank.runtime.batching import answer_batch
from augrank.runtime.settings import WorkerSettings
from augrank.runtime.wire import read_body
from augrank.tasks.base import AnyTask, load_task
from augrank.tasks.isolation import isolated
from export.sagemaker.answers import CONNECTIONS, AnswerFolder, TransformResult
from export.sagemaker.batch_transform import CONTENT_TYPE
from export.sagemaker.release import MAX_REQUEST_BYTES

BATCH = 16  # images that are answered together; as many are read ahead


@dataclass(frozen=True)
class LocalBatch:
    """A folder of images, the fields of their requests, and the bundle that answers."""

    dist: Path  # an export's directory
    folders: AnswerFolder
    fields: Mapping[str, Any]  # target and context of all images; options of a classifier

    def identity(self, bundle: Bundle[BundleSpec]) -> dict[str, Any]:
        """The inputs of an answer, as those of a job: see ``Batch.identity``."""
        return {
            "archive": f"bundle {bundle.digest[:16]}",
            "input": self.folders.source.url,
            "fields": dict(sorted(self.fields.items())),
        }


def transform_here(
    aws: Aws, batch: LocalBatch, *, progress: ShowStatus = no_progress
) -> TransformResult:
    """Answer every image of a folder that has no answer yet, on this machine.

    The environment variables of a worker apply, such as ``AUGRANK_DEVICE``.

    Args:
        aws: services of a region.
        batch: the images, and what answers them.
        progress: receives progress messages.

    Returns:
        What the output folder holds now.

    Raises:
        BadRequest: there are no images, or the output folder has answers to another request.
        BundleError: the bundle is missing or incompatible.
        AwsError: S3 refused; existing answers are kept.
    """
    folders, bundle = batch.folders, load_bundle(batch.dist / "bundle")
    images = folders.images(aws)
    folders.claim(aws, batch.identity(bundle))
    sendable = folders.refuse_unfit(aws, images, MAX_REQUEST_BYTES)
    if missing := folders.unanswered(aws, sendable):
        progress(f"{len(missing)} images to answer")
        options = WorkerSettings.from_environment().engine_options(usable_cores())
        # All answers of a folder come from one graph, whichever is the quickest at the moment.
        task = load_task(
            bundle, replace(options, precision=options.precision or bundle.spec.preferred)
        )
        _answer(aws, batch, task, missing, progress)
    return folders.collect(aws, images)


def answer_texts(task: AnyTask, files: Sequence[bytes], fields: Mapping[str, Any]) -> list[str]:
    """Return the answers to image files as a worker's JSON, errors in their places.

    Args:
        task: a loaded task.
        files: the images.
        fields: of their requests.
    """

    def parsed(file: bytes) -> Any:
        return task.parse(read_body({"body": file}, {"content-type": CONTENT_TYPE}, fields))

    requests = [isolated(parsed, file) for file in files]
    return [
        json.dumps(answer.to_dict())
        if isinstance(answer, AugrankError)
        else answer.model_dump_json()
        for answer in answer_batch(task, requests)
    ]


def _answer(
    aws: Aws, batch: LocalBatch, task: AnyTask, images: Sequence[str], progress: ShowStatus
) -> None:
    """Read, answer and write; the next images are read meanwhile."""
    source, answered = batch.folders.source, 0
    groups = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    with ThreadPoolExecutor(CONNECTIONS) as pool:

        def read_ahead(group: Sequence[str]) -> list[Future[bytes | None]]:
            return [pool.submit(source.read, aws, image) for image in group]

        coming = read_ahead(groups[0])
        for group, following in zip(groups, [*groups[1:], []], strict=True):
            files = [each.result() for each in coming]
            coming = read_ahead(following)
            # An image that was deleted meanwhile stays without an answer.
            both = zip(group, files, strict=True)
            found = {image: file for image, file in both if file is not None}
            texts = answer_texts(task, list(found.values()), batch.fields)
            writes = [
                pool.submit(batch.folders.write, aws, image, text)
                for image, text in zip(found, texts, strict=True)
            ]
            for write in writes:
                write.result()
            answered += len(group)
            progress(f"{answered} of {len(images)} images")
