import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from simulation import render
from tests.support.full_disk import full_disk
from training.cli import fit
from training.cli.app import app
from training.cli.command import command_reporter
from training.config import FitConfig, flag_of, load_config

runner = CliRunner()


@pytest.mark.parametrize("command", ["fit", "simulate", "render"])
def test_help_of_training_teaches(command):
    result = runner.invoke(app, [command, "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert "--out" in result.output


def test_simulate_writes_a_history_and_says_what_is_next(catalogue):
    manifest = catalogue(4)
    out = manifest.parent / "h.csv"
    result = runner.invoke(app, ["simulate", "--manifest", str(manifest), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "24 rows of 4 originals" in result.output
    assert "best possible accuracy is 0.800" in result.output
    assert f"python -m training fit --manifest {out}" in result.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["fit", "--manifest", "none.csv", "--out", "r"], "there is no manifest none.csv"),
        (["fit", "--out", "r"], "expected manifest"),
        (["fit", "--manifest", "m.csv"], "Give it with --out"),
        (["fit", "--manifest", "m.csv", "--out", "r", "--epochs", "0"], "--epochs does not fit"),
        (
            ["fit", "--manifest", "m.csv", "--out", "r", "--task", "recomend"],
            "--task is not valid: expected one of classify, recommend (did you mean recommend?)",
        ),
        (["fit", "--config", "none.yaml"], "cannot be read"),
        (
            ["fit", "--manifest", "m.csv", "--out", "r", "--name", "my shop"],
            "--name does not fit: expected letters, digits, - and _, at most 64, got 'my shop'",
        ),
        (["fit", "--out", "r", "--column", "photo"], "expected NAME=VALUE"),
        (["fit", "--out", "r", "--direction", "refunds"], "expected NAME=VALUE"),
        (["fit", "--out", "r", "--context-type", "price"], "expected NAME=VALUE"),
        (["simulate", "--manifest", "none.csv", "--out", "h.csv"], "there is no manifest"),
        (["render", "--kind", "car", "--count", "99999", "--out", "x"], "60000"),
    ],
)
@pytest.mark.parametrize("local_rank", [None, "1"])  # which somebody's shell may have set
def test_mistakes_are_short_messages_and_exit_code_2(
    arguments, why, local_rank, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert why in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir()), "a refused command leaves nothing behind"


def test_unknown_augmentation_sets_are_refused(catalogue, tmp_path):
    manifest, out = str(catalogue(4)), str(tmp_path / "r")
    result = runner.invoke(
        app, ["fit", "--manifest", manifest, "--out", out, "--augmentations", "sead"]
    )
    assert result.exit_code == 2
    assert "did you mean seed" in result.output
    assert not (tmp_path / "r").exists()


def test_a_refused_option_leaves_no_run_directory(catalogue, tmp_path):
    manifest, out = catalogue(4), tmp_path / "r"
    words = ["fit", "--manifest", str(manifest), "--out", str(out), "--weights", "none.pt"]
    result = runner.invoke(app, words)
    assert result.exit_code == 2, result.output
    assert "none.pt" in result.output
    assert not out.exists()


def test_an_interrupt_says_how_to_resume(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "fit", "--overwrite", "--out", "a run"])
    for size, start in (("1", "python"), ("2", "torchrun ...")):
        monkeypatch.setenv("WORLD_SIZE", size)
        with pytest.raises(BaseException) as caught, command_reporter(resumable=True):  # noqa: PT011
            raise KeyboardInterrupt
        assert caught.value.exit_code == 130
        wanted = f"Resume with: {start} -m training fit --out 'a run'\n"
        assert wanted in capsys.readouterr().err


def test_an_interrupt_of_render_says_that_the_same_command_resumes(tmp_path, monkeypatch):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    words = ["render", "--kind", "car", "--count", "3", "--out", str(tmp_path / "new")]
    monkeypatch.setattr(sys, "argv", ["x", *words])
    monkeypatch.setattr(render, "render_catalogue", interrupted)
    result = runner.invoke(app, words)
    assert result.exit_code == 130
    assert f"Resume with: python -m training render --kind car --count 3 --out {tmp_path}" in (
        result.output
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_history_that_does_not_fit_the_disk_is_reported(catalogue, tmp_path, suffix):
    manifest, out = catalogue(4), tmp_path / "new" / f"h.{suffix}"
    words = ["simulate", "--manifest", str(manifest), "--sends", "50", "--out", str(out)]
    with full_disk(3000):
        result = runner.invoke(app, words)
    assert result.exit_code == 2
    assert "new cannot be written: expected a folder that can be written" in result.output
    assert list(out.parent.iterdir()) == []
    assert runner.invoke(app, words).exit_code == 0


@pytest.mark.parametrize("command", ["fit", "simulate", "render"])
def test_commands_report_a_folder_that_cannot_be_made(catalogue, command):
    manifest = str(catalogue(4))
    words = {
        "fit": ["--manifest", manifest, "--out", "/proc/x"],
        "simulate": ["--manifest", manifest, "--out", "/proc/x/h.csv"],
        "render": ["--kind", "car", "--count", "3", "--out", "/proc/x"],
    }[command]
    result = runner.invoke(app, [command, *words])
    assert result.exit_code == 2
    assert "/proc/x cannot be written" in result.output


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--weights", "nope.pt"], "there are no weights"),
        (["--device", "cuda"], "CUDA is not available"),
        (["--precision", "fp16"], "needs a GPU"),
        (["--sync-bn"], "needs GPUs"),
        (["--compile", "--accumulate", "3"], "needs micro-batches of one size"),
        (
            ["--progressive", "64", "--image-size", "32"],
            "--progressive must not exceed --image-size",
        ),
    ],
)
def test_mistaken_options_are_reported_before_images_are_decoded_or_a_run_is_overwritten(
    catalogue, tmp_path, monkeypatch, tiny_run, words, why
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = tmp_path / "run"
    shutil.copytree(tiny_run.run, run)
    (run / "fit.json").write_text('{"config": {}, "data": ""}')
    before = {path.name for path in run.iterdir()}
    common = ["fit", "--manifest", str(catalogue(4)), "--out"]
    for out in (run, tmp_path / "new"):
        result = runner.invoke(app, [*common, str(out), "--overwrite", *words])
        assert result.exit_code == 2, result.output
        assert why in result.output
    assert {path.name for path in run.iterdir()} - {"lock"} == before
    assert not (tmp_path / "new" / "cache").exists()
    assert not (tmp_path / "new" / "fit.json").exists()


def test_what_help_options_and_finished_runs_need_is_loaded_without_torch():
    """It takes seconds to load."""
    code = (
        "import sys, training.cli.app, training.tasks.run\n"
        "import training.data.recommend_dataset, training.data.classify_dataset\n"
        "print([name for name in ('torch', 'torchvision', 'xgboost') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_module_runs(tmp_path):
    command = [
        sys.executable,
        "-m",
        "training",
        "fit",
        "--manifest",
        "no.csv",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: there is no manifest no.csv")
    assert done.stdout == ""


def test_the_command_line_has_every_option_with_its_default_and_help():
    text = runner.invoke(app, ["fit", "--help"], env={"COLUMNS": "400"}).output
    for name, field in FitConfig.model_fields.items():
        line = next(line for line in text.splitlines() if f" {flag_of(name)} " in line)
        assert field.description in line
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            assert f"[default: {field.default}]" in line
    assert text.index("─ Data ") < text.index("─ Run ") < text.index("─ Backbone ")


def given(monkeypatch, *words: str) -> dict:
    """Return the options that ``run_fit`` is called with."""
    seen: list[dict] = []
    monkeypatch.setattr(fit, "run_fit", lambda config, options, *_, **__: seen.append(options))
    result = runner.invoke(app, ["fit", *words])
    assert result.exit_code == 0, result.output
    return seen[0]


def test_only_options_that_are_given_override_a_file(monkeypatch):
    assert given(monkeypatch) == {}
    assert given(monkeypatch, "--epochs", "10") == {"epochs": 10}  # the default, but given
    words = ["--column", "relative_im_path=photo", "--column", "year=y", "--targets", "a, b",
             "--context", "", "--no-flip", "--compile", "--no-baselines", "--freeze",
             "--images", "i", "--learning-rate", "0.5", "--direction", "a=minimize"]  # fmt: skip
    options = given(monkeypatch, *words)
    assert options == {
        "columns": {"relative_im_path": "photo", "year": "y"},
        "targets": ("a", "b"),
        "context": (),
        "flip": False,
        "compile": True,
        "baselines": False,
        "freeze": True,
        "images": Path("i"),
        "learning_rate": 0.5,
        "directions": {"a": "minimize"},
    }
    load_config(None, {**options, "out": Path("r"), "weights": "imagenet"})


def test_flags_override_the_file(tmp_path, monkeypatch):
    file = tmp_path / "fit.yaml"
    file.write_text("images: i\nout: r\nepochs: 3\nbaselines: false\nflip: false\n")
    config = load_config(file, given(monkeypatch, "--epochs", "5", "--flip"))
    assert (config.epochs, config.baselines, config.flip) == (5, False, True)
