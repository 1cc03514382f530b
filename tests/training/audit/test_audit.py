"""The audit finds what was put into the data, and little else."""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from augrank.manifest.ground_truth_writer import Annotation, write_ground_truth
from tests.support.labelled_images import write_labelled
from tests.training.data.test_classify_dataset import rewrite
from training.audit import issues as finders
from training.audit.issues import label_errors, small_files
from training.cli.app import app
from training.data.labels import Label

CASES = Path(__file__).parents[2] / "cases" / "images"
OTHER = {"disc": "bar", "bar": "box", "box": "disc"}


def run(*words: object, ok: bool = True) -> str:
    result = CliRunner().invoke(app, ["audit", *map(str, words)])
    assert (result.exit_code == 0) == ok, result.output
    return " ".join(result.output.split())


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "audit.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_what_was_put_in_is_found(tmp_path):
    """Twelve wrong labels of 240, a copy, a contradiction, a broken and a small file."""
    manifest = write_labelled(tmp_path / "data", 240)
    images, wrong = manifest.parent / "images", {20 * n for n in range(12)}
    shutil.copy(images / "007.png", images / "copy.png")
    shutil.copy(images / "011.png", images / "other.png")
    (images / "broken.png").write_bytes(b"\x89PNG not really")
    cv2.imwrite(str(images / "tiny.png"), np.full((8, 30, 3), 90, np.uint8))

    def changed(rows):
        for number in wrong:
            rows[number][1] = OTHER[rows[number][1]]
        return [
            *rows,
            ["images/copy.png", rows[7][1], rows[7][2], "x"],
            ["images/other.png", OTHER[rows[11][1]], rows[11][2], "y"],
            ["images/broken.png", "bar", "red", "z"],
            ["images/tiny.png", "bar", "red", "z"],
        ]

    rewrite(manifest, changed)
    out = tmp_path / "audit"
    text = run("--manifest", manifest, "--labels", "shape", "--out", out, "--image-size", 96,
               "--min-side", 20)  # fmt: skip
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows_of(out):
        found.setdefault(row["kind"], []).append(row)
    errors = {row["path"]: row for row in found["label"]}
    put_in = {f"images/{number:03d}.png": number for number in wrong}
    hits = put_in.keys() & errors.keys()
    assert len(hits) >= 9  # of 12
    assert len(errors) <= 1.5 * len(hits)
    names = ("disc", "box", "bar")
    right = [errors[path]["proposed"] == names[put_in[path] % 3] for path in hits]
    assert np.mean(right) > 0.85
    assert [(row["path"], row["proposed"]) for row in found["duplicate"]] == [
        ("images/copy.png", "images/007.png")
    ]
    assert {row["path"] for row in found["contradiction"]} == {"images/011.png", "images/other.png"}
    assert [row["path"] for row in found["broken"]] == ["images/broken.png"]
    assert [(row["path"], row["detail"]) for row in found["small"]] == [
        ("images/tiny.png", "30 x 8 pixels")
    ]
    assert "Likely label errors" in text
    assert "Classes of shape" in text
    with Image.open(out / "audit.png") as sheet:
        assert sheet.width > 8 * 180


def test_clean_labels_have_few_errors_and_noisy_ones_are_named():
    rng = np.random.default_rng(0)
    truth = np.arange(600) % 3
    features = (2.5 * np.eye(3)[truth] + rng.normal(0, 0.7, (600, 3))).astype(np.float32)
    names = [f"{n}.png" for n in range(600)]
    files, group = np.arange(600), np.arange(600) // 2
    label = Label("kind", ("a", "b", "c"), truth)
    assert len(label_errors(label, files, names, features, group)) < 12
    noisy = truth.copy()
    noisy[:30] = (noisy[:30] + 1) % 3
    found = label_errors(Label("kind", ("a", "b", "c"), noisy), files, names, features, group)
    hits = [issue for issue in found if int(issue.path.split(".")[0]) < 30]
    assert len(hits) > 24
    assert all(issue.confidence > 0.5 for issue in hits[:10])


def test_sides_are_told_of_every_file_that_the_cache_has(monkeypatch):
    """A second audit decodes nothing, so nothing has registered the decoder of HEIC."""
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    names = ["bad_ancillary_crc.png", "exif6.jpg", "plain.png", "real.heic"]
    found = small_files(np.arange(4), names, CASES, 80, 2)
    assert [(issue.path, issue.detail) for issue in found] == [
        ("bad_ancillary_crc.png", "96 x 64 pixels"),
        ("exif6.jpg", "64 x 96 pixels"),  # upright
        ("plain.png", "96 x 64 pixels"),
        ("real.heic", "96 x 64 pixels"),
    ]
    assert small_files(np.arange(4), names, CASES, 64, 2) == []


def test_too_few_groups_of_a_class_are_no_error():
    truth = np.array([0] * 50 + [1] * 3)
    features = np.random.default_rng(0).normal(size=(53, 4)).astype(np.float32)
    label = Label("kind", ("a", "b"), truth)
    names = [str(n) for n in range(53)]
    assert label_errors(label, np.arange(53), names, features, np.arange(53)) == []
    assert finders.FOLDS > 3


def test_a_ground_truth_manifest_is_audited_as_it_is(tmp_path):
    images = write_labelled(tmp_path / "data", 36).parent
    with (images / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    # A contradiction: the same picture twice.
    shutil.copyfile(images / rows[1]["relative_im_path"], images / rows[0]["relative_im_path"])
    rows[0]["shape"] = OTHER[rows[1]["shape"]]
    manifest = tmp_path / "output.manifest"
    write_ground_truth(
        manifest,
        (
            (
                f"s3://bucket/{row['relative_im_path']}",
                {"shape": Annotation(row["shape"], sorted(OTHER), 0.9, True, "2026-11-01", "job")},
            )
            for row in rows
        ),
    )
    out = tmp_path / "out"
    text = run(
        "--manifest", manifest, "--images", images / "images", "--out", out, "--image-size", 32
    )
    assert "34 images" in text  # without the two that contradict
    found = {row["path"] for row in rows_of(out) if row["kind"] == "contradiction"}
    assert found == {"000.png", "001.png"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--images", "{empty}"), "has no images"),
        (("--manifest", "{data}", "--labels", "shapes"), "no label column 'shapes'"),
        (("--manifest", "{data}", "--backbone", "resnet19"), "--backbone does not fit"),
        (("--manifest", "{data}", "--labels", "shape", "--weights", "x.pt"), "are no weights"),
    ],
)
def test_mistakes_are_messages(tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    data = write_labelled(tmp_path / "data", 12)
    given = [word.format(empty=tmp_path / "empty", data=data) for word in words]
    assert message in run(*given, "--out", tmp_path / "out", ok=False)
