"""A day of review photos in S3, and what was made of it."""

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

import boto3
import cv2
import numpy as np
import pyarrow.parquet as pq

from tests.support.sagemaker.region import BUCKET

PHOTOS, REVIEWS = f"s3://{BUCKET}/photos", f"s3://{BUCKET}/reviews"
KINDS = ("Shape Review", "Box Review")


class ReviewDay:
    """A day below ``dt=``."""

    def __init__(self, dt: str) -> None:
        self.dt, self.s3 = dt, boto3.client("s3")

    def put(self, photos: Mapping[str, bytes], kinds: Mapping[str, str] | None = None) -> None:
        """Upload photos and reviews.csv, which names a review kind for each."""
        for name, body in photos.items():
            self.write(f"photos/dt={self.dt}/{name}", body)
        kinds = kinds or {name: KINDS[n % len(KINDS)] for n, name in enumerate(photos)}
        lines = ["relative_im_path,review_kind", *(f"{k},{v}" for k, v in kinds.items())]
        self.write(f"photos/dt={self.dt}/reviews.csv", "\n".join(lines).encode())

    def write(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key=key)

    def keys(self, prefix: str) -> list[str]:
        """List what is below a prefix."""
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [each["Key"].removeprefix(prefix) for each in found]

    def read(self, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    @property
    def decisions(self) -> str:
        """The prefix of the published files."""
        return f"reviews/decisions/dt={self.dt}/"

    @property
    def success(self) -> dict[str, Any] | None:
        """The contents of _SUCCESS; None if the day is not complete."""
        if "_SUCCESS" not in self.keys(self.decisions):
            return None
        content: dict[str, Any] = json.loads(self.read(f"{self.decisions}_SUCCESS"))
        return content

    def published(self) -> bytes:
        return self.read(f"{self.decisions}decisions.parquet")

    def rows(self) -> list[dict[str, Any]]:
        """Return the published rows."""
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(self.published())).to_pylist()
        return rows


def png(image: np.ndarray) -> bytes:
    """Encode an image, uint8 (H, W, 3) RGB."""
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the images of rows."""
    return [row["relative_im_path"] for row in rows]
