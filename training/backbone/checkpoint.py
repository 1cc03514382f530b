"""Where an interrupted run goes on: model, optimiser and history after the last whole epoch.

Tensors and plain numbers alone, so that ``torch.load(weights_only=True)`` reads them.
"""

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from augrank.errors import DataError
from augrank.files import atomic_write

LAST, BEST = "last.pt", "best-{}.pt"


@dataclass(frozen=True)
class Epoch:
    """One line of the history."""

    number: int  # from 1
    loss: float  # training, mean over samples
    train_accuracy: float  # of the training samples as they were seen, jittered
    validation_accuracy: float
    validation_loss: float
    learning_rate: float  # at its end
    samples_per_s: float
    seconds: float
    input_share: float = 0.0  # of the training time, waiting for images


@dataclass(frozen=True)
class Progress:
    """What is saved after an epoch."""

    history: tuple[Epoch, ...]
    best: int  # number of the best epoch so far
    model: dict[str, Tensor]
    optimisation: dict[str, Any]  # optimiser, schedule, gradient scale, moving average


def write_tensors(file: Path, content: dict[str, Any]) -> None:
    """``torch.save``, whole; a full disk is an OSError, which torch itself hides."""
    stream = io.BytesIO()
    torch.save(content, stream)
    with atomic_write(file) as temporary:
        temporary.write_bytes(stream.getbuffer())


class Checkpoints:
    """The run's checkpoints folder.

    The best weights bear their epoch's number and are written before the checkpoint that names it;
    older ones go after that. So an interrupt at any moment costs an epoch and nothing else, though
    an epoch that is repeated on a GPU may come out otherwise.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, progress: Progress, best_weights: dict[str, Tensor] | None) -> None:
        """Write the last epoch, and the best weights where they are new."""
        if best_weights is not None:
            write_tensors(self._best(progress.best), best_weights)
        content = {**vars(progress), "history": [asdict(epoch) for epoch in progress.history]}
        write_tensors(self._folder / LAST, content)
        for former in set(self._folder.glob(BEST.format("*"))) - {self._best(progress.best)}:
            former.unlink()

    def load(self) -> Progress | None:
        """The last whole epoch, or None where there is none.

        Raises:
            DataError: it is damaged, or the best weights are, which is better told before further
                epochs than after them.
        """
        file = self._folder / LAST
        if not file.is_file():
            return None
        content = _read_tensors(file)
        content["history"] = tuple(Epoch(**epoch) for epoch in content["history"])
        progress = Progress(**content)
        self.best_weights(progress.best)
        return progress

    def best_weights(self, epoch: int) -> dict[str, Tensor]:
        """torchvision-named weights of the best epoch, by its number.

        Raises:
            DataError: they are damaged.
        """
        return _read_tensors(self._best(epoch))

    def _best(self, epoch: int) -> Path:
        return self._folder / BEST.format(epoch)


def _read_tensors(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load fails in many ways on files that are not whole
        raise DataError(
            f"{file} is damaged, or of an earlier version",
            expected="what the last whole epoch wrote",
            got="a part of a file" if file.exists() else "no such file",
            remedy=f"Start anew with --overwrite, or remove {file.parent}.",
        ) from error
    return content
