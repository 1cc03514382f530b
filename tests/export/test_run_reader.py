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


@pytest.mark.parametrize("name", ["run.json", "catalogue.csv", "reference-fp32.npz"])
@pytest.mark.parametrize("damage", ["cut", "other", "missing"])
def test_a_damaged_file_of_a_run_is_named(tiny_run, tmp_path, name, damage):
    file = shutil.copytree(tiny_run.run, tmp_path / "run") / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"\xff\0other")
    if (name, damage) == ("catalogue.csv", "cut"):
        file.write_bytes(b"path,split\n" + content[:50])
    with pytest.raises(DataError, match=rf"{name}|not a finished run") as caught:
        load_run(tmp_path / "run").reference()
    assert str(caught.value).count("rain") >= 1  # Train again, or Run python -m training
