"""Live curves of a run: what writes them, and Weights & Biases."""

import os
import secrets
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Protocol, Self

from augrank.errors import DataError
from training.config import FitConfig
from training.run.epoch import Epoch


class CurveWriter(Protocol):
    """Writes the figures of every epoch."""

    def add(self, epoch: Epoch) -> None:
        """Write the figures of an epoch."""


def check_wandb(config: FitConfig) -> None:
    """Check that Weights & Biases can be used, if the options ask for it.

    Raises:
        DataError: it is not installed.
    """
    if config.wandb is not None and find_spec("wandb") is None:
        raise DataError(
            "--wandb needs the package wandb",
            remedy="pip install 'augrank[wandb]', or leave it out.",
        )


class WandbWriter:
    """Writes one point per epoch to Weights & Biases; ``WANDB_MODE=offline`` keeps it on this disk.

    A resumed run continues its curve.

    Args:
        config: project, run directory and options. The run's id is kept in OUT/wandb, which
            starting over removes.
    """

    def __init__(self, config: FitConfig) -> None:
        import wandb

        identity = config.out / "wandb" / "augrank-id"
        identity.parent.mkdir(parents=True, exist_ok=True)
        if not identity.is_file():
            identity.write_text(secrets.token_hex(8), encoding="utf-8")
        os.environ.setdefault("WANDB_SILENT", "true")
        self._run: Any = wandb.init(
            project=config.wandb,
            name=config.name or config.out.name,
            id=identity.read_text(encoding="utf-8"),
            dir=str(config.out),
            config=config.decisive(),
            resume="allow",
        )

    def add(self, epoch: Epoch) -> None:
        """Write the figures of an epoch."""
        self._run.log(epoch.points(), step=epoch.number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run.finish(exit_code=int(error is not None))
