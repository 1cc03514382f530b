"""A region on loopback, and an export to deploy there."""

from collections.abc import Callable, Iterator

import boto3
import pytest

from export.sagemaker import endpoint
from export.sagemaker import invoke as asking
from export.sagemaker.release import Release, Settings
from tests.support.sagemaker.region import BUCKET, IMAGE, ROLE, LocalAws, local_aws
from tests.support.sagemaker.smoke import smoke_answer


@pytest.fixture
def right(dist) -> bytes:
    """The answer that the smoke test expects."""
    return smoke_answer(dist)


@pytest.fixture
def wrong(right) -> bytes:
    """An answer that differs from the expected one."""
    return right.replace(b'"probability": 0', b'"probability": 1')


@pytest.fixture
def local(monkeypatch, right) -> Iterator[LocalAws]:
    """A region whose containers answer correctly unless a test replaces them."""
    monkeypatch.setattr(endpoint, "POLL_S", 0.05)
    monkeypatch.setattr(asking, "ASYNC_POLL_S", 0.05)
    with local_aws(lambda _model, _body, _headers: (200, right), monkeypatch) as region:
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield region


@pytest.fixture
def release(dist) -> Callable[..., Release]:
    """Make releases of the export with given settings; a different TRY is a different release."""

    def make(number: int = 0, **changes) -> Release:
        settings = {
            "name": "shop",
            "image": IMAGE,
            "role": ROLE,
            "bucket": BUCKET,
            "instance_type": "ml.c5.large",
            "environment": {"TRY": str(number)},
            **changes,
        }
        return Release(Settings(**settings), dist)

    return make
