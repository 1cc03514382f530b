"""``augrank classify``, ``inspect`` and ``score`` of a classifier, as a user calls them."""

import json
import os
import shutil

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from augrank.cli.app import app
from augrank.images.decode import DecodeLimits
from augrank.manifest.read import read_table
from export.run_reader import load_run
from export.tasks.base import ExportOptions
from export.tasks.classify import build

runner = CliRunner()


def run(*words, ok: bool = True):
    result = runner.invoke(app, [str(word) for word in words])
    assert (result.exit_code == 0) == ok, result.output
    return " ".join(result.output.split())


@pytest.fixture
def photos(classify_run, tmp_path):
    """A folder of ten images, a broken one and a text."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        shutil.copy(classify_run.images / "images" / f"{number:03d}.png", folder)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def tagged(classify_run, tmp_path_factory):
    """A bundle with a tag ``colour``."""
    folder = tmp_path_factory.mktemp("tagged")
    (folder / "tags.yaml").write_text("colour: {least: 0.999}\n")
    options = ExportOptions("tagged", devices=("cpu",), int8=False, tags=folder / "tags.yaml")
    return build(load_run(classify_run.run), folder / "dist", options).bundle


def test_a_folder_is_classified_into_a_table_and_a_sheet(classify_export, photos, tmp_path):
    sheet = tmp_path / "sheet.png"
    text = run(
        "classify", classify_export.bundle, photos, "--review-kind", "box review",
        "--device", "cpu", "--contact-sheet", sheet,
    )  # fmt: skip
    assert "skipped: 1 of 11" in text
    assert "shape: " in text
    assert "percentile" in text
    assert "decisions: " in text
    with Image.open(sheet) as image:
        assert image.width > 6 * 200
        assert len(image.getcolors(1_000_000)) > 100


def test_json_has_a_line_for_each_image(classify_export, photos):
    result = runner.invoke(
        app, ["classify", str(classify_export.archive), str(photos), "--json", "--device", "cpu"]
    )
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert len(lines) == 11
    by_path = {line["path"]: line for line in lines}
    assert by_path["broken.jpg"]["error"]["code"] == "broken_image"
    assert set(by_path["000.png"]["labels"]) == {"shape", "colour"}


def test_what_was_told_is_a_ground_truth_manifest_that_training_reads(
    classify_export, photos, tmp_path
):
    """For a labelling job that verifies it."""
    file = tmp_path / "told.manifest"
    run(
        "classify", classify_export.bundle, photos, "--device", "cpu",
        "--ground-truth", file, "--source", "s3://bucket/day/",
    )  # fmt: skip
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 10
    assert lines[0]["source-ref"] == "s3://bucket/day/000.png"
    metadata = lines[0]["shape-metadata"]
    assert ("bar", "box", "disc")[lines[0]["shape"]] == metadata["class-name"]
    assert metadata["human-annotated"] == "no"
    assert 0 < metadata["confidence"] <= 1
    frame = read_table(file, {}).frame
    assert frame["relative_im_path"].tolist() == [f"{number:03d}.png" for number in range(10)]
    assert frame["shape"].tolist() == [line["shape-metadata"]["class-name"] for line in lines]


def test_one_image_is_answered_and_a_broken_one_fails(classify_export, photos):
    text = run("classify", classify_export.bundle, photos / "001.png", "--device", "cpu")
    assert "001.png" in text
    text = run("classify", classify_export.bundle, photos / "broken.jpg", ok=False)
    assert "no image could be read" in text
    text = run("classify", classify_export.bundle, photos / "none.png", ok=False)
    assert "No such file" in text
    os.truncate(photos / "broken.jpg", DecodeLimits.size_bytes + 1)
    text = run("classify", classify_export.bundle, photos / "broken.jpg", ok=False)
    assert "the image file is too large" in text


def test_mistakes_have_a_remedy(classify_export, tiny_export, photos, tmp_path):
    assert "task 'recommend'" in run("classify", tiny_export.bundle, photos, ok=False)
    kind = run("classify", classify_export.bundle, photos, "--review-kind", "x", ok=False)
    assert "expected one of Shape Review, Box Review" in kind
    (tmp_path / "empty").mkdir()
    assert "there are no images" in run(
        "classify", classify_export.bundle, tmp_path / "empty", ok=False
    )
    out = tmp_path / "out.parquet"
    text = run("score", classify_export.bundle, photos, "--out", out, "--target", "x", ok=False)
    assert "--target is not an option of this bundle" in text
    text = run("score", tiny_export.bundle, photos, "--out", out, "--coverage", 0.9, ok=False)
    assert "--coverage is not an option of this bundle" in text
    given = ("--configured", "colour=red")
    text = run("score", tiny_export.bundle, photos, "--out", out, *given, ok=False)
    assert "--configured is not an option of this bundle" in text
    text = run("score", classify_export.bundle, photos, "--out", out, *given, ok=False)
    assert "expected a bundle with --tags" in text


def test_what_is_configured_wins_for_all_images(tagged, classify_export, photos):
    given = ("--configured", "colour=Green", "--device", "cpu")
    text = run("classify", tagged, photos, *given)
    assert text.count("green (configured)") == 10
    result = runner.invoke(app, [*map(str, ("classify", tagged, photos, *given)), "--json"])
    tags = [json.loads(line)["tags"] for line in result.output.splitlines()]
    found = [(tag["colour"]["value"], tag["colour"]["source"]) for tag in tags if tag]
    assert found == [("green", "configured")] * 10
    text = run("classify", tagged, photos, "--configured", "colour=mauve", ok=False)
    assert "the configured colour is not known" in text
    text = run("classify", tagged, photos, "--configured", "green", ok=False)
    assert "--configured does not fit: expected NAME=VALUE" in text
    text = run("classify", classify_export.bundle, photos, *given, ok=False)
    assert "expected a bundle with --tags" in text


def test_inspect_shows_labels_and_rules(classify_export):
    text = run("inspect", classify_export.bundle)
    for words in ("task classify", "shape: bar, box, disc", "Box Review", "macro-F1",
                  "likes (within uploader)", "pair accuracy",
                  "answers its smoke request as at export"):  # fmt: skip
        assert words in text


@pytest.mark.slow
def test_a_folder_is_scored_to_parquet_as_it_is_classified(
    classify_export, classifier, photos, tmp_path
):
    out = tmp_path / "labels.parquet"
    text = run(
        "score", classify_export.bundle, photos, "--out", out, "--review-kind", "Box Review",
        "--workers", 1, "--device", "cpu", "--precision", "fp32",
    )  # fmt: skip
    assert "10 answers" in text
    assert "1 could not be answered" in text
    rows = {row["relative_im_path"]: row for row in pq.read_table(out).to_pylist()}
    assert rows["broken.jpg"]["error"]
    assert "broken.jpg" in (tmp_path / "labels.parquet.errors.csv").read_text()
    for number in range(10):
        row = rows[f"{number:03d}.png"]
        told = classifier.classify(photos / f"{number:03d}.png", review_kind="Box Review")
        assert row["shape"] == told.labels["shape"].value
        assert row["shape_probability"] == pytest.approx(told.labels["shape"].probability, abs=0.02)
        assert row["colour_set"][0] == row["colour"]
        assert row["decision"] == told.decision.decision
        assert row["likes_score"] == pytest.approx(told.ranks["likes"].score, abs=0.05)
        assert 0 <= row["likes_percentile"] <= 100
        assert row["review_kind"] == "Box Review"


@pytest.mark.slow
def test_a_manifest_has_review_kinds_by_row(classify_export, photos, tmp_path):
    manifest, out = tmp_path / "day.csv", tmp_path / "labels.parquet"
    manifest.write_text(
        "relative_im_path,review_kind\n000.png,Shape Review\n001.png,\n002.png,Film Review\n"
        "none.png,Box Review\n"
    )
    text = run(
        "score", classify_export.bundle, manifest, "--images", photos, "--out", out,
        "--review-kind", "box review", "--workers", 1, "--device", "cpu",
    )  # fmt: skip
    rows = pq.read_table(out).to_pylist()
    assert [row["review_kind"] for row in rows[:2]] == ["Shape Review", "Box Review"]
    assert "the review kind is not known" in rows[2]["error"]
    assert "none.png" in rows[3]["error"]
    assert "2 could not be answered" in text


@pytest.mark.slow
def test_a_manifest_has_configured_tags_by_row(tagged, photos, tmp_path):
    manifest, out = tmp_path / "cars.csv", tmp_path / "tags.parquet"
    manifest.write_text(
        "relative_im_path,advertised,configured_seats\n000.png,RED,2\n001.png,,\n002.png,mauve,\n"
    )
    text = run(
        "score", tagged, manifest, "--images", photos, "--out", out, "--workers", 1,
        "--column", "configured_colour=advertised", "--configured", "colour=Green",
    )  # fmt: skip
    rows = pq.read_table(out).to_pylist()
    found = [(row["colour_tag"], row["colour_tag_source"]) for row in rows]
    assert found == [("red", "configured"), ("green", "configured"), (None, None)]
    assert "the configured colour is not known" in rows[2]["error"]
    assert "configured_seats is ignored: the bundle has no tag seats" in text
    run("score", tagged, photos, "--out", out, "--workers", 1, "--configured", "colour=Blue")
    tags = [row["colour_tag"] for row in pq.read_table(out).to_pylist() if row["error"] is None]
    assert tags == ["blue"] * 10
