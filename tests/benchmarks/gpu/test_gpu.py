"""``python -m benchmarks gpu``, tiny and on the CPU, and its section of the document."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from augrank.errors import ServerError
from benchmarks.cli.app import app
from benchmarks.gpu import job, marked_tests, report, targets
from benchmarks.gpu.config import FULL, QUICK, REPOSITORY, NotPossibleHere, RowContext
from benchmarks.gpu.document import gpu_section
from benchmarks.gpu.marked_tests import marked_files, read_report
from benchmarks.gpu.rows import visit_rows
from benchmarks.gpu.visit import RowResult

FIGURE = {"median": 5000.0, "low": 4900.0, "high": 5100.0}
DESCRIBED = {
    "engine": "cuda, bf16",
    "gpu": "NVIDIA H200",
    "machine": {"processor": "Xeon", "cores": 16, "libraries": {"onnxruntime": "1.31.1"}},
    "torch": "2.15.0",
}
TRAINED = {
    "backbone": "resnet50", "size": 224, "precision": "bf16", "compiled": True,
    "synthetic": FIGURE, "real": FIGURE, "real_over_synthetic": FIGURE, "waiting": FIGURE,
    "embed": FIGURE, "peak_mb": 9000,
}  # fmt: skip
SERVED = {
    "graphs": {
        "fp16": {
            "provider": "CUDAExecutionProvider",
            "first_answer_s": 1.5,
            "difference": {"features": 0.0021, "logits": 0.0034},
            "requests_per_s": 700.0,
            "batches": [{"batch": 6, "p50_ms": 1.4, "p99_ms": 1.9, "images_per_s": 4200.0}],
        }
    }
}


def run(*words: str):
    return CliRunner().invoke(app, ["gpu", *words])


def job_figures(share: float) -> dict:
    return {"backbone": "resnet34", "size": 224, "share": share, "warm_s": 60.0,
            "decoding_run_s": 40.0, "summary": "all of it"}  # fmt: skip


def content(rows: list[RowResult], *, quick: bool = False) -> dict:
    return report.result_json(replace(FULL, quick=quick), DESCRIBED, rows, "command")


def test_rows_are_in_order_of_worth():
    assert [row.name for row in visit_rows(FULL)] == [
        "tests", "train resnet18", "train resnet34", "train resnet50", "serve", "job", "torchserve",
        "xgboost", "tensorrt",
    ]  # fmt: skip


def test_mistakes_are_messages(tmp_path):
    out = ("--out", str(tmp_path))
    done = run(*out, "--device", "cpu", "--quick", "--rows", "serve,job,training")
    assert done.exit_code == 2
    assert "unknown row" in done.output
    assert "train resnet18" in done.output
    if not torch.cuda.is_available():
        done = run(*out)
        assert done.exit_code == 2
        assert "--device cpu --quick runs the same rows" in " ".join(done.output.split())
        assert not (tmp_path / "results.json").exists()


def test_the_section_has_what_was_measured_and_why_the_rest_was_not():
    rows = [
        RowResult("tests", "failed", 60.0, "pytest ran no test. Got a|b"),
        RowResult("train resnet50", "measured", 50.0, figures=TRAINED),
        RowResult("serve", "measured", 40.0, figures=SERVED),
        RowResult("job", "measured", 90.0, figures=job_figures(1)),
        RowResult("torchserve", "left out", 0.0, "needs 45 s, and 9 s are left"),
    ]
    text = gpu_section(content(rows))
    assert text.startswith("## On a GPU: NVIDIA H200\n")
    synthetic = "5000.000 (4900.000 to 5100.000) | 2800 | 4000 | aim reached |"
    assert f"| ResNet-50, 224 px, synthetic, images per second | {synthetic}" in text
    assert "| 60.000 | ≤ 90 | ≤ 50 | met |" in text
    assert "| 700.000 | 800 | 2500 | missed by 12.5%. |" in text
    assert "| fp16 | CUDAExecutionProvider | 6 | 1.4 | 1.9 | 4200.0 |" in text
    assert "| fp16 | CUDAExecutionProvider | 700.0 | 1.5 | 0.0021 | 0.0034 |" in text
    assert "| tests | failed | pytest ran no test. Got a/b |" in text
    assert "| torchserve | left out | needs 45 s, and 9 s are left |" in text
    assert "xgboost" not in text


def test_a_part_of_the_job_and_a_quick_run_have_no_target():
    rows = [
        RowResult("train resnet50", "measured", figures={**TRAINED, "size": 96}),
        RowResult("job", "measured", figures=job_figures(1 / 4)),
        RowResult("serve", "measured", figures=SERVED),
    ]
    assert list(targets.figures_of(content(rows))) == ["serving"]
    assert targets.target_rows(content(rows, quick=True)) == []


def test_the_jobs_share_follows_from_the_time(monkeypatch):
    monkeypatch.setattr(job, "usable_cores", lambda: 16)

    def share(limit_s: float, trained_per_s: float = 6_000.0) -> float:
        return job.choose_share(FULL, limit_s, rendered_per_s=400.0, trained_per_s=trained_per_s)

    # 50 s for the processes; 20.8 s of rendering, 2.6 s of decoding, 59.3 s of training for all.
    assert share(200) == 1
    assert share(150) == 1 / 2
    assert share(80) == 1 / 8
    assert share(10) == 1 / 16
    assert share(200, trained_per_s=2_000) == 1 / 2


def test_conditions_survive_json_and_depend_on_the_work_but_not_on_the_bundle():
    seen = report.conditions(QUICK, DESCRIBED)
    assert json.loads(json.dumps(seen)) == seen
    assert report.conditions(replace(QUICK, bundle=Path("dist/bundle")), DESCRIBED) == seen
    assert report.conditions(replace(QUICK, rounds=9), DESCRIBED) != seen
    assert report.conditions(QUICK, {**DESCRIBED, "gpu": "NVIDIA H100"}) != seen


def test_failed_tests_are_named_with_their_last_lines(tmp_path):
    file = tmp_path / "tests.xml"
    file.write_text(
        '<testsuites><testsuite><testcase classname="tests.a" name="one"/>'
        '<testcase classname="tests.a" name="two"><failure message="m">a\n\nb\nc\nd\nE  CUDA'
        "</failure></testcase>"
        '<testcase classname="tests.b" name="three"><error message="no torch"/></testcase>'
        '<testcase classname="tests.b" name="four"><skipped/></testcase></testsuite></testsuites>'
    )
    seen = read_report(file)
    assert (seen["passed"], seen["failed"], seen["skipped"]) == (1, 2, 1)
    assert seen["failures"] == {"tests.a::two": "b\nc\nd\nE  CUDA", "tests.b::three": "no torch"}
    assert seen["summary"] == "1 passed, 2 failed, 1 skipped"
    file.write_text("<testsuites><testsuite/></testsuites>")
    with pytest.raises(ServerError, match="pytest ran no test"):
        read_report(file)


def test_the_files_with_tests_for_gpus_are_found():
    names = [file.name for file in marked_files(REPOSITORY / "tests")]
    assert names == sorted(set(names), key=names.index)
    assert {"test_gpu_augment.py", "test_loader.py", "test_recommend.py"} <= {*names}
    assert "test_gpu.py" not in names


@pytest.fixture
def tiny(tmp_path):
    """What a row is given by ``--device cpu --quick``, without its process."""
    return RowContext(replace(QUICK, device="cpu"), tmp_path, limit_s=3000.0)


@pytest.mark.slow
def test_the_projects_tests_are_counted(tiny, monkeypatch):
    seen = marked_tests.measure_tests(tiny)
    assert seen["passed"] + seen["skipped"] >= 1
    assert seen["failures"] == {}
    monkeypatch.setattr(marked_tests, "REPOSITORY", tiny.scratch)
    with pytest.raises(NotPossibleHere, match="use a clone"):
        marked_tests.measure_tests(tiny)


@pytest.mark.slow
def test_tests_that_take_too_long_are_stopped_and_the_finished_ones_count(tiny, monkeypatch):
    (tiny.scratch / "tests").mkdir()
    (tiny.scratch / "tests" / "test_two.py").write_text(
        "import pytest\n@pytest.mark.gpu\ndef test_a(): pass\n"
        "@pytest.mark.gpu\ndef test_b(): raise KeyboardInterrupt\n"  # as the signal does
    )
    settings = "[pytest]\nmarkers = gpu: a GPU\naddopts = -p no:randomly\n"  # in this order
    (tiny.scratch / "pytest.ini").write_text(settings)
    monkeypatch.setattr(marked_tests, "REPOSITORY", tiny.scratch)
    # The interrupt comes at the second test, not after a time: pytest starts in 2 to 20 seconds.
    run = marked_tests._run
    monkeypatch.setattr(marked_tests, "_run", lambda words, _: (run(words, 600)[0], False))
    seen = marked_tests.measure_tests(replace(tiny, limit_s=30.0))
    assert seen["passed"] == 1
    assert seen["summary"].endswith("; stopped after 15 s")


@pytest.mark.parametrize("deaf", [False, True])
def test_a_command_is_ended_at_its_limit(deaf, monkeypatch):
    monkeypatch.setattr(marked_tests, "RESERVE_S", 1.0)
    code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
    words = [sys.executable, "-c", code if deaf else "import time; time.sleep(600)"]
    assert not marked_tests._run(words, 1.0)[1]
    assert marked_tests._run([sys.executable, "-c", "print(3)"], 600.0) == ("3\n", True)


@pytest.mark.slow
def test_the_job_runs_tiny_on_the_cpu(tiny):
    seen = job.measure_job(tiny)
    assert (seen["share"], seen["epochs"]) == (1, 1)
    assert seen["images"] % 6 == 0
    assert min(seen["warm_s"], seen["decoding_run_s"]) > 1


@pytest.mark.slow
def test_a_visit_ends_in_one_line_and_resumes(tiny_export, tmp_path):
    out, document = tmp_path / "out", tmp_path / "performance.md"
    words = ["--out", str(out), "--device", "cpu", "--quick", "--minutes", "120"]
    words += ["--bundle", str(tiny_export.bundle)]
    done = run(*words, "--rows", "train resnet18,serve,torchserve,xgboost,tensorrt")
    assert done.exit_code == 0, done.output
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen == json.loads((out / "results.json").read_text())
    assert (seen["quick"], seen["gpu"]) == (True, None)
    rows = {row["name"]: row for row in seen["rows"]}
    assert {name: row["state"] for name, row in rows.items()} == {
        "train resnet18": "measured", "serve": "measured", "torchserve": "measured",
        "xgboost": "measured", "tests": "left out", "job": "left out", "tensorrt": "left out",
    }, done.stderr  # fmt: skip
    trained, served = rows["train resnet18"]["figures"], rows["serve"]["figures"]
    for name in ("synthetic", "real", "embed"):
        assert trained[name]["median"] > 0
    assert 0 <= trained["waiting"]["median"] < 1
    assert not served["torch_imported"]
    for graph in served["graphs"].values():
        assert [row["batch"] for row in graph["batches"]] == [1, 6]
        assert graph["difference"] == {"features": 0.0, "logits": 0.0}  # this is the CPU, too
        assert graph["requests_per_s"] == pytest.approx(
            graph["batches"][1]["images_per_s"] / 6, abs=0.1
        )
    loads = rows["torchserve"]["figures"]["loads"]
    assert [load["clients"] for load in loads] == [1, 2]
    assert all(load["requests_per_s"] > 0 and load["failed"] == 0 for load in loads)
    trees = rows["xgboost"]["figures"]
    assert (trees["rows"], trees["columns"]) == (1_200, 6 + 6 + 16)
    assert trees["probability_difference"] == 0
    assert trees["cpu"]["log_loss"] < 0.65
    resumed = run(*words, "--rows", "tensorrt")
    assert "xgboost: already measured before the interrupt" in resumed.stderr
    again = {row["name"]: row for row in json.loads(resumed.stdout.splitlines()[-1])["rows"]}
    assert {**again, "tensorrt": 0} == {**rows, "tensorrt": 0}
    done = CliRunner().invoke(app, ["document", str(out / "results.json"), "--out", str(document)])
    assert done.exit_code == 0, done.output
    text = document.read_text(encoding="utf-8")
    assert "## On a GPU: none, but " in text
    assert "| tensorrt | left out | onnxruntime has no TensorrtExecutionProvider here |" in text
    assert "target of an H100" not in text
