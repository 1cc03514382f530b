"""Configuration of a visit to a GPU machine, and what each of its rows is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from augrank.contracts.run import BackboneName
from augrank.resources import usable_cores

DeviceKind = Literal["cuda", "cpu"]
Figures = dict[str, Any]  # plain data; ``summary`` is one line for the table
REPOSITORY = Path(__file__).parents[2]
MIN_RENDERED_PX = 64


class NotPossibleHere(Exception):
    """This machine, or this command line, lacks what a row needs."""


@dataclass(frozen=True)
class GpuBenchConfig:
    """The device, and the amount of work of each row."""

    quick: bool
    device: DeviceKind = "cuda"
    bundle: Path | None = None  # for TorchServe
    test_files: int | None = None  # of those with tests for GPUs; None for all
    # Training.
    backbones: tuple[BackboneName, ...] = ("resnet18", "resnet34", "resnet50")
    size: int = 224  # pixels, of serving too
    images: int = 400  # originals
    rounds: int = 3
    turn_s: float = 2.0
    # Serving in process, and under TorchServe.
    batches: tuple[int, ...] = (1, 2, 6, 12, 24, 48, 96)
    batch_s: float = 2.0  # of each batch size
    clients: tuple[int, ...] = (1, 8, 16, 32)
    closed_s: float = 4.0  # of each number of clients
    # The first experiments' job: what is left of it in the time that is left.
    job_backbone: BackboneName = "resnet34"
    job_originals: int = 8_300
    job_epochs: int = 10
    job_shares: tuple[float, ...] = (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
    # Heads.
    head_originals: int = 20_000
    head_features: int = 512
    head_trees: int = 100

    @property
    def threads(self) -> int:
        """Threads of torch, onnxruntime and XGBoost: a quick run leaves the cores to others."""
        return 1 if self.quick else usable_cores()

    @property
    def rendered_px(self) -> int:
        """The side of rendered images."""
        return max(self.size, MIN_RENDERED_PX)


FULL = GpuBenchConfig(quick=False)
QUICK = GpuBenchConfig(
    quick=True,
    test_files=1,
    backbones=("resnet18",),
    size=32,
    images=24,
    rounds=1,
    turn_s=0.1,
    batches=(1, 6),
    batch_s=0.1,
    clients=(1, 2),
    closed_s=0.3,
    job_backbone="resnet18",
    job_originals=24,
    job_epochs=1,
    job_shares=(1,),
    head_originals=200,
    head_features=16,
    head_trees=10,
)


@dataclass(frozen=True)
class RowContext:
    """What a row is given.

    Attributes:
        config: the device, and the amount of work.
        scratch: folder that all rows share.
        limit_s: the row is stopped after this many seconds.
        earlier: figures of the rows measured before, by name.
    """

    config: GpuBenchConfig
    scratch: Path
    limit_s: float
    earlier: Mapping[str, Figures] = field(default_factory=dict)
