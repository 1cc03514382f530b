"""Batch transform against moto's server, with the workers of tests.support.sagemaker.region."""

import json
import time
from collections import Counter
from types import SimpleNamespace

import boto3
import pytest
from typer.testing import CliRunner

from augrank.aws.client import Aws
from augrank.aws.s3 import S3Folder
from export.cli import app
from export.sagemaker import batch_transform as module
from export.sagemaker.batch_transform import Batch
from tests.support.sagemaker.region import BUCKET, OPTIONS, Interrupted, interrupt, local_aws

pytestmark = pytest.mark.slow
IMAGES = ("a.jpg", "deep/b.PNG", "broken.jpg")
ERROR = {"error": {"code": "broken_image", "message": "the image is truncated"}}
FIELDS = {"target": "open_rate"}


class Container:
    """Answer images by their content, and count them, while ``up``."""

    def __init__(self) -> None:
        self.asked: Counter[bytes] = Counter()
        self.up = True

    def __call__(self, _model: str, body: bytes, _headers: dict) -> tuple[int, bytes]:
        if not self.up:
            return 500, b""
        self.asked[body] += 1
        answer = ERROR if body == b"broken.jpg" else {"probability": 0.5}
        return 200, json.dumps(answer).encode()


@pytest.fixture
def container() -> Container:
    return Container()


@pytest.fixture
def s3(monkeypatch, container):
    monkeypatch.setattr(module, "POLL_S", 0.01)
    with local_aws(container, monkeypatch):
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        put(client, *IMAGES, "notes.txt")
        yield client


def put(s3, *names: str) -> None:
    for name in names:
        s3.put_object(Bucket=BUCKET, Key=f"images/{name}", Body=name.encode())


def transform(dist, *more: str):
    words = [
        "transform",
        "shop",
        "--dist",
        str(dist),
        *OPTIONS,
        "--field",
        "target=open_rate",
        "--input",
        f"s3://{BUCKET}/images",
        "--output",
        f"s3://{BUCKET}/answers",
        *more,
    ]
    return CliRunner().invoke(app, words)


def jobs() -> list[dict]:
    sagemaker = boto3.client("sagemaker")
    return sagemaker.list_transform_jobs()["TransformJobSummaries"]


def listed(s3, name: str) -> list[str]:
    """Return the images in a job's manifest."""
    job = boto3.client("sagemaker").describe_transform_job(TransformJobName=name)
    url = job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
    body = s3.get_object(Bucket=BUCKET, Key=url.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
    return json.loads(body)[1:]


@pytest.fixture
def batch(release) -> Batch:
    folders = (S3Folder(BUCKET, f"{name}/") for name in ("images", "answers"))
    return Batch(release(), *folders, FIELDS)


def killed_while_it_waits(batch: Batch) -> None:
    def killed(text: str) -> None:
        if "InProgress" in text:
            raise Interrupted

    with pytest.raises(Interrupted):
        module.transform(Aws(), batch, progress=killed)


def at_another_second(monkeypatch) -> None:
    """Move the clock, so that the next job has another name."""
    clock = SimpleNamespace(**{**vars(time), "time": lambda: 2e9})
    monkeypatch.setattr(module, "time", clock)


def test_only_unanswered_images_are_sent_and_errors_are_listed(dist, s3, container):
    first = transform(dist)
    assert first.exit_code == 0, first.output
    assert "2 answered, 1 could not be" in first.output
    assert "the image is truncated" in first.output
    sagemaker, (job,) = boto3.client("sagemaker"), jobs()
    made = sagemaker.describe_transform_job(TransformJobName=job["TransformJobName"])
    model = sagemaker.describe_model(ModelName=made["ModelName"])
    environment = model["PrimaryContainer"]["Environment"]
    assert json.loads(environment["AUGRANK_FIELDS"]) == FIELDS
    assert environment["AUGRANK_ERRORS_AS_200"] == "1"

    assert transform(dist).exit_code == 0
    assert len(jobs()) == 1  # nothing was left to ask
    put(s3, "new.gif")
    assert "3 answered, 1 could not be" in transform(dist).output
    assert container.asked == {name.encode(): 1 for name in (*IMAGES, "new.gif")}


def test_a_failed_job_is_reported_and_the_next_continues(dist, s3, container, monkeypatch):
    container.up = False
    failed = transform(dist)
    assert failed.exit_code == 2
    assert "ClientError: a.jpg: 500" in failed.output
    assert "Run it again" in failed.output
    container.up = True
    at_another_second(monkeypatch)
    assert "2 answered, 1 could not be" in transform(dist).output
    assert container.asked == {name.encode(): 1 for name in IMAGES}


def test_the_call_after_a_killed_one_sends_nothing_twice(batch, s3, container, monkeypatch):
    names = [f"{number}.jpg" for number in range(12)]
    put(s3, *names)
    for moment in (0, 0, 1, 2):  # augrank.json, which stays; the manifest; the model; the job
        with monkeypatch.context() as patch:
            interrupt(patch, moment)
            with pytest.raises(Interrupted):
                module.transform(Aws(), batch)
    assert jobs() == []
    for _ in range(6):  # while it waits
        killed_while_it_waits(batch)
    assert len(jobs()) == 1
    outcome = module.transform(Aws(), batch)
    assert (outcome.answered, list(outcome.failed), outcome.missing) == (14, ["broken.jpg"], {})
    assert len(jobs()) == 1
    assert container.asked == {name.encode(): 1 for name in (*IMAGES, *names)}


def test_delete_stops_a_running_job_and_does_not_block_the_next(
    batch, dist, s3, container, monkeypatch
):
    killed_while_it_waits(batch)
    (job,) = jobs()
    other = CliRunner().invoke(app, ["delete", "other", "--bucket", BUCKET])
    assert other.exit_code == 0, other.output
    assert jobs()[0]["TransformJobStatus"] == "InProgress"
    removed = CliRunner().invoke(app, ["delete", "shop", "--bucket", BUCKET])
    assert removed.exit_code == 0, removed.output
    assert f"transform job {job['TransformJobName']}" in removed.output
    assert jobs()[0]["TransformJobStatus"] == "Stopping"
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="answers/a.jpg.out")["KeyCount"] == 1

    at_another_second(monkeypatch)
    outcome = module.transform(Aws(), batch)
    assert outcome.answered == 2
    assert len(jobs()) == 2
    assert listed(s3, max(each["TransformJobName"] for each in jobs())) == [
        "broken.jpg",
        "deep/b.PNG",
    ]


def test_an_image_above_the_limit_is_listed_and_not_sent(dist, s3, container, monkeypatch):
    put(s3, "of-many-megabytes.png")
    monkeypatch.setattr(module, "MAX_REQUEST_BYTES", 20)
    done = transform(dist)
    assert done.exit_code == 0, done.output
    assert "2 answered, 2 could not be" in done.output
    assert "of-many-megabytes.png: the image is too large" in done.output
    assert sorted(listed(s3, jobs()[0]["TransformJobName"])) == sorted(IMAGES)


def test_answers_to_another_request_do_not_mix(dist, s3):
    assert transform(dist).exit_code == 0
    other = transform(dist, "--field", "target=ctr")
    assert other.exit_code == 2
    assert "answers to another request" in other.output
    assert "Choose another --output" in other.output
    assert transform(dist, "--field", "target=ctr", "--output", f"s3://{BUCKET}/b").exit_code == 0


def test_wrong_folders_are_reported_before_a_transform_job(dist, s3):
    shown = transform(dist, "--dry-run")
    assert "create_transform_job" in shown.output
    assert jobs() == []
    for option in ("--input", "--output"):
        wrong = transform(dist, option, "images")
        assert wrong.exit_code == 2
        assert f"{option} is not an S3 URL" in wrong.output
    assert "there are no images" in transform(dist, "--input", f"s3://{BUCKET}/none").output
