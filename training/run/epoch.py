"""An epoch's figures: one row of a run's history."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """One row of the history."""

    number: int  # from 1
    loss: float  # training, mean over samples
    train_accuracy: float  # of the training samples as they were shown, randomly cropped
    validation_accuracy: float
    validation_loss: float
    learning_rate: float  # at its end
    samples_per_s: float
    seconds: float
    input_share: float = 0.0  # of the training time, spent waiting for images

    def points(self) -> dict[str, float]:
        """Return its figures by the names of curves."""
        return {
            "loss/training": self.loss,
            "loss/validation": self.validation_loss,
            "accuracy/training": self.train_accuracy,
            "accuracy/validation": self.validation_accuracy,
            "learning_rate": self.learning_rate,
            "images_per_s": self.samples_per_s,
        }


@dataclass(frozen=True)
class TrainingHistory:
    """All epochs of a run, and the one whose weights are kept."""

    epochs: tuple[Epoch, ...] = ()
    best: int = 0  # number of the best epoch; 0 before the first

    def __len__(self) -> int:
        return len(self.epochs)

    @property
    def best_epoch(self) -> Epoch:
        """The epoch whose weights are kept."""
        return self.epochs[self.best - 1]

    def with_epoch(self, epoch: Epoch) -> "TrainingHistory":
        """Append an epoch, which becomes the best if its accuracy is higher.

        If the accuracy is equal, the lower loss decides.
        """
        is_best = self.best == 0 or _rank(epoch) > _rank(self.best_epoch)
        return TrainingHistory((*self.epochs, epoch), epoch.number if is_best else self.best)


def _rank(epoch: Epoch) -> tuple[float, float]:
    return epoch.validation_accuracy, -epoch.validation_loss


def ignore_epoch(epoch: Epoch) -> None:
    """Do nothing with an epoch: the default callback."""
