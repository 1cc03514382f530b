"""A grid of classifiers: every metric in one table, and a winner with its reason."""

import csv
import json

import pytest
from typer.testing import CliRunner

from tests.support.labelled_images import write_labelled
from training.cli.app import app
from training.tuning.figures import TrialFigures
from training.tuning.space import SPACES
from training.tuning.trials import Trial, best_trial, verdict


def trial(number: int, f1: float, images_per_s: float, backbone: str | None = None) -> Trial:
    figures = TrialFigures(f1, f1 - 0.01, f1 + 0.01, f1, 0.1, 0.01, images_per_s)
    parameters = {"epochs": 5} | ({"backbone": backbone} if backbone else {})
    return Trial(number, "complete", f1, 5, 10.0, parameters, figures=figures)


def test_the_quickest_of_those_as_good_as_the_best_is_taken():
    trials = [
        trial(0, 0.95, 300, "efficientnet_lite0"),
        trial(1, 0.98, 50, "resnet50"),
        trial(2, 0.975, 120, "resnet18"),
        trial(3, 0.972, 90, "resnet34"),
    ]
    assert best_trial(trials).number == 2
    assert verdict(trials) == (
        "Trial 2 is taken: macro-F1 0.9750 (0.9650 to 0.9850), 120 images/s. Trial 1 has 0.9800, "
        "whose interval holds this, and it is 2.4 times as quick."
    )
    assert best_trial(trials[:2]).number == 1
    assert verdict(trials[:2]).endswith(
        "the highest macro-F1, and none as good is quicker beyond timing noise."
    )


def test_the_same_network_is_never_quicker_than_itself():
    """What differs between the timings of trials with the same network is noise."""
    trials = [trial(0, 0.975, 140, "resnet18"), trial(1, 0.98, 100, "resnet18")]
    assert best_trial(trials).number == 1
    assert best_trial([trial(0, 0.975, 140), trial(1, 0.98, 100)]).number == 1
    # 90 is a slow timing of a network that is not slower than the other.
    trials += [trial(2, 0.974, 150, "mobilenet_v3_large"), trial(3, 0.9, 90, "mobilenet_v3_large")]
    assert best_trial(trials).number == 1


def test_of_those_as_quick_the_best_is_taken():
    trials = [
        trial(0, 0.98, 50, "resnet50"),
        trial(1, 0.972, 130, "resnet18"),
        trial(2, 0.976, 120, "resnet18"),
        trial(3, 0.973, 125, "resnet18"),
        trial(4, 0.977, 90, "resnet34"),
    ]
    assert best_trial(trials).number == 2
    assert verdict(trials).endswith(
        "125 images/s. Trial 0 has 0.9800, whose interval holds this, and it is 2.5 times as "
        "quick. Of the 3 trials as good and as quick, its macro-F1 is the highest."
    )


def test_networks_timed_once_are_as_quick_if_they_differ_by_less_than_a_tenth():
    trials = [trial(0, 0.98, 100, "resnet18"), trial(1, 0.975, 109, "efficientnet_lite0")]
    assert best_trial(trials).number == 0
    assert best_trial([trials[0], trial(1, 0.975, 111, "efficientnet_lite0")]).number == 1


def test_trials_without_figures_are_chosen_by_accuracy():
    plain = [Trial(n, "complete", value, 3, 1.0, {}) for n, value in enumerate((0.7, 0.8, 0.8))]
    assert best_trial(plain).number == 1
    assert verdict(plain) == ""
    assert best_trial([]) is None


def test_the_grid_of_the_source_and_the_small_networks_are_spaces():
    assert len(list(SPACES["grid"].combinations())) == 9
    small = {"mobilenet_v3_large", "efficientnet_lite0"}
    assert small < {each["backbone"] for each in SPACES["backbones"].combinations()}


@pytest.mark.slow
def test_every_metric_of_a_grid_is_in_one_table(tmp_path):
    manifest = write_labelled(tmp_path / "data", 120)
    space, out = tmp_path / "space.yaml", tmp_path / "study"
    space.write_text("epochs: [1]\nbackbone: [resnet18, efficientnet_lite0]\n")
    words = ["tune", "--manifest", manifest, "--space", space, "--out", out]
    options = {"task": "classify", "labels": "shape,colour", "image_size": 32, "threads": 1,
               "validation_share": 0.4}  # fmt: skip
    words += [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "is taken: macro-F1" in text
    with (out / "trials.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["backbone"] for row in rows} == {"resnet18", "efficientnet_lite0"}
    for row in rows:
        low, f1, high = (float(row[f"macro_f1{end}"]) for end in ("_low", "", "_high"))
        assert low <= f1 <= high
        assert float(row["images_per_s"]) > 0
        assert 0 <= float(row["accuracy"]) <= 1
        assert float(row["log_loss"]) > 0
    assert (out / "cost.png").read_bytes()[1:4] == b"PNG"
    assert (
        "backbone:" in (out / "best.yaml").read_text()
        or "epochs: 1" in (out / "best.yaml").read_text()
    )
    content = json.loads(result.output.strip().splitlines()[-1])
    assert content["trials"] == 2
    assert content["macro_f1"] > 0
