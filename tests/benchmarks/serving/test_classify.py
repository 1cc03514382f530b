"""A classifier's server and `augrank score` are timed, and the figures have a section."""

import json
from dataclasses import asdict

import cv2
import pytest
from typer.testing import CliRunner

from benchmarks.cli.app import app
from benchmarks.common.statistics import Median
from benchmarks.serving import classify
from benchmarks.serving.document import classify_section
from tests.support.labelled_images import draw_labelled


@pytest.mark.slow
def test_a_classifier_is_timed_beside_a_recommender(
    classify_export, tiny_export, tmp_path, monkeypatch
):
    measured, results = [], classify._results
    monkeypatch.setattr(
        classify, "_results", lambda *given: measured.append(given[-1]) or results(*given)
    )
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
    (rates,) = measured
    assert len(rates.server) == len(rates.pipeline) == len(rates.candidates) == 2
    assert content["ratios"] == {
        "server_over_pipeline": asdict(Median.of_ratios(rates.server, rates.pipeline)),
        "images_over_candidates": asdict(Median.of_ratios(rates.pipeline, rates.candidates)),
    }
    assert all(each["median"] > 0 for each in content["ratios"].values())
    assert content["score"]["images"] == 40
    document = tmp_path / "performance.md"
    done = CliRunner().invoke(app, ["document", str(out / "results.json"), "--out", str(document)])
    assert done.exit_code == 0, done.output
    assert "| server ÷ pipeline in process |" in document.read_text(encoding="utf-8")


@pytest.mark.parametrize(("low", "verdict"), [(0.96, "met"), (0.94, "met, but its interval")])
def test_a_section_says_whether_the_server_meets_its_bar(low, verdict):
    figure = {"median": 0.965, "low": low, "high": 0.97}
    machine = {"processor": "a processor", "cores": 2, "libraries": {}}
    model = {"backbone": "resnet18", "image_size": 224, "labels": ["kind"], "way": "int8"}
    content = {"model": model, "machine": machine, "command": "a command", "batch": 32,
               "images_per_s": {"server": figure, "pipeline": figure},
               "ratios": {"server_over_pipeline": figure}, "score": {"seconds": None}}  # fmt: skip
    text = classify_section(content)
    row = f"| server ÷ pipeline in process | 0.965 ({low:.3f} to 0.970) | 0.95 | 0.98 | {verdict}"
    assert row in text
    assert "candidates" not in text
