"""The comparison of int8 with fp32 reads what a user's commands report."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import graphs as measuring
from benchmarks.cli.app import app
from benchmarks.graphs import Experiment, write_history
from tests.support.tiny_run import write_images


def test_outcomes_follow_augmentation_campaign_and_brightness(tmp_path):
    names = write_images(tmp_path / "shop", 20)
    with (tmp_path / "shop" / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["relative_im_path"], *([name] for name in names)])
    write_history(tmp_path / "shop", tmp_path / "history.csv", Experiment(sends=50))
    with (tmp_path / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 20 * 6 * 50
    truth = np.array([float(row["click_through_probability"]) for row in rows])
    outcome = np.array([float(row["click_through"]) for row in rows])
    assert {0.15, 0.85} <= set(truth.tolist())
    for probability in set(truth.tolist()):
        share = outcome[truth == probability]
        error = np.sqrt(probability * (1 - probability) / len(share))
        assert abs(share.mean() - probability) < 4 * error
    unchanged = {
        row["relative_im_path"]: float(row["click_through_probability"]) // 0.3
        for row in rows
        if row["augmentation"] == "original"
    }
    assert sorted(unchanged.values()) == [0.0] * 10 + [1.0] * 10  # half of the images are dark


@pytest.mark.slow
def test_the_command_compares_graphs_and_writes_its_section(tmp_path):
    document, out = tmp_path / "results.md", tmp_path / "out"
    command = ["graphs", "--out", str(out), "--document", str(document), "--count", "100",
               "--epochs", "1", "--image-size", "32", "--backbones", "resnet18"]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout.splitlines()[-1])["backbones"].values()
    assert set(row["graphs"]) == {"fp32", "int8"}
    assert row["graphs"]["fp32"]["against_fp32"] is None
    compared = row["graphs"]["int8"]["against_fp32"]
    assert compared["log_loss"] == pytest.approx(
        row["graphs"]["int8"]["log_loss"] - row["graphs"]["fp32"]["log_loss"]
    )
    assert row["graph"] == ("fp32" if row["graphs"]["int8"]["shortfalls"] else "int8")
    text = document.read_text()
    assert text.startswith(measuring.HEADING)
    assert "| resnet18, int8 | openvino | " in text
    assert json.loads((out / "results.json").read_text())["rows"] == 100 * 6 * 6
