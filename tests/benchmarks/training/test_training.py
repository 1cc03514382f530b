"""The training benchmark at tiny scale, and its document."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from augrank.errors import ServerError
from augrank.files import read_json
from benchmarks.cli import tables
from benchmarks.cli.app import app
from benchmarks.common.resume import PartialResults
from benchmarks.training import (
    benchmark,
    document,
    inputs,
    measurements,
    neighbours,
    report,
    runs,
    targets,
)
from benchmarks.training.measurements import (
    BackboneMeasurement,
    CompileMeasurement,
    LoaderMeasurement,
    TrainingBench,
    choose_device,
)
from benchmarks.training.neighbours import NeighbourMeasurement
from benchmarks.training.report import TrainingMeasurements
from benchmarks.training.runs import FitRun, JobMeasurement, RunMeasurement, ScalingMeasurement
from simulation.render import render_catalogue
from tests.support.messages import Messages
from training.data.image_cache import sources

RATIOS = {
    "real_over_synthetic",
    "loader_cold_over_imagefolder",
    "loader_warm_over_imagefolder",
    "run_over_naive",
    "two_processes_over_one",
    "embed_over_eager",
    "beside_busy_core_over_alone",
    "two_side_by_side_over_alone",
}


def test_mistakes_are_messages(tmp_path):
    def ask(*words: str):
        return CliRunner().invoke(app, ["training", "--out", str(tmp_path), *words])

    assert "did you mean resnet18" in ask("--backbones", "resnet81").output
    for sizes in ("small", "7", "96,"):
        assert "--sizes does not fit" in ask("--sizes", sizes).output


def test_every_ratio_has_the_faster_side_above():
    config = replace(measurements.QUICK, rounds=2)
    seen = BackboneMeasurement(
        "resnet18",
        96,
        [100.0, 100.0],
        [95.0, 97.0],
        [80.0, 81.0],
        [0.01, 0.02],
        [300.0, 310.0],
        [200.0, 210.0],
        [100.0, 100.0],
        512.0,
    )
    inputs = LoaderMeasurement(96, [600.0, 620.0], [200.0, 210.0], [100.0, 100.0])
    runs = RunMeasurement([10.0], [25.0], [0.99], [0.98])
    scaling = ScalingMeasurement("core", {1: [50.0, 50.0], 2: [90.0, 95.0]}, [70.0, 75.0])
    compiled = CompileMeasurement("resnet18", 96, 55.0, [90.0, 92.0], [100.0, 100.0])
    device = choose_device(1)
    beside = NeighbourMeasurement([100.0, 100.0], [50.0, 54.0], [96.0, 98.0])
    measured = TrainingMeasurements(
        device, 1, config, [seen], [inputs], runs, scaling, beside, compiled
    )
    content = report.result_json(measured, "command")
    assert set(content["ratios"]) == RATIOS == {target.name for target in targets.RATIOS}
    assert content["ratios"]["run_over_naive"]["median"] == 2.5  # ours took 10 s, the script 25
    assert content["ratios"]["real_over_synthetic"]["median"] == pytest.approx(0.96)
    assert content["ratios"]["two_processes_over_one"]["median"] == pytest.approx(1.85)
    assert content["ratios"]["beside_busy_core_over_alone"]["median"] == pytest.approx(0.52)
    assert content["ratios"]["two_side_by_side_over_alone"]["median"] == pytest.approx(0.97)
    assert content["backbones"][0]["waiting"] == 0.015
    assert content["compiled"]["compiled_over_eager"]["median"] == pytest.approx(0.91)
    assert len(tables.training_table(content).rows) == 1
    assert len(tables.training_ratios_table(content).rows) == len(RATIOS) + 2
    assert content["accuracy_minus_naive"]["median"] == pytest.approx(0.01)
    assert content["scaling"]["rates"][1]["over_one"]["median"] == pytest.approx(1.85)
    text = document.training_section(content)
    assert "H100" not in text
    assert (
        "| two processes that share one batch ÷ one | 1.450 (1.400 to 1.500) | 1.7 | 1.9 | " in text
    )
    assert "missed by 14.7%. Half a batch keeps a core less busy" in text


def test_a_gpu_has_targets_of_its_own():
    """The rows of the GPU's section can be checked without a GPU."""
    measured = TrainingMeasurements(
        choose_device(1),
        1,
        measurements.FULL,
        [
            BackboneMeasurement(
                "resnet50", 224, [3000.0], [2900.0], [2500.0], [0.01], [9.0], [6.0], [3.0], 9.0
            )
        ],
        [LoaderMeasurement(224, [6.0], [2.0], [1.0])],
        RunMeasurement([1.0], [2.0], [0.5], [0.5]),
        ScalingMeasurement("GPU", {1: [1.0], 2: [1.8]}, [1.5]),
        job=JobMeasurement(32_370, 120.0, 95.0, 0.99),
    )
    content = report.result_json(measured, "command") | {"gpu": "NVIDIA H100 80GB HBM3"}
    text = document.training_section(content)
    assert "| 3000.000 | 2800 | 4000 | met |" in text
    assert "| 95.000 | ≤ 90 | ≤ 50 | missed by 5.6%. |" in text
    assert "32,370 images x 10 epochs, start to finish: 95 s; 120 s" in text


def failing(*_):
    raise ServerError("no port was free")


def test_parts_measured_under_other_conditions_are_measured_again(tmp_path):
    messages = Messages()
    scaling = ScalingMeasurement("core", {1: [2.0], 2: [3.0]}, [1.5])
    other = ScalingMeasurement("GPU")

    def resume(conditions, measured):
        parts = PartialResults(tmp_path / "parts.json", conditions, messages)
        return parts, parts.get_or_measure("processes", ScalingMeasurement, lambda: measured)

    assert resume({"rounds": 2}, scaling)[1] == scaling
    assert resume({"rounds": 2}, other)[1] == scaling
    assert messages.texts == ["processes: already measured before the interrupt"]
    parts, again = resume({"rounds": 3}, other)
    assert again == other
    parts.delete()
    assert not (tmp_path / "parts.json").exists()
    conditions = report.conditions(measurements.QUICK, choose_device(1), 1)
    assert json.loads(json.dumps(conditions)) == conditions


def count_decoded(monkeypatch) -> dict[str, list[int]]:
    """Count the files that are decoded for each rate of the input path."""
    decode, decoded, counts = sources.decode, [], {}

    def noted(data: bytes, size: int):
        decoded.append(size)
        return decode(data, size)

    def counted(name, measure, *given) -> float:
        before = len(decoded)
        rate = measure(*given)
        counts.setdefault(name, []).append(len(decoded) - before)
        return rate

    monkeypatch.setattr(sources, "decode", noted)
    for name in ("warm_rate", "cold_rate"):
        monkeypatch.setattr(inputs, name, partial(counted, name, getattr(inputs, name)))
    return counts


@pytest.mark.slow
def test_a_tiny_run_measures_every_part_and_ends_in_one_line(tmp_path, monkeypatch):
    tiny = replace(measurements.QUICK, rounds=2, sizes=(32,), images=24, turn_s=0.1)
    monkeypatch.setattr(measurements, "QUICK", tiny)
    decoded = count_decoded(monkeypatch)
    # Whole runs take minutes.
    monkeypatch.setattr(
        benchmark, "measure_runs", lambda *_: RunMeasurement([1.0], [2.0], [0.5], [0.5])
    )
    scaling = ScalingMeasurement("core", {1: [1.0], 2: [1.8]}, [1.5])
    beside = NeighbourMeasurement([2.0], [1.0], [2.0])
    monkeypatch.setattr(benchmark, "measure_neighbours", lambda *_: beside)
    monkeypatch.setattr(benchmark, "measure_scaling", failing)
    out = tmp_path / "bench"
    command = ["training", "--quick", "--out", str(out)]
    assert "no port was free" in CliRunner().invoke(app, command).output
    kept = read_json(out / "work" / "measured.json")["parts"]
    monkeypatch.setattr(benchmark, "measure_scaling", lambda *_: scaling)
    monkeypatch.setattr(benchmark, "measure_runs", failing)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "whole runs: already measured before the interrupt" in done.stderr
    assert not (out / "work" / "measured.json").exists()
    content = json.loads(done.stdout.splitlines()[-1])
    assert content == json.loads((out / "results.json").read_text())
    (backbone,) = content["backbones"]
    assert backbone["peak_mb"] == round(kept["resnet18, 32 px"]["peak_mb"]) > 100
    for name in ("synthetic", "real", "cold", "embed", "embed_fp32", "eager"):
        assert backbone[name]["median"] > 0
    (rates,) = content["inputs"]
    assert min(rates["warm"]["median"], rates["cold"]["median"]) > 0
    assert decoded == {"warm_rate": [0, 0, 0], "cold_rate": [15, 15]}  # of 24: those of training
    for name in ("training", "input", "scaling"):
        assert (out / "plots" / f"{name}.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.slow
def test_training_beside_other_processes(tmp_path, monkeypatch):
    for name, value in (("ORIGINALS", 12), ("EPOCHS", 2), ("WARM_UP_EPOCHS", 1)):
        monkeypatch.setattr(neighbours, name, value)
    out, document = tmp_path / "out", tmp_path / "performance.md"
    command = ["neighbours", "--size", "32", "--rounds", "1", "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout.splitlines()[-1])
    rates = {name: each for name, (each,) in content["rates"].items()}
    assert min(rates.values()) > 0
    for name, ratio in (("beside_busy_core", "busy"), ("two_side_by_side", "both")):
        measured = content["ratios"][f"{name}_over_alone"]["median"]
        assert measured == pytest.approx(rates[ratio] / rates["alone"], abs=1e-4)
    done = CliRunner().invoke(app, ["document", str(out / "results.json"), "--out", str(document)])
    assert done.exit_code == 0, done.output
    text = document.read_text(encoding="utf-8")
    assert "## Training beside other processes: resnet18" in text
    assert "| training beside one busy core ÷ alone |" in text


@pytest.mark.slow
def test_whole_runs_and_several_processes(tmp_path):
    render_catalogue("sneaker", 24, tmp_path / "images")
    images, messages = tmp_path / "images" / "images", Messages()
    tiny = replace(measurements.QUICK, sizes=(32,), epochs=1, runs=1)
    bench = TrainingBench(tiny, choose_device(1), images, tmp_path, messages)
    measured = runs.measure_runs(bench)
    assert measured.ours_s[0] > 1
    assert measured.naive_s[0] > 1
    for accuracy in (*measured.ours_accuracy, *measured.naive_accuracy):
        assert 0 < accuracy <= 1
    fit = FitRun(images, tmp_path / "run", 1, 32, processes=2, batch=16, device="cpu")
    report, seconds = fit.run()
    assert seconds > 1
    assert report["history"][0]["samples_per_s"] > 0
    assert messages.texts == ["whole runs of 1 epochs: 1 of 1"]


@pytest.mark.slow
def test_the_first_experiments_job_is_cold_then_warm(tmp_path, monkeypatch):
    for name, value in (("ORIGINALS", 20), ("EPOCHS", 1), ("SIZE", 64), ("BACKBONE", "resnet18")):
        monkeypatch.setattr(runs, f"JOB_{name}", value)
    device = choose_device(1)
    seen = runs.measure_job(
        TrainingBench(measurements.QUICK, device, tmp_path, tmp_path, Messages())
    )
    assert seen.images == 6 * 13  # 20 originals, of which 4 are for test, 3 for validation
    assert min(seen.cold_s, seen.warm_s) > 1
    assert len(list((tmp_path / "job-cache").glob("64px-*"))) == 1


def test_processes_get_cores_of_their_own(monkeypatch):
    siblings = {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}
    monkeypatch.setattr(Path, "read_text", lambda file, **_: siblings[int(file.parts[5][3:])])
    assert sorted(siblings, key=runs._hardware_thread) == [0, 1, 2, 3]
    siblings.update({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"})
    assert sorted(siblings, key=runs._hardware_thread) == [0, 2, 1, 3]
