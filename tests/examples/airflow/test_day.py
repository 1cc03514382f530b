"""The steps of a day, one by one: what each refuses, and that a second run changes nothing."""

import json

import boto3
import pytest
from typer.testing import CliRunner

from augrank.aws.client import AwsError
from augrank.aws.s3 import S3Folder
from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from augrank.tasks.classify.request import Request
from examples.airflow.day.__main__ import app
from export.cli import app as export_app
from tests.support.review_day import KINDS, PHOTOS, REVIEWS, ReviewDay, names
from tests.support.sagemaker.region import BUCKET, local_aws

pytestmark = pytest.mark.slow
DT = "2026-11-28"
DECIDED = f"reviews/decided/dt={DT}/decisions.parquet"


@pytest.fixture
def day(monkeypatch) -> ReviewDay:
    def nothing(*_):
        raise AssertionError("there are no jobs here")

    with local_aws(nothing, monkeypatch):
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield ReviewDay(DT)


def step(name: str, *more: str, dt: str = DT):
    words = [name, "--photos", PHOTOS, "--reviews", REVIEWS, "--dt", dt, *more]
    return CliRunner().invoke(app, words)


def transform(shapes, *more: str):
    words = ["transform", "reviews", "--local", "--dist", str(shapes), "--dt", DT]
    words += ["--input", PHOTOS, "--output", f"{REVIEWS}/answers", "--field", "top=10000", *more]
    return CliRunner().invoke(export_app, words)


def decide(shapes, *more: str):
    return step("decide", "--bundle", str(shapes / "bundle"), *more)


def run_all(shapes) -> None:
    for done in (step("collect"), transform(shapes), decide(shapes), step("publish")):
        assert done.exit_code == 0, done.output


def test_every_image_has_a_row_that_is_decided_as_in_the_answer(
    day, shapes, photos, classifier, monkeypatch
):
    monkeypatch.setenv("AUGRANK_DEVICE", "cpu")
    monkeypatch.setenv("AUGRANK_PRECISION", classifier.precision)
    day.put(photos)
    run_all(shapes)
    rows = day.rows()
    assert names(rows) == sorted(photos)
    for row in rows:
        if row["relative_im_path"] == "broken.png":
            assert row["decision"] is None
            assert "not an image" in row["error"]
            continue
        request = Request((photos[row["relative_im_path"]],), row["review_kind"], single=True)
        told = classifier.classify_batch([request])[0].images[0]
        assert row["error"] is None
        assert row["shape"] == told.labels["shape"].value
        assert row["decision"] == told.decision.decision
        assert row["credit_probability"] == pytest.approx(told.decision.probability, abs=2e-6)
        assert row["sha256"] == told.sha256
    counts = day.success["decisions"]
    assert counts["error"] == 1
    assert sum(counts.values()) == day.success["rows"] == 6


def test_a_second_run_writes_nothing(day, shapes, photos):
    day.put(photos)
    run_all(shapes)
    before, success = day.published(), day.success
    written = day.s3.head_object(Bucket=BUCKET, Key=f"{day.decisions}decisions.parquet")
    assert "as collected before" in step("collect").output
    assert "to answer" not in transform(shapes).output
    assert decide(shapes).exit_code == 0
    assert "unchanged: " in step("publish").output
    after = day.s3.head_object(Bucket=BUCKET, Key=f"{day.decisions}decisions.parquet")
    assert (day.published(), day.success) == (before, success)
    assert after["LastModified"] == written["LastModified"]


def test_a_day_without_images_or_with_an_incomplete_upload_is_refused(day, photos):
    empty = step("collect")
    assert empty.exit_code == 2
    assert f"the day has no images: {PHOTOS}/dt={DT}/" in empty.output
    assert "mark the run as success" in empty.output
    day.put({"0.png": photos["0.png"]}, {"0.png": KINDS[0], "late.png": KINDS[0]})
    late = step("collect")
    assert late.exit_code == 2
    assert "1 images of reviews.csv are not in" in late.output
    assert "late.png" in late.output
    assert day.keys("reviews/") == []
    for name in ("decide", "publish"):
        early = step(name, *(("--bundle", "none") if name == "decide" else ()))
        assert early.exit_code == 2


def test_an_image_with_two_review_kinds_is_refused(day, photos):
    """A row for each image: the review of the other kind would have no decision."""
    day.put({"0.png": photos["0.png"], "1.png": photos["1.png"]})
    lines = ["relative_im_path,review_kind", f"0.png,{KINDS[0]}", f"1.png,{KINDS[1]}"]
    same = [*lines, f"1.png,{KINDS[1]}"]
    day.write(f"photos/dt={DT}/reviews.csv", "\n".join([*same, f"0.png,{KINDS[1]}"]).encode())
    twice = step("collect")
    assert twice.exit_code == 2
    assert "reviews.csv gives 1 images two review kinds" in twice.output
    assert f"0.png ({KINDS[0]}, {KINDS[1]})" in twice.output
    assert day.keys("reviews/") == []
    day.write(f"photos/dt={DT}/reviews.csv", "\n".join(same).encode())
    assert step("collect").exit_code == 0  # the same row twice says nothing else


def test_the_list_is_frozen_and_images_that_come_later_are_not_of_the_day(day, shapes, photos):
    day.put(photos)
    assert step("collect").exit_code == 0
    listed = json.loads(day.read(f"reviews/collected/dt={DT}/images.json"))
    assert listed["count"] == 6
    assert [each["path"] for each in listed["images"]] == sorted(photos)
    assert all(each["etag"] for each in listed["images"])
    day.write(f"photos/dt={DT}/late.png", photos["1.png"])
    run_all(shapes)
    assert names(day.rows()) == sorted(photos)
    assert day.success["rows"] == 6
    day.delete(f"reviews/collected/dt={DT}/images.json")
    assert step("collect", "--review-kind", KINDS[0]).exit_code == 0
    assert "1 images to answer" not in transform(shapes).output  # it was there before, and is
    run_all(shapes)
    assert names(day.rows()) == sorted([*photos, "late.png"])


def test_a_missing_answer_is_named_and_nothing_is_written(day, shapes, photos):
    day.put(photos)
    assert step("collect").exit_code == 0
    early = decide(shapes)
    assert early.exit_code == 2
    assert "6 of 6 images have no answer" in early.output
    assert transform(shapes).exit_code == 0
    for name, body in (("1.png", None), ("2.png", b'{"images": [')):
        key = f"reviews/answers/dt={DT}/{name}.out"
        day.delete(key) if body is None else day.write(key, body)
    partial = decide(shapes)
    assert partial.exit_code == 2
    assert "2 of 6 images have no answer" in partial.output
    assert "none for 1.png, 2.png" in partial.output
    assert day.keys("reviews/decided/") == []
    transform(shapes)  # deletes the cut answer and reports it
    run_all(shapes)
    assert day.success["rows"] == 6


def test_deleted_images_are_rows_with_a_reason_and_replaced_ones_are_refused(day, shapes, photos):
    day.put(photos)
    assert step("collect").exit_code == 0
    day.delete(f"photos/dt={DT}/0.png")
    assert transform(shapes).exit_code == 0
    day.delete(f"photos/dt={DT}/1.png")
    assert decide(shapes).exit_code == 2  # two of six have no decision
    assert decide(shapes, "--max-errors", "0.4").exit_code == 0
    assert step("publish").exit_code == 0
    rows = {row["relative_im_path"]: row for row in day.rows()}
    assert rows["0.png"]["error"] == "the image was deleted after it was collected"
    assert rows["1.png"]["decision"] is not None  # its answer was there
    day.write(f"photos/dt={DT}/2.png", photos["3.png"])
    replaced = decide(shapes)
    assert replaced.exit_code == 2
    assert "1 of 6 images have changed since they were collected" in replaced.output
    assert "got 2.png" in replaced.output


def test_an_unknown_or_missing_review_kind_is_an_error_of_its_image_alone(day, shapes, photos):
    images = {name: body for name, body in photos.items() if name != "broken.png"}
    kinds = dict.fromkeys(images, KINDS[0]) | {"0.png": "Shoe Review", "1.png": ""}
    day.put(images, kinds)
    assert step("collect").exit_code == 0
    assert transform(shapes).exit_code == 0
    many = decide(shapes)
    assert many.exit_code == 2
    assert "2 of 5 images could not be decided: expected at most 20%" in many.output
    assert decide(shapes, "--max-errors", "0.5").exit_code == 0
    assert step("publish").exit_code == 0
    rows = day.rows()
    assert "Shape Review" in rows[0]["error"]
    assert "the image has no review kind" in rows[1]["error"]
    assert rows[0]["shape"] is not None
    assert {row["decision"] for row in rows[2:]} <= {"accept", "reject", "ask"}


def test_review_kinds_may_be_one_for_all(day, shapes, photos):
    day.put(photos)
    day.delete(f"photos/dt={DT}/reviews.csv")
    assert step("collect", "--review-kind", "box review").exit_code == 0
    run_all(shapes)
    assert {row["review_kind"] for row in day.rows() if row["decision"]} == {"Box Review"}


def test_what_does_not_fit_the_collected_images_is_not_published(day, shapes, photos):
    day.put(photos)
    run_all(shapes)
    success, other = day.success, ReviewDay("2026-11-27")
    other.put({"0.png": photos["0.png"]})
    assert step("collect", dt=other.dt).exit_code == 0
    other.write(DECIDED.replace(DT, other.dt), day.read(DECIDED))
    refused = step("publish", dt=other.dt)
    assert refused.exit_code == 2
    assert "the decisions are not those of the day's images" in refused.output
    assert "expected 1 rows" in refused.output
    assert other.success is None
    assert day.success == success


def test_an_interrupted_publish_leaves_no_success_and_the_next_completes_it(
    day, shapes, photos, monkeypatch
):
    day.put(photos)
    run_all(shapes)
    day.write(f"{day.decisions}decisions.parquet", b"of an earlier export")
    write = S3Folder.write

    def interrupted(self, aws, key, content):
        if key == "_SUCCESS":
            raise AwsError("the connection broke")
        return write(self, aws, key, content)

    with monkeypatch.context() as patch:
        patch.setattr(S3Folder, "write", interrupted)
        assert step("publish").exit_code == 2
    assert day.success is None
    assert "wrote " in step("publish").output
    assert day.success["rows"] == len(day.rows()) == 6


def test_answers_of_another_kind_are_refused(day, shapes, photos):
    day.put({"0.png": photos["0.png"]})
    assert step("collect").exit_code == 0
    few = transform(shapes, "--field", "top=1")
    assert few.exit_code == 0, few.output
    refused = decide(shapes)
    assert refused.exit_code == 2
    assert "an answer does not hold all classes" in refused.output
    assert "--field top=10000" in refused.output
    key = f"reviews/answers/dt={DT}/0.png.out"
    other = json.loads(day.read(key)) | {"bundle_version": "0+other"}
    day.write(key, json.dumps(other).encode())
    refused = decide(shapes)
    assert refused.exit_code == 2
    assert "an answer is of another bundle" in refused.output
    assert load_bundle(shapes / "bundle", ClassifySpec).version in refused.output
    day.write(key, b'{"probability": 0.5}')
    assert "an answer is not a classifier's" in decide(shapes).output
