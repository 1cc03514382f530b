import json
import shutil

import pytest

from augrank.contracts.recommend_run import RecommendRun
from augrank.contracts.run import RunRecord
from augrank.errors import DataError
from export.run_reader import load_run


def test_what_is_not_a_finished_run_is_refused(tiny_run, tmp_path):
    with pytest.raises(DataError, match="not a finished run"):
        load_run(tmp_path)
    run = shutil.copytree(tiny_run.run, tmp_path / "run")
    content = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**content, "complete": False}))
    with pytest.raises(DataError, match="complete False"):
        load_run(run)


def test_a_record_is_narrowed_to_its_own_task_alone(tiny_run):
    class OtherRun(RunRecord):
        task: str = "other"

    run = load_run(tiny_run.run)
    assert run.of_task(RecommendRun).record is run.record
    with pytest.raises(DataError, match="expected OtherRun, got task 'recommend'"):
        run.of_task(OtherRun)
