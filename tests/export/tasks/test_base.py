import sys
from types import ModuleType

import pytest

from augrank.errors import DataError
from export.tasks import recommend
from export.tasks.base import build_of_task


def test_a_task_is_found_by_its_modules_name(tmp_path, monkeypatch):
    assert build_of_task("recommend") is recommend.build
    import export.tasks

    (tmp_path / "classify.py").write_text("def build(run, dist, options, progress): ...\n")
    monkeypatch.setattr(export.tasks, "__path__", [*export.tasks.__path__, str(tmp_path)])
    try:
        assert build_of_task("classify").__module__ == "export.tasks.classify"
    finally:
        sys.modules.pop("export.tasks.classify", ModuleType("none"))


@pytest.mark.parametrize("task", ["nothing", "base", "alternates_index", "../cli", ""])
def test_what_is_not_a_task_is_refused(task):
    with pytest.raises(DataError, match=r"cannot be exported|not the module of a task"):
        build_of_task(task)
