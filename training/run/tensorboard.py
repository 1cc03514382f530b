"""Live curves of a run in TensorBoard: tensorboard --logdir RUN/tensorboard."""

from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from training.run.epoch import Epoch


class TensorBoardWriter:
    """Writes one point per epoch; a resumed run writes its earlier epochs again."""

    def __init__(self, folder: Path) -> None:
        for file in folder.glob("events.*"):
            file.unlink()
        self._writer = SummaryWriter(str(folder))

    def add(self, epoch: Epoch) -> None:
        """Write the figures of an epoch."""
        for name, value in epoch.points().items():
            self._writer.add_scalar(name, value, epoch.number)
        self._writer.flush()

    def __enter__(self) -> "TensorBoardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
