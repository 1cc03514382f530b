"""Collect a day's images: a list that is written once, so that every retry sees the same day."""

import json
import tempfile
from pathlib import Path

from pydantic import BaseModel, ValidationError

from augrank.aws.client import Aws
from augrank.contracts.manifest import PATH
from augrank.errors import BadRequest, DataError, reason
from augrank.images.files import IMAGE_SUFFIXES
from augrank.manifest.read import read_table
from examples.airflow.day.folders import Day
from export.sagemaker.answers import images_in

IMAGES_FILE, REVIEWS_FILE = "images.json", "reviews.csv"
REVIEW_KIND = "review_kind"
MAX_SHOWN = 10


class CollectedImage(BaseModel, frozen=True, extra="forbid"):
    """One image of a day."""

    path: str  # relative to the day's folder
    size_bytes: int
    etag: str  # S3's; another one for other content
    review_kind: str | None


class Collected(BaseModel, frozen=True, extra="forbid"):
    """The images of a day."""

    dt: str
    source: str  # s3://BUCKET/FOLDER/dt=YYYY-MM-DD/
    count: int
    images: tuple[CollectedImage, ...]  # sorted by path


def collect(aws: Aws, day: Day, review_kind: str | None) -> tuple[Collected, bool]:
    """Write the list of a day's images, unless it exists.

    Args:
        aws: services of a region.
        day: whose photos are listed, with the review kinds in ``reviews.csv`` beside them.
        review_kind: of images that are not in that file; None: they have none.

    Returns:
        The list, and whether it existed.

    Raises:
        BadRequest: the day has no images.
        DataError: ``reviews.csv`` cannot be read, names images that are not there, or gives one two
            review kinds.
    """
    if (before := _read(aws, day)) is not None:
        return before, True
    found = images_in(day.photos, aws)
    if not found:
        raise BadRequest(
            f"the day has no images: {day.photos.url}",
            expected=f"files {', '.join(IMAGE_SUFFIXES)}",
            remedy="Upload them and clear this task. If there were none that day, mark the run as "
            "success.",
        )
    kinds = _review_kinds(aws, day)
    if absent := sorted(set(kinds) - set(found)):
        raise DataError(
            f"{len(absent)} images of {REVIEWS_FILE} are not in {day.photos.url}",
            expected="an image for each row",
            got=", ".join(absent[:MAX_SHOWN]),
            remedy="Upload them, or delete their rows, and clear this task.",
        )
    images = tuple(
        CollectedImage(
            path=path,
            size_bytes=file.size_bytes,
            etag=file.etag,
            review_kind=kinds.get(path) or review_kind,
        )
        for path, file in found.items()
    )
    made = Collected(dt=day.dt, source=day.photos.url, count=len(images), images=images)
    day.collected.write(aws, IMAGES_FILE, made.model_dump_json(indent=1).encode())
    return made, False


def collected(aws: Aws, day: Day) -> Collected:
    """Return the list of a day's images.

    Raises:
        DataError: it has not been written, or is damaged.
    """
    found = _read(aws, day)
    if found is None:
        raise DataError(
            f"the day's images are not collected: there is no {day.collected.url}{IMAGES_FILE}",
            remedy="Run collect first.",
        )
    return found


def _read(aws: Aws, day: Day) -> Collected | None:
    content = day.collected.read(aws, IMAGES_FILE)
    if content is None:
        return None
    remedy = "Delete it, and clear the day's tasks."
    try:
        found = Collected.model_validate_json(content)
    except ValidationError as error:
        raise DataError(
            f"{day.collected.url}{IMAGES_FILE} is damaged", got=reason(error), remedy=remedy
        ) from error
    expected = {"dt": day.dt, "source": day.photos.url, "count": len(found.images)}
    got = {name: getattr(found, name) for name in expected}
    if got != expected:
        raise DataError(
            f"{day.collected.url}{IMAGES_FILE} is of other images",
            expected=json.dumps(expected),
            got=json.dumps(got),
            remedy=remedy,
        )
    return found


def _review_kinds(aws: Aws, day: Day) -> dict[str, str]:
    """Read ``reviews.csv``: the review kind of each path; nothing if there is no such file.

    Raises:
        DataError: it has no review kinds, or two of one image.
    """
    content = day.photos.read(aws, REVIEWS_FILE)
    if content is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / REVIEWS_FILE
        file.write_bytes(content)
        frame = read_table(file, {}).frame
    if REVIEW_KIND not in frame.columns:
        raise DataError(
            f"{day.photos.url}{REVIEWS_FILE} has no column {REVIEW_KIND}",
            expected=f"{PATH},{REVIEW_KIND}",
            got=",".join(frame.columns),
        )
    kinds: dict[str, str] = {}
    twice: dict[str, str] = {}
    for path, kind in zip(frame[PATH], frame[REVIEW_KIND], strict=True):
        if kinds.setdefault(path, kind) != kind:
            twice.setdefault(path, f"{path} ({kinds[path] or 'none'}, {kind or 'none'})")
    if twice:
        raise DataError(
            f"{REVIEWS_FILE} gives {len(twice)} images two review kinds",
            expected="one for each image: its decision is about one review",
            got=", ".join(list(twice.values())[:MAX_SHOWN]),
            remedy="Delete the wrong rows; upload a photo of two reviews once for each. Then clear "
            "this task.",
        )
    return kinds
