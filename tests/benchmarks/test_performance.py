"""docs/performance.md, written from results.json files."""

import json

import pytest
from typer.testing import CliRunner

from augrank.errors import DataError
from benchmarks.cli.app import app
from benchmarks.common.results import RESULTS_VERSION
from benchmarks.performance import performance_document

OLD = {"benchmark": "pipeline", "command": "python -m benchmarks pipeline b --rounds 5"}


def test_results_of_an_older_version_say_how_to_measure_again(tmp_path):
    file, document = tmp_path / "results.json", tmp_path / "doc.md"
    file.write_text(json.dumps({**OLD, "results": [{"picture": "photo"}]}))
    done = CliRunner().invoke(app, ["document", str(file), "--out", str(document)])
    assert done.exit_code == 2
    text = " ".join(done.output.split())
    assert f"expected results_version {RESULTS_VERSION}" in text
    assert "got none, as in older versions" in text
    assert "Measure again: python -m benchmarks pipeline b --rounds 5" in text
    assert not document.exists()


def test_results_of_a_newer_version_are_refused():
    newer = RESULTS_VERSION + 1
    with pytest.raises(DataError, match=f"got {newer}"):
        performance_document([{**OLD, "results_version": newer}])


def test_what_is_not_a_benchmark_with_a_section_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"one of classify, gpu, histories, neighbours, .*, got 'instances'"
    ):
        performance_document([{"benchmark": "instances"}])
    with pytest.raises(DataError, match="got None"):
        performance_document([{}])
    (tmp_path / "list.json").write_text("[]")
    done = CliRunner().invoke(app, ["document", str(tmp_path / "list.json")])
    assert done.exit_code == 2
    assert "is not a results.json" in " ".join(done.output.split())


def test_sections_of_other_results_stay():
    text = performance_document([], "# Performance\n\nold\n\n## Serving: a\n\nrows\n\n### Part\n")
    assert text.startswith("# Performance\n\nEach section is written by `python -m benchmarks ")
    assert text.endswith("in turns in one run.\n\n## Serving: a\n\nrows\n\n### Part\n")
