"""docs/results.md from reports."""

import pytest

from augrank.errors import DataError
from benchmarks.reproduce import Experiment, read_report, results_document

HEAD = {
    "accuracy": 0.791,
    "accuracy_interval_95": [0.78, 0.80],
    "majority_accuracy": 0.6,
    "ceiling": {"expected_accuracy": 0.8, "accuracy": 0.802, "auc": 0.778},
    "leak_z": -0.4,
    "auc": 0.77,
    "brier": 0.163,
    "inputs": ["context", "features"],
    "comparison": {
        "xgboost": {
            "accuracy": 0.79,
            "auc": 0.77,
            "brier": 0.16,
            "log_loss": 0.5,
            "fit_seconds": 2.0,
        }
    },
}
REPORT = {
    "backbone": {
        "architecture": "resnet18",
        "image_size": 64,
        "test_accuracy": 0.9912,
        "test_images": 1200,
        "interval_95": [0.985, 0.995],
        "majority": 1 / 6,
        "per_augmentation": {"brighter": 0.99, "darker": 1.0},
    },
    "heads": {
        "open_rate": HEAD,
        "click_through": {
            **HEAD,
            "accuracy": 0.801,
            "comparison": {"xgboost": {**HEAD["comparison"]["xgboost"], "accuracy": 0.81}},
        },
    },
}


def test_the_document_has_figures_beside_their_ceilings():
    text = results_document(Experiment(), REPORT, "command", None)
    assert "Written by `command`" in text
    assert "80 % convert if brighter or rotated, 20 % otherwise" in text
    assert "recognises 99.12% of 1,200 held-out candidates (95 % interval 98.50% to 99.50%" in text
    assert ": brighter 99.0%, darker 100.0%." in text
    assert "| engagement accuracy | 79 %, 86 %, 91 % | 79.1% to 80.1% (ceiling 80%) |" in text
    row = (
        "| open_rate | 0.791 (0.780 to 0.800) | 0.600 | 0.800 | 0.802 | -0.4 | 0.770 | 0.778 "
        "| 0.163 | context + features |"
    )
    assert row in text.splitlines()
    assert "| xgboost | 0.800 | 0.770 | 0.160 | 0.500 | 2.000 |" in text.splitlines()  # means
    assert "## Real" not in text


def test_a_run_on_the_catalogue_is_reported_beside_it():
    text = results_document(Experiment(), REPORT, "command", REPORT)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# Results",
        "## Rendered: 1,000 sneakers, 10 sends of each candidate",
        "## Real: the example catalogue of `make demo`",
    ]
    assert text.count("| open_rate |") == 2


def test_a_folder_without_a_report_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no report\.json"):
        read_report(tmp_path)
