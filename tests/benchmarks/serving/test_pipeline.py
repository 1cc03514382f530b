import json

import pytest
from typer.testing import CliRunner

from benchmarks.cli.app import app


def test_the_benchmark_ends_in_one_line_of_json(tiny_export, tiny_run, tmp_path):
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
    for row in content["results"]:
        stages = row["stages_ms"]
        parts = sum(stages[name]["median"] for name in ("decode", "augment", "embed", "score"))
        assert parts <= stages["total"]["median"] * 1.2
        assert 0 < row["pipeline_over_forward"]["median"] < 1.5
        assert row["first_over_second"]["median"] > 2
        assert 0 < row["second_ms"]["median"] < stages["total"]["median"]

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


@pytest.mark.parametrize("command", ["pipeline", "document"])
@pytest.mark.parametrize("arguments", [["none"], []])
def test_wrong_arguments(tmp_path, command, arguments):
    result = CliRunner().invoke(app, [command, *[str(tmp_path / a) for a in arguments]])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
