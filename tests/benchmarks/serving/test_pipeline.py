import itertools
import json

import pytest
from typer.testing import CliRunner

from augrank.models.backbone import Backbone
from benchmarks.cli.app import app
from benchmarks.common.statistics import Median
from benchmarks.serving import pipeline
from benchmarks.serving.pipeline import WARM_UP_ROUNDS

ROUNDING_MS = 0.05  # of five stages


@pytest.fixture
def asked(monkeypatch):
    """The stages' times of every question, and the calls of the network that it took."""
    embed, answer_batch = Backbone.embed, pipeline.answer_batch
    questions, calls = [], []

    def counted(backbone, batch):
        calls.append(len(batch))
        return embed(backbone, batch)

    def noted(task, requests):
        before = len(calls)
        (answer,) = answer_batch(task, requests)
        questions.append((answer.timings_ms, len(calls) - before))
        return [answer]

    monkeypatch.setattr(Backbone, "embed", counted)
    monkeypatch.setattr(pipeline, "answer_batch", noted)
    return questions


def test_the_benchmark_ends_in_one_line_of_json(tiny_export, tiny_run, tmp_path, asked):
    result = CliRunner().invoke(
        app,
        [
            "pipeline",
            str(tiny_export.bundle),
            "--images",
            str(tiny_run.images),
            "--rounds",
            "5",
            "--threads",
            "1",
            "--out",
            str(tmp_path),
        ],
    )
    assert result.exit_code == 0, result.output
    content = json.loads(result.output.strip().splitlines()[-1])
    assert content == json.loads((tmp_path / "results.json").read_text())
    assert content["machine"]["threads"] == 1
    assert content["model"]["candidates"] == 6
    ways = [(row["precision"], row["image"]) for row in content["results"]]
    images = ("catalogue", "photo")
    assert ways == [(graph, p) for graph in ("fp32", "fp32, openvino") for p in images]
    assert [calls for _, calls in asked] == [1, 0] * (WARM_UP_ROUNDS + 5) * len(ways)
    totals = iter([timings.total for timings, _ in asked])
    for row in content["results"]:
        rounds = list(itertools.islice(zip(totals, totals, strict=True), WARM_UP_ROUNDS + 5))
        first, second = zip(*rounds[WARM_UP_ROUNDS:], strict=True)
        assert row["stages_ms"]["total"] == Median.of(first).to_dict()
        assert row["second_ms"] == Median.of(second).to_dict()
        assert row["first_over_second"] == Median.of_ratios(first, second).to_dict()
        assert row["forward_ms"]["median"] > 0
        assert row["pipeline_over_forward"]["median"] > 0
    for timings, _ in asked:
        assert sum(timings.model_dump(exclude={"total"}).values()) <= timings.total + ROUNDING_MS

    file = tmp_path / "doc.md"
    file.write_text("# Performance\n\n## Serving: other\n\nof another machine\n\n### Part\n")
    done = CliRunner().invoke(app, ["document", str(tmp_path / "results.json"), "--out", str(file)])
    assert done.exit_code == 0, done.output
    document = file.read_text()
    forward = content["results"][0]["forward_ms"]["median"]
    assert (
        f"| fp32, catalogue | {content['results'][0]['stages_ms']['decode']['median']:.2f}"
        in document
    )
    assert f"{forward:.2f} (" in document
    assert [line for line in document.splitlines() if line.startswith("#")] == [
        "# Performance",
        "## Serving: other",
        "### Part",
        "## One request in process: resnet18",
    ]
    assert "of another machine" in document
    CliRunner().invoke(app, ["document", str(tmp_path / "results.json"), "--out", str(file)])
    assert file.read_text() == document  # the section is replaced


def test_a_classifier_is_timed_by_its_own_stages(classify_export, tiny_run, tmp_path, asked):
    words = ["pipeline", str(classify_export.bundle), "--images", str(tiny_run.images)]
    done = CliRunner().invoke(app, [*words, "--rounds", "5", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    content = json.loads(done.output.strip().splitlines()[-1])
    assert set(content["model"]) == {"backbone", "image_size"}
    assert [calls for _, calls in asked] == [1, 0] * (WARM_UP_ROUNDS + 5) * len(content["results"])
    for row in content["results"]:
        assert list(row["stages_ms"]) == ["decode", "embed", "score", "total"]
        assert row["stages_ms"]["total"]["median"] > row["second_ms"]["median"] > 0

    file = tmp_path / "doc.md"
    file.write_text("# Performance\n")
    made = CliRunner().invoke(app, ["document", str(tmp_path / "results.json"), "--out", str(file)])
    assert made.exit_code == 0, made.output
    document = file.read_text()
    assert "## One image classified in process: resnet18" in document
    assert "| graph, image | decode, ms | embed, ms | score, ms | total, ms |" in document


@pytest.mark.parametrize("command", ["pipeline", "document"])
@pytest.mark.parametrize("arguments", [["none"], []])
def test_wrong_arguments(tmp_path, command, arguments):
    result = CliRunner().invoke(app, [command, *[str(tmp_path / a) for a in arguments]])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
