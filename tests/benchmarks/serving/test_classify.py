"""A classifier's server and `augrank score` are timed, and the figures have a section."""

import json

import cv2
import pytest
from typer.testing import CliRunner

from benchmarks.cli.app import app
from tests.support.labelled_images import draw_labelled


@pytest.mark.slow
def test_a_classifier_is_timed_beside_a_recommender(classify_export, tiny_export, tmp_path):
    images, out = tmp_path / "photos", tmp_path / "out"
    images.mkdir()
    for number in range(40):
        image, _, _ = draw_labelled(5000 + number)
        cv2.imwrite(str(images / f"{number}.png"), image[..., ::-1])
    command = ["classify", str(classify_export.bundle), "--images", str(images), "--out", str(out),
               "--recommender", str(tiny_export.bundle), "--rounds", "2", "--seconds", "0.3",
               "--score-runs", "1"]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout.splitlines()[-1])
    assert set(content["images_per_s"]) == {"server", "pipeline", "candidates"}
    assert all(each["median"] > 0 for each in content["images_per_s"].values())
    assert set(content["ratios"]) == {"server_over_pipeline", "images_over_candidates"}
    assert content["ratios"]["server_over_pipeline"]["median"] < 1.5
    assert content["score"]["images"] == 40
    document = tmp_path / "performance.md"
    done = CliRunner().invoke(app, ["document", str(out / "results.json"), "--out", str(document)])
    assert done.exit_code == 0, done.output
    assert "| server / pipeline |" in document.read_text(encoding="utf-8")
