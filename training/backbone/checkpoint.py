"""Checkpoints: weights, optimizer state and history after the last complete epoch.

Tensors and plain numbers only, so that ``torch.load(weights_only=True)`` reads them.
"""

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from augrank.errors import DataError
from augrank.files import atomic_write
from training.run.epoch import Epoch, TrainingHistory

LAST, BEST = "last.pt", "best-{}.pt"


@dataclass(frozen=True)
class Checkpoint:
    """The state that is saved after an epoch."""

    history: TrainingHistory
    model: dict[str, Tensor]
    optimizer: dict[str, Any]  # optimizer, schedule, gradient scale, moving average (EMA)


def write_tensors(file: Path, content: dict[str, Any]) -> None:
    """Write with ``torch.save``, atomically. A full disk is an OSError, which torch would hide."""
    stream = io.BytesIO()
    torch.save(content, stream)
    with atomic_write(file) as temporary:
        temporary.write_bytes(stream.getbuffer())


class Checkpoints:
    """The run's checkpoints folder.

    The best weights are named by their epoch and written before the checkpoint that refers to them;
    older ones are removed afterwards. So an interrupt costs at most the current epoch. A repeated
    epoch may give different weights on a GPU.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, checkpoint: Checkpoint, best_weights: dict[str, Tensor] | None) -> None:
        """Write the last epoch, and the best weights if they are new."""
        best = self._best(checkpoint.history.best)
        if best_weights is not None:
            write_tensors(best, best_weights)
        content = {
            "history": [asdict(epoch) for epoch in checkpoint.history.epochs],
            "best": checkpoint.history.best,
            "model": checkpoint.model,
            "optimizer": checkpoint.optimizer,
        }
        write_tensors(self._folder / LAST, content)
        for former in set(self._folder.glob(BEST.format("*"))) - {best}:
            former.unlink()

    def load(self) -> Checkpoint | None:
        """Read the last complete epoch; None if there is none.

        Raises:
            DataError: it or the best weights are damaged; checked before further epochs are
                trained.
        """
        file = self._folder / LAST
        if not file.is_file():
            return None
        content = _read_tensors(file)
        try:
            epochs = tuple(Epoch(**epoch) for epoch in content["history"])
            history = TrainingHistory(epochs, content["best"])
            checkpoint = Checkpoint(history, content["model"], content["optimizer"])
        except (KeyError, TypeError) as error:
            raise _damaged(file) from error
        self.best_weights(history.best)
        return checkpoint

    def best_weights(self, epoch: int) -> dict[str, Tensor]:
        """Read the torchvision-named weights of the best epoch, by its number.

        Raises:
            DataError: they are damaged.
        """
        return _read_tensors(self._best(epoch))

    def _best(self, epoch: int) -> Path:
        return self._folder / BEST.format(epoch)


def _read_tensors(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load fails in many ways on truncated files
        raise _damaged(file) from error
    return content


def _damaged(file: Path) -> DataError:
    return DataError(
        f"{file} is damaged, or was written by an earlier version",
        expected="the checkpoint of a complete epoch",
        got="a truncated or different file" if file.exists() else "no such file",
        remedy=f"Start over with --overwrite, or remove {file.parent}.",
    )
