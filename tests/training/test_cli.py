import subprocess
import sys

import pytest
from typer.testing import CliRunner

from training.cli import app, kind_errors

runner = CliRunner()


@pytest.mark.parametrize("command", ["fit", "simulate", "render"])
def test_help_teaches(command):
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
        (["fit", "--config", "none.yaml"], "cannot be read"),
        (["simulate", "--manifest", "none.csv", "--out", "h.csv"], "there is no manifest"),
        (["render", "--kind", "car", "--count", "99999", "--out", "x"], "60000"),
    ],
)
def test_mistakes_are_short_messages_and_exit_code_2(arguments, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert why in result.output
    assert "Traceback" not in result.output


def test_unknown_augmentation_sets_are_refused(catalogue, tmp_path):
    manifest, out = str(catalogue(4)), str(tmp_path / "r")
    result = runner.invoke(
        app, ["fit", "--manifest", manifest, "--out", out, "--augmentations", "sead"]
    )
    assert result.exit_code == 2
    assert "did you mean seed" in result.output


def test_an_interrupt_says_how_to_go_on(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "fit", "--overwrite", "--out", "a run"])
    for size, start in (("1", "python"), ("2", "torchrun ...")):
        monkeypatch.setenv("WORLD_SIZE", size)
        with pytest.raises(BaseException) as caught, kind_errors(resumable=True):  # noqa: PT011
            raise KeyboardInterrupt
        assert caught.value.exit_code == 130
        wanted = f"go on with: {start} -m training fit --out 'a run'\n"
        assert wanted in capsys.readouterr().err


@pytest.mark.slow
def test_the_module_runs(tmp_path):
    command = [sys.executable, "-m", "training", "fit", "--manifest", "no.csv", "--out", "r"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: there is no manifest no.csv")
    assert done.stdout == ""
