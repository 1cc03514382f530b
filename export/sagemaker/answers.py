"""The answers to a folder of images in S3: a file ``IMAGE.out`` for each image.

Whoever writes them, an answer counts if it is not older than its image, is a JSON object, and is
not a fault of the server. Any other is missing, and the next call asks again. An image that cannot
be answered has its error as its answer.
"""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from augrank.aws.client import Aws
from augrank.aws.s3 import S3File, S3Folder
from augrank.errors import BadRequest, BrokenImage, ImageTooLarge, RequestError
from augrank.images.files import IMAGE_SUFFIXES

ANSWER_SUFFIX = ".out"  # SageMaker's
# In the output folder: archive, input and fields that its answers belong to.
REQUEST_FILE = "augrank.json"
CONNECTIONS = 10  # boto3's default


@dataclass(frozen=True)
class TransformResult:
    """The contents of the output folder."""

    answered: int
    failed: dict[str, str]  # image to error
    missing: dict[str, str]  # image without an answer yet, to why

    @property
    def images(self) -> int:
        """The number of images in the input folder."""
        return self.answered + len(self.failed) + len(self.missing)


@dataclass(frozen=True)
class AnswerFolder:
    """A folder of images, and the folder of their answers."""

    source: S3Folder
    output: S3Folder

    def images(self, aws: Aws) -> dict[str, S3File]:
        """List the images, by their keys relative to the folder.

        Raises:
            BadRequest: there are none.
        """
        found = images_in(self.source, aws)
        if not found:
            raise BadRequest(
                "there are no images", expected=", ".join(IMAGE_SUFFIXES), got=self.source.url
            )
        return found

    def claim(self, aws: Aws, identity: Mapping[str, Any]) -> None:
        """Record in the output folder what its answers belong to, or compare it with the record.

        Raises:
            BadRequest: the folder has answers to another request.
        """
        content = self.output.read(aws, REQUEST_FILE)
        if content is None:
            self.output.write(aws, REQUEST_FILE, json.dumps(identity, indent=2).encode())
        elif (other := json.loads(content)) != identity:
            differs = [key for key in identity if other.get(key) != identity[key]]
            raise BadRequest(
                f"{self.output.url} has answers to another request",
                expected=f"{differs[0]} as in its {REQUEST_FILE}: "
                f"{json.dumps(other.get(differs[0]))}",
                got=json.dumps(identity[differs[0]]),
                remedy="Choose another --output, or delete what is in this one.",
            )

    def unanswered(self, aws: Aws, images: Mapping[str, S3File]) -> list[str]:
        """Return the images without an answer, or with one that is older than the image."""
        answers = self.output.files(aws)
        return [
            image
            for image, file in images.items()
            if (answer := answers.get(image + ANSWER_SUFFIX)) is None
            or answer.modified < file.modified
        ]

    def refuse_unfit(
        self, aws: Aws, images: Mapping[str, S3File], limit_bytes: int
    ) -> dict[str, S3File]:
        """Answer images that are empty or above a limit with an error; return the others."""
        unfit = {
            image: file for image, file in images.items() if not 0 < file.size_bytes <= limit_bytes
        }
        for image in self.unanswered(aws, unfit) if unfit else []:
            error = _size_error(unfit[image].size_bytes, limit_bytes)
            self.write(aws, image, json.dumps(error.to_dict()))
        return {image: file for image, file in images.items() if image not in unfit}

    def write(self, aws: Aws, image: str, answer: str) -> None:
        """Write the answer to an image."""
        self.output.write(aws, image + ANSWER_SUFFIX, answer.encode())

    def collect(self, aws: Aws, images: Mapping[str, S3File]) -> TransformResult:
        """Read all answers and compare them with the images.

        An answer that does not count is deleted, so that the next call asks again.
        """
        missing = dict.fromkeys(self.unanswered(aws, images), "it has no answer")
        failed: dict[str, str] = {}
        present = [image for image in images if image not in missing]
        for image, answer in self.read(aws, present):
            why = fault(answer)
            if why is not None:
                self.output.delete(aws, image + ANSWER_SUFFIX)
                missing[image] = why
            elif answer is not None and (error := answer.get("error")):
                failed[image] = str(error["message"])
        return TransformResult(len(images) - len(failed) - len(missing), failed, missing)

    def read(self, aws: Aws, images: Iterable[str]) -> Iterable[tuple[str, dict[str, Any] | None]]:
        """Yield images with their answers, in order; None if there is none that is JSON."""

        def content(image: str) -> tuple[str, dict[str, Any] | None]:
            return image, _parsed(self.output.read(aws, image + ANSWER_SUFFIX))

        aws.client("s3")  # made once, before the threads
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            yield from pool.map(content, images)


def images_in(folder: S3Folder, aws: Aws) -> dict[str, S3File]:
    """List the images of a folder, by their keys relative to it, sorted."""
    files = folder.files(aws)
    return {key: files[key] for key in sorted(files) if key.lower().endswith(IMAGE_SUFFIXES)}


def fault(answer: Mapping[str, Any] | None) -> str | None:
    """Return why an answer does not count; None if it does.

    An image's own error counts: it will not be answered otherwise. The server's does not.
    """
    if answer is None:
        return "its answer is no JSON object"
    error = answer.get("error")
    if not error:
        return None
    if not isinstance(error, dict) or "message" not in error:
        return "its answer is not augrank's"
    return f"the server failed: {error['message']}" if _of_server(error) else None


def _size_error(size_bytes: int, limit_bytes: int) -> RequestError:
    if not size_bytes:
        return BrokenImage("the file is empty", expected="an image file", got="0 bytes")
    return ImageTooLarge(
        "the image is too large",
        expected=f"at most {limit_bytes / 2**20:.0f} MB",
        got=f"{size_bytes / 2**20:.1f}",
    )


def _of_server(error: Mapping[str, Any]) -> bool:
    status = error.get("status", 400)
    return not isinstance(status, int) or status >= 500


def _parsed(content: bytes | None) -> dict[str, Any] | None:
    try:
        answer = json.loads(content or b"")
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
