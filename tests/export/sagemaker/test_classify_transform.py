"""A classifier's days, ``dt=YYYY-MM-DD``, by transform jobs and on this machine."""

import json

import boto3
import pytest
from typer.testing import CliRunner

from export.cli import app
from export.sagemaker import batch_transform as module
from export.sagemaker import local_transform
from export.sagemaker.answers import AnswerFolder
from tests.support.sagemaker import region
from tests.support.sagemaker.classify_jobs import container_of, dist_with_archive
from tests.support.sagemaker.region import BUCKET, OPTIONS, Interrupted, local_aws

pytestmark = pytest.mark.slow
DAY, OTHER_DAY = "2026-11-28", "2026-11-29"
IMAGES = ("a.png", "deep/b.png", "broken.png")
LOCAL = ("--local",)


@pytest.fixture(scope="module")
def shapes(classify_export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "dist"
    return dist_with_archive(classify_export.bundle, folder)


@pytest.fixture
def s3(monkeypatch, classifier, classify_run):
    monkeypatch.setattr(module, "POLL_S", 0.01)
    files = sorted((classify_run.images / "images").iterdir())[:2]
    with local_aws(container_of(classifier), monkeypatch):
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        for name, body in zip(
            IMAGES, [files[0].read_bytes(), files[1].read_bytes(), b"no image"], strict=True
        ):
            put(client, DAY, name, body)
        put(client, OTHER_DAY, "c.png", files[0].read_bytes())
        yield client


def put(s3, day: str, name: str, body: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"photos/dt={day}/{name}", Body=body)


def transform(dist, *more: str, day: str | None = DAY):
    words = ["transform", "reviews", "--dist", str(dist), *OPTIONS, "--field", "top=10000"]
    words += ["--input", f"s3://{BUCKET}/photos", "--output", f"s3://{BUCKET}/answers"]
    return CliRunner().invoke(app, [*words, *(["--dt", day] if day else []), *more])


def keys(s3, prefix: str = "answers/") -> list[str]:
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return [each["Key"].removeprefix(prefix) for each in found]


def answer(s3, image: str, day: str = DAY) -> dict:
    key = f"answers/dt={day}/{image}.out"
    return json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())


def jobs() -> list[dict]:
    return boto3.client("sagemaker").list_transform_jobs()["TransformJobSummaries"]


def without_time(answer: dict) -> dict:
    return {**answer, "timings_ms": None, "cached": None}


def test_a_days_images_are_answered_below_their_day_and_no_others(shapes, s3, classifier):
    done = transform(shapes)
    assert done.exit_code == 0, done.output
    assert "3 images: 2 answered, 1 could not be, 0 missing" in done.output
    assert "broken.png: the bytes are not an image" in done.output
    assert keys(s3, f"answers/dt={DAY}/") == sorted(
        [*(f"{name}.out" for name in IMAGES), "augrank.json"]
    )
    assert all(key.startswith(f"dt={DAY}/") for key in keys(s3))
    (job,) = jobs()
    made = boto3.client("sagemaker").describe_transform_job(
        TransformJobName=job["TransformJobName"]
    )
    assert made["TransformInput"]["ContentType"] == "application/x-image"
    labels = answer(s3, "a.png")["images"][0]["labels"]
    assert len(labels["shape"]["top"]) == 3
    assert sum(each["probability"] for each in labels["shape"]["top"]) == pytest.approx(1, abs=1e-5)


def test_a_second_call_does_nothing_and_another_day_is_another_job(shapes, s3):
    assert transform(shapes).exit_code == 0
    before = {name: answer(s3, name) for name in IMAGES}
    assert transform(shapes).exit_code == 0
    assert len(jobs()) == 1
    assert {name: answer(s3, name) for name in IMAGES} == before
    assert transform(shapes, day=OTHER_DAY).exit_code == 0
    assert len(jobs()) == 2
    assert (
        answer(s3, "c.png", OTHER_DAY)["images"][0]["sha256"]
        == answer(s3, "a.png")["images"][0]["sha256"]
    )


def test_a_completed_job_that_left_images_out_is_not_complete(shapes, s3, monkeypatch):
    whole = region.LocalAws.transform

    def partial(self, job):
        whole(self, job)
        job.transform_job_status = "Completed"  # after its first image

    with monkeypatch.context() as patch:
        patch.setattr(region.LocalAws, "transform", partial)
        done = transform(shapes)
    assert done.exit_code == 2
    assert "3 images: 1 answered, 0 could not be, 2 missing" in done.output
    assert "broken.png: it has no answer" in done.output
    assert "deep/b.png: it has no answer" in done.output
    assert "2 of 3 images have no answer yet. Run it again" in done.output
    monkeypatch.setattr(module.time, "time", lambda: 2e9)  # another second, another name
    assert "2 answered, 1 could not be, 0 missing" in transform(shapes).output


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"images": [', "its answer is no JSON object"),
        (b"", "its answer is no JSON object"),
        (b'{"error": {"status": 500, "message": "out of memory"}}', "out of memory"),
    ],
)
def test_an_answer_that_is_none_is_listed_and_asked_for_again(shapes, s3, content, why):
    assert transform(shapes, *LOCAL).exit_code == 0
    before = answer(s3, "a.png")
    s3.put_object(Bucket=BUCKET, Key=f"answers/dt={DAY}/a.png.out", Body=content)
    done = transform(shapes, *LOCAL)
    assert done.exit_code == 2
    assert f"a.png: {why}" in done.output.replace("the server failed: ", "")
    assert "1 of 3 images have no answer yet" in done.output
    assert transform(shapes, *LOCAL).exit_code == 0
    assert without_time(answer(s3, "a.png")) == without_time(before)


def test_an_image_that_was_replaced_is_asked_about_again(shapes, s3, classify_run, monkeypatch):
    assert transform(shapes, *LOCAL).exit_code == 0
    before = answer(s3, "a.png")["images"][0]["sha256"]
    other = sorted((classify_run.images / "images").iterdir())[5].read_bytes()
    files = module.S3Folder.files

    def later(self, aws):
        return {
            key: file if key != "a.png" else changed(file, 2100)
            for key, file in files(self, aws).items()
        }

    put(s3, DAY, "a.png", other)
    with monkeypatch.context() as patch:  # S3 counts whole seconds
        patch.setattr(module.S3Folder, "files", later)
        done = transform(shapes, *LOCAL)
    assert "1 images to answer" in done.output
    assert answer(s3, "a.png")["images"][0]["sha256"] != before


def changed(file, year: int):
    return type(file)(file.size_bytes, file.etag, file.modified.replace(year=year))


def test_this_machine_answers_as_a_job_does_in_the_same_places(shapes, s3):
    assert transform(shapes).exit_code == 0
    here = f"s3://{BUCKET}/here"
    done = transform(shapes, *LOCAL, "--output", here, "--role", "")
    assert done.exit_code == 0, done.output
    assert "3 images: 2 answered, 1 could not be, 0 missing" in done.output
    assert keys(s3, "here/") == keys(s3, "answers/")
    for name in IMAGES:
        got = s3.get_object(Bucket=BUCKET, Key=f"here/dt={DAY}/{name}.out")["Body"].read()
        told, job = json.loads(got), answer(s3, name)
        if "error" in job:
            assert told == job
            continue
        for label, value in job["images"][0]["labels"].items():
            assert told["images"][0]["labels"][label]["value"] == value["value"]
    mixed = transform(shapes, *LOCAL)
    assert mixed.exit_code == 2
    assert "answers to another request" in mixed.output
    assert len(jobs()) == 1


def test_a_call_after_an_interrupted_one_answers_the_rest_here_too(shapes, s3, monkeypatch):
    monkeypatch.setattr(local_transform, "BATCH", 1)
    write = AnswerFolder.write

    def interrupted(self, aws, image, answer):
        if image != IMAGES[0]:
            raise Interrupted
        write(self, aws, image, answer)

    with monkeypatch.context() as patch:
        patch.setattr(AnswerFolder, "write", interrupted)
        with pytest.raises(Interrupted):
            transform(shapes, *LOCAL)
    assert keys(s3, f"answers/dt={DAY}/") == ["a.png.out", "augrank.json"]
    rest = transform(shapes, *LOCAL)
    assert "2 images to answer" in rest.output
    assert "3 images: 2 answered, 1 could not be, 0 missing" in rest.output


def test_empty_files_and_fields_that_fit_no_image_are_reported(shapes, s3):
    put(s3, DAY, "empty.png", b"")
    done = transform(shapes, *LOCAL)
    assert done.exit_code == 0, done.output
    assert "empty.png: the file is empty" in done.output
    assert "4 images: 2 answered, 2 could not be" in done.output
    wrong = transform(shapes, *LOCAL, "--field", "coverage=7", "--output", f"s3://{BUCKET}/wrong")
    assert wrong.exit_code == 2
    assert "none of 4 images could be answered" in wrong.output
    for day in ("2026-13-01", "20261128", "yesterday"):
        refused = transform(shapes, *LOCAL, day=day)
        assert refused.exit_code == 2
        assert "--dt is not a day: expected YYYY-MM-DD" in refused.output
