"""docs/results.md, written from reports."""

import json
import sys

import pytest
from typer.testing import CliRunner

from augrank.errors import DataError
from benchmarks import reproduce
from benchmarks.cli.app import app
from benchmarks.graphs import HEADING as GRAPHS
from benchmarks.reproduce import Experiment, read_report, results_document, run_experiment
from benchmarks.trust.document import HEADING as TRUST

HEAD = {
    "accuracy": 0.791,
    "accuracy_interval_95": [0.78, 0.80],
    "majority_accuracy": 0.6,
    "ceiling": {"expected_accuracy": 0.8, "accuracy": 0.802, "auc": 0.778},
    "leak_z": -0.4,
    "auc": 0.77,
    "brier": 0.163,
    "ece": 0.0123,
    "debiased_ece": 0.0045,
    "debiased_ece_interval_90": [0.0, 0.0091],
    "decision": {
        "coverage": 0.93,
        "pairwise_accuracy": 0.995,
        "regret": 0.001,
        "false_claims": None,
    },
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
    assert "| open_rate | 0.012 | 0.004 (0.000 to 0.009) | 0.930 | 0.995 | 0.001 | - |" in text
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
    assert text.count("| open_rate |") == 4


def test_a_folder_without_a_report_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no report\.json"):
        read_report(tmp_path)


def test_the_commands_of_a_user_are_run(tmp_path, monkeypatch):
    commands = []

    def run(command, *, check):
        commands.append(command)
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "report.json").write_text(json.dumps(REPORT))
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(reproduce.subprocess, "run", run)
    assert run_experiment(Experiment(count=100, seed=3), tmp_path) == REPORT
    assert [command[:4] for command in commands] == [
        [sys.executable, "-m", "training", name] for name in ("render", "simulate", "fit")
    ]
    assert all(command[-2:] == ["--seed", "3"] for command in commands)
    monkeypatch.setattr(
        reproduce.subprocess, "run", lambda *_, **__: type("Done", (), {"returncode": 2})
    )
    with pytest.raises(DataError, match="training render failed with exit code 2"):
        run_experiment(Experiment(), tmp_path)


def test_the_command_writes_the_document_and_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "run_experiment", lambda experiment, out: REPORT)
    document = tmp_path / "docs" / "results.md"
    command = ["reproduce", "--out", str(tmp_path), "--document", str(document), "--count", "200"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "recognition": 0.9912,
        "heads": {"open_rate": 0.791, "click_through": 0.801},
    }
    assert "## Rendered: 200 sneakers, 10 sends of each candidate" in document.read_text()


def test_sections_of_other_commands_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "run_experiment", lambda experiment, out: REPORT)
    document = tmp_path / "results.md"
    sections = "\n\n".join(f"{heading}\n\nMeasured." for heading in (GRAPHS, TRUST))
    document.write_text(f"# Results\n\n## Rendered: 7 cars\n\nOld.\n\n{sections}\n")
    command = ["reproduce", "--out", str(tmp_path), "--document", str(document)]
    assert CliRunner().invoke(app, command).exit_code == 0
    text = document.read_text()
    assert text.endswith(f"\n\n{sections}\n")
    assert "Old." not in text
