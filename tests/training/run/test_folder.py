from pathlib import Path

import pytest

from augrank.contracts.run import RUN_FORMAT
from augrank.errors import DataError
from augrank.files import read_json, write_json
from tests.support.full_disk import full_disk
from training.run.folder import WRITTEN_BY_FIT, RunFolder


def start(folder: RunFolder, *, overwrite: bool = False, **config: object) -> None:
    with folder.lock():
        folder.start(config, "data", overwrite=overwrite)


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_a_run_that_has_learned_nothing_may_be_started_with_other_options(folder):
    start(folder, weights="nope.pt")
    (folder.tensorboard).mkdir()
    (folder.tensorboard / "events").write_text("of before")
    folder.checkpoints.mkdir()
    start(folder, weights="none")
    assert read_json(folder.started)["config"] == {"weights": "none"}
    assert not folder.tensorboard.exists()


@pytest.mark.parametrize(
    "made",
    ["checkpoints/last.pt", "checkpoints/best-1.pt", "backbone.pt", "report.json", "run.json"],
)
def test_a_run_that_has_learned_is_kept(folder, made):
    start(folder, epochs=2)
    file = folder.root / made
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    start(folder, epochs=2)
    with pytest.raises(DataError, match=r"epochs: 2 then, 3 now[\s\S]*--overwrite"):
        start(folder, epochs=3)
    assert file.read_text() == "{}"
    start(folder, epochs=3, overwrite=True)
    assert not file.exists()
    assert read_json(folder.started)["config"] == {"epochs": 3}


def test_overwriting_removes_all_that_fit_makes_and_keeps_decoded_images(folder):
    start(folder)
    for name in WRITTEN_BY_FIT:
        (folder.root / name).write_text("{}")
    (folder.cache / "32px-0123").mkdir(parents=True)
    start(folder, overwrite=True)
    assert {path.name for path in folder.root.iterdir()} == {"cache", "fit.json", "lock"}
    assert (folder.cache / "32px-0123").is_dir()


def test_a_full_disk_is_reported_before_anything_is_trained(folder):
    with full_disk(50), pytest.raises(DataError, match=r"run cannot be written.*another --out"):
        start(folder, much="x" * 100)
    assert [path.name for path in folder.root.iterdir()] == ["lock"]
    with pytest.raises(DataError, match="/proc/x cannot be written"):
        start(RunFolder(Path("/proc/x")))


def test_damaged_notes_of_a_run_are_reported(folder):
    start(folder, epochs=2)
    folder.started.write_text('{"config": {')
    with pytest.raises(DataError, match=r"fit.json is damaged.*--overwrite"):
        start(folder, epochs=2)
    start(folder, epochs=2, overwrite=True)
    write_json(folder.record, {"format": RUN_FORMAT, "complete": True})
    assert folder.read_complete() == {"format": RUN_FORMAT, "complete": True}
    folder.record.write_text("")
    with pytest.raises(DataError, match=r"run.json is damaged.*--overwrite"):
        folder.read_complete()


def test_a_run_of_another_version_is_refused_with_the_remedy(tmp_path):
    folder = RunFolder(tmp_path)
    folder.record.write_text('{"format": 1, "complete": true}')
    with pytest.raises(DataError, match=rf"expected format {RUN_FORMAT}, got 1.*--overwrite"):
        folder.read_complete()
