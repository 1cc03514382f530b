from pathlib import Path

import pytest
import torch

from augrank.errors import DataError
from training.backbone import checkpoint
from training.backbone.checkpoint import Checkpoint, Checkpoints, write_tensors
from training.run.epoch import Epoch, TrainingHistory


def progress(epochs: int, best: int) -> Checkpoint:
    history = tuple(Epoch(n, 1.0, 0.5, 0.5, 1.0, 0.1, 100.0, 1.0) for n in range(1, epochs + 1))
    return Checkpoint(
        TrainingHistory(history, best), {"weight": torch.full((3,), float(epochs))}, {}
    )


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((3,), value)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_best_weights_are_named_by_epoch_and_older_ones_deleted(tmp_path):
    kept = Checkpoints(tmp_path)
    kept.save(progress(1, best=1), weights(1))
    kept.save(progress(2, best=2), weights(2))
    kept.save(progress(3, best=2), None)
    assert names(tmp_path) == ["best-2.pt", "last.pt"]
    last = kept.load()
    assert last is not None
    assert (len(last.history), last.history.best) == (3, 2)
    assert torch.equal(last.model["weight"], torch.full((3,), 3.0))
    assert torch.equal(kept.best_weights(2)["weight"], torch.full((3,), 2.0))
    assert Checkpoints(tmp_path / "none").load() is None


def test_a_kill_between_the_two_writes_leaves_weights_that_fit_the_history(tmp_path, monkeypatch):
    """The repeated epoch may have another result, and may then not be the best."""
    kept = Checkpoints(tmp_path)
    kept.save(progress(1, best=1), weights(1))

    def killed(file: Path, content: dict) -> None:
        if file.name == "last.pt":
            raise KeyboardInterrupt
        write_tensors(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_tensors", killed)
        with pytest.raises(KeyboardInterrupt):
            kept.save(progress(2, best=2), weights(2))
    assert names(tmp_path) == ["best-1.pt", "best-2.pt", "last.pt"]
    last = kept.load()
    assert last is not None
    assert (len(last.history), last.history.best) == (1, 1)
    assert torch.equal(kept.best_weights(last.history.best)["weight"], torch.full((3,), 1.0))
    kept.save(progress(2, best=1), None)
    assert names(tmp_path) == ["best-1.pt", "last.pt"]


@pytest.mark.parametrize("name", ["last.pt", "best-1.pt"])
@pytest.mark.parametrize("size", [0, 100, 1000])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, name, size):
    kept = Checkpoints(tmp_path)
    kept.save(progress(1, best=1), weights(1))
    content = (tmp_path / name).read_bytes()
    assert len(content) > 1000
    (tmp_path / name).write_bytes(content[:size])
    with pytest.raises(
        DataError, match=f"{name} is damaged.*got a truncated.*--overwrite, or remove"
    ):
        kept.load()


def test_checkpoints_of_an_earlier_version_are_refused(tmp_path):
    kept = Checkpoints(tmp_path)
    kept.save(progress(1, best=1), weights(1))
    (tmp_path / "best-1.pt").rename(tmp_path / "best.pt")
    with pytest.raises(DataError, match=r"best-1.pt is .*by an earlier version.*got no such file"):
        kept.load()
