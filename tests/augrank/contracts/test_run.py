import json

import pytest

from augrank.contracts.recommend_run import RecommendRun
from augrank.contracts.run import RUN_FORMAT, RunRecord, parse_run
from augrank.contracts.task_models import TaskModels
from augrank.errors import DataError
from tests.support.tiny_run import CONTEXT, TARGETS


@pytest.fixture
def content(tiny_run):
    return json.loads((tiny_run.run / "run.json").read_text())


def test_a_record_is_read_as_it_was_written(content, tiny_run):
    record = parse_run(content, tiny_run.run / "run.json")
    assert isinstance(record, RecommendRun)
    assert (record.format, record.complete, record.task) == (RUN_FORMAT, True, "recommend")
    assert record.context == CONTEXT
    assert tuple(head.target.name for head in record.graphs["fp32"].heads) == TARGETS
    assert json.loads(record.model_dump_json()) == content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "expected a complete run of format 5, got format 1.*Train again"),
        ({"complete": False}, "got format 5, complete False"),
        ({"task": "rank"}, "task one of classify, recommend, got 'rank'"),
        ({"image_size": 0}, "does not fit its schema at image_size"),
        ({"unknown": 1}, "does not fit its schema at unknown: expected no such field"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(content, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        parse_run(content | changes, tmp_path / "run.json")


def test_a_task_is_found_by_the_name_of_its_file(tmp_path, monkeypatch):
    package = tmp_path / "tasks_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "classify_run.py").write_text(
        "from augrank.contracts.run import RunRecord\nclass ClassifyRun(RunRecord): ...\n"
    )
    (package / "broken_run.py").write_text("class BrokenRun: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    models = TaskModels("tasks_of_a_test", "run", RunRecord)
    assert models.tasks() == ("broken", "classify")
    assert models.model("classify").__name__ == "ClassifyRun"
    with pytest.raises(KeyError):
        models.model("recommend")
    with pytest.raises(TypeError, match="does not extend RunRecord"):
        models.model("broken")
