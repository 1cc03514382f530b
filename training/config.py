"""Every option of ``fit``, with its default. A file gives them, the command line overrides it.

fit.yaml::

    manifest: data/sneakers/history.csv
    images: data/sneakers
    out: runs/sneakers
    epochs: 8
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from augrank.errors import DataError, one_of
from augrank.models.targets import Direction

Architecture = Literal["resnet18", "resnet34", "resnet50"]
Schedule = Literal["onecycle", "plateau"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
STEP = 16  # pixels; sides between are rounded, so that there are few
# Where or how fast a run is made, not what it becomes: these may differ when a run is resumed.
INCIDENTAL = ("out", "manifest", "images", "threads", "name", "cache", "cache_gb", "compile")


class FitConfig(BaseModel, frozen=True, extra="forbid"):
    """Options of a training run."""

    # The data
    manifest: Path | None = None  # CSV or Parquet; without one, `images` is an image folder
    images: Path | None = None  # by default the manifest's folder
    columns: dict[str, str] = {}  # our name -> the manifest's, e.g. relative_im_path: photo
    targets: tuple[str, ...] | None = None  # by default all that the manifest has
    directions: dict[str, Direction] = {}  # for targets of your own
    context: tuple[str, ...] | None = None  # by default campaign_type and industry
    skip_bad_rows: bool = False
    test_share: float = Field(default=0.2, gt=0, lt=1)  # of the originals
    validation_share: float = Field(default=0.15, gt=0, lt=1)  # of the originals

    # The run
    out: Path
    cache: Path | None = None  # of decoded images and embeddings; by default the run's own
    cache_gb: float = Field(default=50, gt=0, allow_inf_nan=False)  # of all runs that share it
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    seed: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)  # by default the usable cores
    device: DeviceChoice = "auto"
    precision: Precision = "auto"

    # The backbone
    augmentations: str = "seed"  # seed, email or a file
    backbone: Architecture = "resnet18"
    weights: str = "none"  # none, imagenet or a file
    image_size: int = Field(default=224, ge=32, le=1024)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Schedule = "onecycle"
    accumulate: int = Field(default=1, ge=1)  # pieces that each process takes its batch in
    freeze: bool = False  # train the last layer alone, on top of --weights
    average: float = Field(default=0.0, ge=0, lt=1)  # decay of the weights' average; 0: none
    progressive: int | None = Field(
        default=None, ge=32, multiple_of=STEP
    )  # side, pixels, of the first epoch
    compile: bool | Literal["auto"] = "auto"  # by torch.compile; auto: long runs on a GPU
    sync_bn: bool = False  # batch normalisation over all processes, on GPUs
    flip: bool | Literal["auto"] = "auto"  # auto: where no augmentation flips or transposes

    # The heads
    baselines: bool = True  # fit logistic regression and scikit-learn's boosting for comparison

    @model_validator(mode="after")
    def _consistent(self) -> "FitConfig":
        if self.manifest is None and self.images is None:
            raise ValueError("expected manifest (a CSV or Parquet file) or images (a folder)")
        if self.test_share + self.validation_share >= 1:
            raise ValueError("--test-share + --validation-share must leave images to train on")
        if self.progressive is not None and self.progressive > self.image_size:
            raise ValueError(f"--progressive must not pass --image-size ({self.image_size})")
        if self.freeze and self.weights == "none":
            raise ValueError("--freeze needs trained weights to start from: give --weights")
        if self.batch_size < 2 * self.accumulate:
            raise ValueError("--batch-size must give each piece of --accumulate two images")
        return self

    def side(self, epoch: int) -> int:
        """Of the training images in this epoch, from 1: grows over the first two thirds."""
        if self.progressive is None:
            return self.image_size
        grown = (epoch - 1) / max(1.0, 2 / 3 * self.epochs)
        if grown >= 1:
            return self.image_size  # of which STEP need not be a divisor
        side = self.progressive + grown * (self.image_size - self.progressive)
        return min(self.image_size, int(side + STEP / 2) // STEP * STEP)

    def decisive(self) -> dict[str, Any]:
        """The options that decide what the run becomes, as plain data."""
        return self.model_dump(mode="json", exclude=set(INCIDENTAL))


def load_config(file: Path | None, overrides: Mapping[str, Any]) -> FitConfig:
    """Read a config.

    Args:
        file: YAML or TOML, or None.
        overrides: options of the command line; None means not given.

    Raises:
        DataError: an unknown option (says which was meant), a value that does not fit, or a
            missing file. Paths in a file are relative to the working directory.
    """
    options = read_options(file)
    options |= {key: value for key, value in overrides.items() if value is not None}
    try:
        return FitConfig.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            raise DataError(f"{name} is missing", remedy=f"Give it with {_flag(name)}.") from error
        if not name:
            raise DataError(message, remedy="See python -m training fit --help.") from error
        raise DataError(
            f"{_flag(name)} does not fit", expected=message, got=repr(first["input"])
        ) from error


def read_options(file: Path | None) -> dict[str, Any]:
    """The options that a file gives; none without one.

    Raises:
        DataError: the file cannot be read, or has an option that is not known.
    """
    return named_options(_read(file), str(file)) if file is not None else {}


def named_options(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Options under the names that FitConfig has.

    Args:
        content: options as a user names them: hyphens will do, and text instead of lists.
        source: where they stand, for messages.

    Raises:
        DataError: an option that is not known (says which was meant).
    """
    options = {key.replace("-", "_"): value for key, value in content.items()}
    for key in options:
        if key not in FitConfig.model_fields:
            known = [*FitConfig.model_fields]
            raise DataError(
                f"{source} has an option that is not known", expected=one_of(known, key), got=key
            )
    for key in ("targets", "context"):
        if isinstance(options.get(key), str):
            options[key] = split_names(options[key])
    return options


def read_value(name: str, text: str) -> Any:
    """An option's value as YAML reads it.

    Raises:
        DataError: it is no YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(
            f"--set {name} does not fit", expected="a number, a word or a YAML list", got=repr(text)
        ) from error


def split_names(text: str) -> tuple[str, ...]:
    """``a, b`` to ``("a", "b")``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        content = tomllib.loads(text) if file.suffix == ".toml" else yaml.safe_load(text)
    except OSError as error:
        raise DataError(f"{file} cannot be read", got=error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} is neither YAML nor TOML that can be read: {error}",
            remedy="Name it .toml if it is TOML.",
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise DataError(f"{file} does not fit", expected="options by name", got=str(content)[:60])
    return {str(key): value for key, value in content.items()}


def _flag(name: str) -> str:
    return "--" + name.split(".")[0].replace("_", "-")
