"""Batch transform against moto's server; what SageMaker's workers do is done here by hand."""

import json

import boto3
import pytest
from typer.testing import CliRunner

from export.aws import transform as module
from export.cli import app
from tests.sagemaker.aws import BUCKET, OPTIONS, local_aws

pytestmark = pytest.mark.slow
PICTURES = ("a.jpg", "deep/b.PNG", "broken.jpg")
ERROR = {"error": {"code": "broken_picture", "message": "the picture is truncated"}}


@pytest.fixture
def s3(monkeypatch):
    with local_aws(lambda *_: (500, b""), monkeypatch):
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        for name in (*PICTURES, "notes.txt"):
            client.put_object(Bucket=BUCKET, Key=f"pictures/{name}", Body=b"x")
        yield client


def transform(dist, *more: str):
    words = ["transform", "shop", "--dist", str(dist), *OPTIONS, "--field", "target=open_rate",
             "--input", f"s3://{BUCKET}/pictures", "--output", f"s3://{BUCKET}/answers",
             *more]  # fmt: skip
    return CliRunner().invoke(app, words)


def jobs() -> list[dict]:
    sagemaker = boto3.client("sagemaker")
    names = [
        j["TransformJobName"] for j in sagemaker.list_transform_jobs()["TransformJobSummaries"]
    ]
    return [sagemaker.describe_transform_job(TransformJobName=name) for name in names]


def listed(s3, job: dict) -> list[str]:
    """The pictures that a job was given."""
    url = job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
    body = s3.get_object(Bucket=BUCKET, Key=url.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
    first, *rest = json.loads(body)
    assert first == {"prefix": f"s3://{BUCKET}/pictures/"}
    return rest


def test_only_what_has_no_answer_is_asked_and_errors_are_listed(dist, s3, monkeypatch):
    def interrupted(_aws, name, *_):
        s3.put_object(Bucket=BUCKET, Key="answers/a.jpg.out", Body=b'{"probability": 0.5}')
        raise module.AwsError(f"the transform job {name} failed: capacity", remedy="Run it again.")

    monkeypatch.setattr(module, "_wait", interrupted)
    failed = transform(dist)
    assert failed.exit_code == 2
    assert "Run it again" in failed.output
    (job,) = jobs()
    assert listed(s3, job) == ["a.jpg", "broken.jpg", "deep/b.PNG"]
    model = boto3.client("sagemaker").describe_model(ModelName=job["ModelName"])
    environment = model["PrimaryContainer"]["Environment"]
    assert json.loads(environment["AUGRANK_FIELDS"]) == {"target": "open_rate"}
    assert environment["AUGRANK_ERRORS_AS_200"] == "1"

    def finished(_aws, _name, *_):
        s3.put_object(Bucket=BUCKET, Key="answers/deep/b.PNG.out", Body=b'{"probability": 0.4}')
        s3.put_object(Bucket=BUCKET, Key="answers/broken.jpg.out", Body=json.dumps(ERROR).encode())

    monkeypatch.setattr(module, "_wait", finished)
    monkeypatch.setattr(module.time, "time", lambda: 2e9)  # a job of another name
    done = transform(dist)
    assert done.exit_code == 0, done.output
    assert listed(s3, jobs()[-1]) == ["broken.jpg", "deep/b.PNG"]
    assert "2 answered, 1 could not be" in done.output
    assert "the picture is truncated" in done.output
    again = transform(dist)  # nothing is left to ask
    assert again.exit_code == 0
    assert len(jobs()) == 2


def test_what_does_not_fit_is_told(dist, s3):
    shown = transform(dist, "--dry-run")
    assert "create_transform_job" in shown.output
    assert jobs() == []
    for option in ("--input", "--output"):
        wrong = transform(dist, option, "pictures")
        assert wrong.exit_code == 2
        assert f"{option} does not fit" in wrong.output
    assert "there are no pictures" in transform(dist, "--input", f"s3://{BUCKET}/none").output
