"""A search: its trials, pruning, resuming, and the config of the best trial."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import optuna
import pytest
import yaml
from typer.testing import CliRunner

from augrank.errors import DataError
from tests.support import held_training
from training.cli.app import app
from training.config import FitConfig, load_config
from training.tuning.space import SPACES, Range, Space, load_space
from training.tuning.trials import Trial, best_config, best_trial

REPOSITORY = Path(__file__).parents[3]
OPTIONS = ["--set", "image_size=32", "--set", "epochs=2", "--set", "batch_size=32",
           "--set", "precision=fp32", "--set", "threads=1"]  # fmt: skip


def tune(manifest: Path, out: Path, *words: str):
    command = ["tune", "--manifest", str(manifest), "--out", str(out), *OPTIONS, *words]
    return CliRunner().invoke(app, command)


def space_file(folder: Path, content: object) -> Path:
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def open_files() -> list[str]:
    """Return the files that this process has open."""
    links = Path("/proc/self/fd").iterdir()
    return [str(link.readlink()) for link in links if link.is_symlink()]


def trials_of(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_seeds_spaces_hold_options_that_fit_takes():
    config = FitConfig(manifest=Path("m.csv"), out=Path("r"))
    for space in SPACES.values():
        space.check(config)
    assert not SPACES["seeds"].is_grid
    assert set(SPACES["seeds"].options) == {
        "learning_rate", "weight_decay", "batch_size", "epochs", "backbone"
    }  # fmt: skip
    assert SPACES["seeds"].options["epochs"] == (5, 10, 15)
    assert SPACES["seeds"].options["backbone"] == ("resnet18", "resnet34", "resnet50")
    assert len(list(SPACES["grid"].combinations())) == 9
    assert {"epochs": 15, "backbone": "resnet50"} in list(SPACES["grid"].combinations())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"learning_rat": {"low": 0.1, "high": 1.0}}, "did you mean learning_rate"),
        ({"learning_rate": {"low": 1.0, "high": 0.1}}, "low must be below high"),
        ({"epochs": {"low": 1.5, "high": 3, "integer": True}}, "whole numbers"),
        ({"image_size": [32, 64]}, "image_size cannot be tuned"),
        ({"backbone": []}, "has nothing to search"),
        ("lots", "is not valid"),
    ],
)
def test_spaces_that_do_not_fit_are_refused(tmp_path, content, why):
    with pytest.raises(DataError, match=why):
        load_space(str(space_file(tmp_path, content)))


def test_an_end_of_a_range_that_fit_refuses_is_refused_before_training():
    space = Space("mine", {"epochs": Range(low=0, high=3, integer=True)})
    with pytest.raises(DataError, match="epochs of the space mine is not valid"):
        space.check(FitConfig(manifest=Path("m.csv"), out=Path("r")))
    with pytest.raises(DataError, match="did you mean seeds"):
        load_space("seed")


def test_the_best_is_complete_and_its_config_is_what_fit_reads(tmp_path):
    trials = [
        Trial(0, "complete", 0.7, 3, 1.0, {"learning_rate": 0.1}),
        Trial(1, "pruned", 0.9, 1, 1.0, {"learning_rate": 0.2}),
        Trial(2, "complete", 0.8, 3, 1.0, {"learning_rate": 0.05}),
        Trial(3, "complete", 0.8, 3, 1.0, {"learning_rate": 0.06}),
        Trial(4, "failed", None, None, None, {}, "out of memory"),
    ]
    best = best_trial(trials)
    assert best is trials[2]
    config = FitConfig(manifest=Path("m.csv"), out=Path("r"), image_size=64, targets=("a",))
    file = tmp_path / "best.yaml"
    file.write_text(best_config(config, best), encoding="utf-8")
    read = load_config(file, {"out": Path("other")})
    assert (read.learning_rate, read.image_size, read.targets) == (0.05, 64, ("a",))
    assert read.manifest == Path("m.csv")
    assert best_trial(trials[1:2]) is None


@pytest.mark.slow
def test_a_search_writes_a_table_a_plot_and_options_and_resumes(catalogue, tmp_path):
    manifest, out = catalogue(18), tmp_path / "study"
    ranges = {"learning_rate": {"low": 0.001, "high": 0.2, "log": True},
              "batch_size": {"low": 8, "high": 32, "integer": True}}  # fmt: skip
    space = space_file(tmp_path, ranges)
    first = tune(manifest, out, "--space", str(space), "--trials", "2")
    assert first.exit_code == 0, first.output
    summary = json.loads(first.output.splitlines()[-1])
    assert summary["trials"] == 2
    rows = trials_of(out)
    assert [row["state"] for row in rows] == ["complete", "complete"]
    assert float(rows[0]["learning_rate"]) == 0.1  # fit's default options come first
    assert rows[0]["batch_size"] == "32"
    assert (out / "trials.png").read_bytes()[1:4] == b"PNG"
    threads = {thread.name for thread in threading.enumerate()}
    assert not any("optuna" in name.lower() for name in threads)
    assert str(out / "study.db") not in open_files()
    on = tune(manifest, out, "--space", str(space), "--trials", "3")
    assert on.exit_code == 0, on.output
    assert trials_of(out)[:2] == rows
    assert len(trials_of(out)) == 3
    assert "is there already" not in on.output
    best = max(trials_of(out), key=lambda row: float(row["validation_accuracy"]))
    read = load_config(out / "best.yaml", {"out": tmp_path / "run"})
    assert read.learning_rate == float(best["learning_rate"])
    assert read.manifest == manifest
    assert not (out / "trials").exists()
    other = tune(manifest, out, "--space", "grid")
    assert other.exit_code == 2
    assert "contains another study" in other.output


@pytest.mark.slow
def test_a_poor_trial_is_pruned(catalogue, tmp_path, monkeypatch):
    from training.tuning import study

    monkeypatch.setattr(study, "STARTUP_TRIALS", 1)
    monkeypatch.setattr(study, "WARMUP_EPOCHS", 0)
    manifest, out = catalogue(18), tmp_path / "study"
    # Fit's own learning rate first, then ones with which nothing is learnt.
    space = space_file(tmp_path, {"learning_rate": [0.02, 1e-9]})
    monkeypatch.setattr(study.Space, "is_grid", False)
    done = tune(manifest, out, "--space", str(space), "--trials", "4", "--set", "epochs=6",
                "--set", "learning_rate=0.02", "--set", "batch_size=16")  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = trials_of(out)
    low = [row for row in rows if float(row["learning_rate"]) < 1e-3]
    assert low, rows
    assert all(row["state"] == "pruned" for row in low), rows


@pytest.mark.slow
def test_a_trial_that_diverges_fails_alone_and_decoded_images_are_shared(catalogue, tmp_path):
    manifest, out, cache = catalogue(18), tmp_path / "study", tmp_path / "cache"
    space = space_file(tmp_path, {"learning_rate": [1e18, 0.02]})
    done = tune(manifest, out, "--space", str(space), "--set", f"cache={cache}")
    assert done.exit_code == 0, done.output
    assert {row["learning_rate"]: row["state"] for row in trials_of(out)} == {
        "1e+18": "failed", "0.02": "complete"
    }  # fmt: skip
    assert "training has diverged" in done.output
    assert len(list(cache.glob("32px-*"))) == 1
    assert not (out / "cache").exists()


@pytest.mark.slow
def test_a_killed_grid_resumes_with_the_interrupted_trial(catalogue, tmp_path):
    manifest, out = catalogue(18), tmp_path / "study"
    space = space_file(tmp_path, {"epochs": [2, 6], "momentum": [0.9]})
    command = [sys.executable, "-m", held_training.MODULE, "tune", "--manifest", str(manifest),
               "--out", str(out), *OPTIONS, "--space", str(space)]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=held_training.environment(tmp_path / "held", "Epoch   3/6"),
        start_new_session=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    seen = []
    for line in process.stdout or ():
        seen.append(line)
        if line.startswith("Epoch   3/6"):
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait()
    assert seen[-1].startswith("Epoch   3/6"), seen
    done = tune(manifest, out, "--space", str(space))
    assert done.exit_code == 0, done.output
    assert "Resuming after epoch" in done.output
    rows = trials_of(out)
    assert sorted(row["epochs"] for row in rows) == ["2", "6"]
    assert all(row["state"] == "complete" for row in rows)
    assert {row["epochs_done"] for row in rows} == {"2", "6"}
    stored = optuna.load_study(study_name="augrank", storage=f"sqlite:///{out / 'study.db'}")
    assert not [t for t in stored.trials if t.state == optuna.trial.TrialState.RUNNING]


@pytest.mark.slow
def test_ctrl_c_in_a_grid_loses_no_cell_and_repeats_none(catalogue, tmp_path, monkeypatch):
    from training.tuning import study

    manifest, out = catalogue(18), tmp_path / "study"
    space = space_file(tmp_path, {"momentum": [0.5, 0.9], "epochs": [1, 2]})
    train_backbone, tried = study.train_backbone, []

    def interrupted(data, *arguments, **named):
        tried.append((data.config.momentum, data.config.epochs))
        if len(tried) == 2:
            raise KeyboardInterrupt
        return train_backbone(data, *arguments, **named)

    monkeypatch.setattr(study, "train_backbone", interrupted)
    first = tune(manifest, out, "--space", str(space))
    assert first.exit_code == 130
    again = tune(manifest, out, "--space", str(space))
    assert again.exit_code == 0, again.output
    assert len(tried) == 5
    assert tried.count(tried[1]) == 2  # the cell at which it was interrupted, and no other
    rows = trials_of(out)
    assert len(rows) == 4
    assert {(row["momentum"], row["epochs"]) for row in rows} == {
        ("0.5", "1"), ("0.5", "2"), ("0.9", "1"), ("0.9", "2")}  # fmt: skip


def test_a_missing_manifest_leaves_no_folder(tmp_path):
    missing = tune(tmp_path / "none.csv", tmp_path / "s")
    assert missing.exit_code == 2
    assert f"there is no manifest {tmp_path / 'none.csv'}" in missing.output
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_reported_before_anything_is_read(tmp_path):
    wrong = tune(tmp_path / "m.csv", tmp_path / "s", "--set", "epoch=3")
    assert wrong.exit_code == 2
    assert "did you mean epochs" in wrong.output
    missing = CliRunner().invoke(app, ["tune", "--out", str(tmp_path / "s"), "--engine",
                                       "sagemaker"])  # fmt: skip
    assert missing.exit_code == 2
    assert "--role" in missing.output
