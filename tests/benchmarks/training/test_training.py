"""The training benchmark: what it measures at tiny scale, and how it is told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from augrank.errors import ServerError
from augrank.files import read_json
from benchmarks.cli.app import app
from benchmarks.training import document, measure, report, runs, targets
from benchmarks.training.resume import Parts
from benchmarks.training.runs import SeenJob, SeenRuns, SeenScaling
from simulation.render import render_catalogue

RATIOS = {"real_over_synthetic", "loader_cold_over_imagefolder", "loader_warm_over_imagefolder",
          "run_over_naive", "two_processes_over_one", "embed_over_eager"}  # fmt: skip


def test_mistakes_are_messages(tmp_path):
    def ask(*words: str):
        return CliRunner().invoke(app, ["training", "--out", str(tmp_path), *words])

    assert "did you mean resnet18" in ask("--backbones", "resnet81").output
    for sizes in ("small", "7", "96,"):
        assert "--sizes does not fit" in ask("--sizes", sizes).output


def test_the_plain_script_and_ours_stand_on_the_same_side_of_the_ratio():
    effort = replace(measure.QUICK, rounds=2)
    seen = measure.Seen("resnet18", 96, [100.0, 100.0], [95.0, 97.0], [80.0, 81.0],
                        [0.01, 0.02], [300.0, 310.0], [100.0, 100.0], 512.0)  # fmt: skip
    inputs = measure.SeenInput(96, [600.0, 620.0], [200.0, 210.0], [100.0, 100.0])
    runs = SeenRuns([10.0], [25.0], [0.99], [0.98])
    scaling = SeenScaling("core", {1: [50.0, 50.0], 2: [90.0, 95.0]}, [70.0, 75.0])
    compiled = measure.SeenCompiled("resnet18", 96, 55.0, [90.0, 92.0], [100.0, 100.0])
    engine = measure.start(1)
    measured = report.Measured(engine, 1, effort, [seen], [inputs], runs, scaling, compiled)
    content = report.result_json(measured, "command")
    assert set(content["ratios"]) == RATIOS == {name for name, *_ in targets.RATIOS}
    assert content["ratios"]["run_over_naive"]["median"] == 2.5  # ours took 10 s of its 25
    assert content["ratios"]["real_over_synthetic"]["median"] == pytest.approx(0.96)
    assert content["ratios"]["two_processes_over_one"]["median"] == pytest.approx(1.85)
    assert content["backbones"][0]["waiting"] == 0.015
    assert content["compiled"]["compiled_over_eager"]["median"] == pytest.approx(0.91)
    assert report.shown(content).row_count == 1
    assert report.ratios_table(content).row_count == len(RATIOS) + 2
    assert content["accuracy_minus_naive"]["median"] == pytest.approx(0.01)
    assert content["scaling"]["rates"][1]["over_one"]["median"] == pytest.approx(1.85)
    told = "\n".join(document.training_section(content))
    assert "H100" not in told
    assert (
        "| two processes that share one batch ÷ one | 1.450 (1.400 to 1.500) | 1.7 | 1.9 | " in told
    )
    assert "missed by 18%. Half a batch keeps a core less busy" in told


def test_a_gpu_is_held_against_bars_of_its_own():
    """Its rows; no GPU is needed to tell them."""
    measured = report.Measured(
        measure.start(1), 1, measure.FULL,
        [measure.Seen("resnet50", 224, [3000.0], [2900.0], [2500.0], [0.01], [9.0], [3.0], 9.0)],
        [measure.SeenInput(224, [6.0], [2.0], [1.0])], SeenRuns([1.0], [2.0], [0.5], [0.5]),
        SeenScaling("GPU", {1: [1.0], 2: [1.8]}, [1.5]), job=SeenJob(32_370, 120.0, 95.0, 0.99),
    )  # fmt: skip
    content = report.result_json(measured, "command") | {"gpu": "NVIDIA H100 80GB HBM3"}
    told = "\n".join(document.training_section(content))
    assert "| 3000.000 | 2800 | 4000 | met |" in told
    assert "| 95.000 | ≤ 90 | ≤ 50 | missed by 6%. |" in told
    assert "32,370 images x 10 epochs, start to finish: 95 s; 120 s" in told


def failing(*_):
    raise ServerError("no port was free")


def test_parts_of_another_question_are_measured_again(tmp_path):
    notes, seen = [], [SeenScaling("core", {1: [2.0], 2: [3.0]}, [1.5]), SeenScaling("GPU")]

    def asked(question):
        parts = Parts(tmp_path / "parts.json", question, notes.append)
        return parts, parts.part("processes", SeenScaling, lambda: seen[len(notes) > 1])

    assert asked({"rounds": 2})[1] == seen[0]
    assert asked({"rounds": 2})[1] == seen[0]
    assert notes == ["processes: was measured before the interrupt"]
    notes.append("")
    parts, again = asked({"rounds": 3})
    assert again == seen[1]
    parts.finish()
    assert not (tmp_path / "parts.json").exists()
    question = report.question(measure.QUICK, measure.start(1), 1)
    assert json.loads(json.dumps(question)) == question


@pytest.mark.slow
def test_a_tiny_run_measures_every_part_and_ends_in_one_line(tmp_path, monkeypatch):
    tiny = replace(measure.QUICK, rounds=2, sizes=(32,), images=24, turn_s=0.1)
    monkeypatch.setattr(measure, "QUICK", tiny)
    # Whole runs take minutes.
    monkeypatch.setattr(runs, "measure_runs", lambda *_: SeenRuns([1.0], [2.0], [0.5], [0.5]))
    scaling = SeenScaling("core", {1: [1.0], 2: [1.8]}, [1.5])
    monkeypatch.setattr(runs, "measure_scaling", failing)
    out = tmp_path / "bench"
    command = ["training", "--quick", "--out", str(out)]
    assert "no port was free" in CliRunner().invoke(app, command).output
    kept = read_json(out / "work" / "measured.json")["parts"]
    monkeypatch.setattr(runs, "measure_scaling", lambda *_: scaling)
    monkeypatch.setattr(runs, "measure_runs", failing)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "whole runs: was measured before the interrupt" in done.stderr
    assert not (out / "work" / "measured.json").exists()
    content = json.loads(done.stdout.splitlines()[-1])
    assert content == json.loads((out / "results.json").read_text())
    (backbone,) = content["backbones"]
    assert backbone["peak_mb"] == round(kept["resnet18, 32 px"]["peak_mb"]) > 100
    for name in ("synthetic", "real", "cold", "embed", "eager"):
        assert backbone[name]["median"] > 0
    (inputs,) = content["inputs"]
    assert inputs["warm"]["median"] > inputs["cold"]["median"] > 0
    for name in ("training", "input", "scaling"):
        assert (out / "plots" / f"{name}.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.slow
def test_whole_runs_and_processes_are_really_run(tmp_path):
    render_catalogue("sneaker", 24, tmp_path / "images")
    images, notes = tmp_path / "images" / "images", []
    tiny = replace(measure.QUICK, sizes=(32,), epochs=1, runs=1)
    seen = runs.measure_runs(images, tmp_path, tiny, notes.append)
    assert seen.ours_s[0] > 1
    assert seen.naive_s[0] > 1
    for accuracy in (*seen.ours_accuracy, *seen.naive_accuracy):
        assert 0 < accuracy <= 1
    report, seconds = runs._fit(
        images, tmp_path / "run", epochs=1, size=32, processes=2, batch=16, device="cpu"
    )
    assert seconds > 1
    assert report["history"][0]["samples_per_s"] > 0
    assert notes == ["whole runs of 1 epochs: 1 of 1"]


@pytest.mark.slow
def test_the_seeds_job_is_cold_then_warm(tmp_path, monkeypatch):
    for name, value in (("ORIGINALS", 20), ("EPOCHS", 1), ("SIZE", 64), ("BACKBONE", "resnet18")):
        monkeypatch.setattr(runs, f"JOB_{name}", value)
    seen = runs.measure_job(tmp_path, lambda _text: None)
    assert seen.images == 6 * 13  # 20 originals, of which 4 test and 3 choose
    assert min(seen.cold_s, seen.warm_s) > 1
    assert len(list((tmp_path / "job-cache").glob("64px-*"))) == 1


def test_processes_get_cores_of_their_own(monkeypatch):
    siblings = {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}
    monkeypatch.setattr(Path, "read_text", lambda file, **_: siblings[int(file.parts[5][3:])])
    assert sorted(siblings, key=runs._place_in_its_core) == [0, 1, 2, 3]
    siblings.update({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"})
    assert sorted(siblings, key=runs._place_in_its_core) == [0, 2, 1, 3]
