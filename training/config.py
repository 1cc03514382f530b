"""The options of ``fit``: type, default, limits and help text of each, defined once.

The command line is generated from this model (``training/cli/options.py``). A YAML or TOML file may
give the same options, and the command line overrides it. fit.yaml::

    manifest: data/sneakers/history.csv
    images: data/sneakers
    out: runs/sneakers
    epochs: 8
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from augrank.contracts.run import BackboneName
from augrank.contracts.validation import NAME_PATTERN, first_fault
from augrank.errors import DataError, one_of, reason
from augrank.models.targets import Direction

Schedule = Literal["onecycle", "plateau"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
GraphPrecision = Literal["fp32", "int8"]
MAX_QUANTILES = 100  # classes
LEARNING_RATE, FINE_TUNING_RATE = 0.1, 0.02  # defaults, at the peak
SIZE_STEP = 16  # pixels; progressive sizes are multiples of it, which limits their number
# Options that do not affect the result of a run: they may differ when it is resumed.
INCIDENTAL = (
    "out", "manifest", "images", "threads", "name", "cache", "cache_gb", "compile", "wandb",
)  # fmt: skip


OPTIONS_OF_TASKS = {
    "recommend": ("targets", "directions", "context", "context_types"),
    "classify": ("labels", "group", "quantiles", "ranks", "rank_within"),
}


class _Options(BaseModel, frozen=True, extra="forbid"):
    """A group of options; ``panel`` is its title in --help."""

    panel: ClassVar[str]


class DataOptions(_Options, frozen=True):
    """The manifest, the images and how they are split."""

    panel: ClassVar[str] = "Data"

    manifest: Path | None = Field(
        None,
        description="CSV (also .gz, .zip) or Parquet (also a folder of parts), one row per shown "
        "image.",
    )
    images: Path | None = Field(
        None,
        description="Folder of the images; by default the manifest's. Without a manifest: every "
        "image in it, with sub-folders as product types and no targets.",
    )
    columns: dict[str, str] = Field(
        {},
        description="Map a column of another name: relative_im_path=photo. Repeatable.",
        json_schema_extra={"flag": "--column"},
    )
    targets: tuple[str, ...] | None = Field(
        None, description="Comma-separated targets to predict; by default all in the manifest."
    )
    directions: dict[str, Direction] = Field(
        {},
        description="Direction of a custom target: refunds=minimize. Repeatable.",
        json_schema_extra={"flag": "--direction"},
    )
    context: tuple[str, ...] | None = Field(
        None,
        description="Comma-separated context columns, '' for none; by default campaign_type and "
        "industry, where present.",
    )
    context_types: dict[str, Literal["categorical", "numeric"]] = Field(
        {},
        description="Kind of a context column: postcode=categorical. By default numeric, if most "
        "of its cells are numbers. Repeatable.",
        json_schema_extra={"flag": "--context-type"},
    )
    labels: tuple[str, ...] | None = Field(
        None,
        description="Comma-separated label columns to classify (--task classify); by default "
        "'label', the folders of an image folder, or the attributes of a Ground Truth manifest.",
    )
    quantiles: dict[str, int] = Field(
        {},
        description="Classes of equal size from a column of scores (--task classify): "
        "popularity=3 for tertiles. Repeatable.",
    )
    ranks: tuple[str, ...] = Field(
        (),
        description="Comma-separated columns of scores to rank images by (--task classify), such "
        "as popularity.",
    )
    rank_within: str | None = Field(
        None,
        description="Column of those whose images are compared with each other, '' for all images "
        "(--task classify); by default uploader, where present.",
    )
    group: tuple[str, ...] | None = Field(
        None,
        description="Comma-separated columns whose equal values keep images in one split, '' for "
        "none (--task classify); by default uploader, advertiser, original, where present.",
    )
    skip_bad_rows: bool = Field(False, description="Skip bad rows instead of stopping.")
    test_share: float = Field(0.2, gt=0, lt=1, description="Share of originals for testing.")
    validation_share: float = Field(
        0.15, gt=0, lt=1, description="Share of originals for validation."
    )


class BackboneOptions(_Options, frozen=True):
    """The network and how it is trained."""

    panel: ClassVar[str] = "Backbone"

    augmentations: str = Field("seed", description="Augmentation set: seed, email or a YAML file.")
    backbone: BackboneName = Field("resnet18", description="Network architecture.")
    weights: str = Field("none", description="Initial weights: none, imagenet or a file.")
    image_size: int = Field(224, ge=32, le=1024, description="Image size in pixels.")
    epochs: int = Field(10, ge=1, description="Number of epochs.")
    batch_size: int = Field(64, ge=2, description="Batch size, over all processes.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="Peak learning rate; by default 0.1, or 0.02 if all of --weights is trained.",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay.")
    schedule: Schedule = Field(
        "onecycle", description="Learning rate schedule: one cycle, or reduce on plateau."
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="Weights of the classes in the loss; balanced: all together the same."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of each label that is spread over all classes."
    )
    freeze: bool = Field(False, description="Train only the last layer, on top of --weights.")
    freeze_epochs: int = Field(
        0,
        ge=0,
        description="Train only the last layer in so many of the epochs, then all of the network.",
    )
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay of the moving average (EMA) of the weights, such as 0.999; 0: no EMA.",
    )
    progressive: int | None = Field(
        None,
        ge=32,
        multiple_of=SIZE_STEP,
        description="Image size of the first epoch, in pixels; it grows to --image-size over two "
        "thirds of the epochs. By default all epochs have the same size.",
    )
    accumulate: int = Field(
        1, ge=1, description="Micro-batches per batch (gradient accumulation), to save memory."
    )
    compile: bool | Literal["auto"] = Field(
        "auto", description="Use torch.compile; auto: for long runs on a GPU."
    )
    sync_bn: bool = Field(
        False, description="Synchronise batch normalisation over all processes (GPUs only)."
    )
    flip: bool | Literal["auto"] = Field(
        "auto", description="Mirror originals at random; auto: unless an augmentation mirrors."
    )


class HeadOptions(_Options, frozen=True):
    """The heads."""

    panel: ClassVar[str] = "Heads"

    graphs: tuple[GraphPrecision, ...] = Field(
        ("fp32", "int8"),
        description="Comma-separated graphs to make for servers, each with its own heads: fp32, "
        "int8.",
    )
    baselines: bool = Field(
        True, description="Fit baselines for comparison: logistic regression and boosting."
    )


class RunOptions(_Options, frozen=True):
    """The run directory and the machine."""

    panel: ClassVar[str] = "Run"

    out: Path = Field(description="Run directory.")
    cache: Path | None = Field(
        None,
        description="Cache of decoded images and embeddings; runs may share it. By default "
        "OUT/cache.",
    )
    cache_gb: float = Field(
        50,
        gt=0,
        allow_inf_nan=False,
        description="Size limit of the cache in GB; the least recently used entries are evicted.",
    )
    name: str | None = Field(
        None,
        pattern=NAME_PATTERN,
        description="Model name; by default that of the run directory.",
    )
    task: str = Field("recommend", description="Task to train: a module of training/tasks.")
    wandb: str | None = Field(
        None,
        description="Project in Weights & Biases that gets the curves; WANDB_MODE=offline keeps "
        "them in OUT/wandb.",
    )
    seed: int = Field(0, ge=0, description="Random seed.")
    threads: int | None = Field(
        None, ge=1, description="Number of threads; by default the usable cores."
    )
    device: DeviceChoice = Field("auto", description="Device to train on.")
    precision: Precision = Field(
        "auto", description="Precision of training (mixed precision, unless fp32)."
    )


class FitConfig(DataOptions, BackboneOptions, HeadOptions, RunOptions, frozen=True, extra="forbid"):
    """All options of a training run."""

    @classmethod
    def groups(cls) -> tuple[type[_Options], ...]:
        """The groups of options, in the order of --help."""
        return DataOptions, RunOptions, BackboneOptions, HeadOptions

    @model_validator(mode="after")
    def _consistent(self) -> "FitConfig":
        if self.manifest is None and self.images is None:
            raise ValueError("expected manifest (a CSV or Parquet file) or images (a folder)")
        if self.test_share + self.validation_share >= 1:
            raise ValueError("--test-share + --validation-share must leave images to train on")
        if self.progressive is not None and self.progressive > self.image_size:
            raise ValueError(f"--progressive must not exceed --image-size ({self.image_size})")
        if "fp32" not in self.graphs:
            raise ValueError("--graphs must name fp32, which the others are compared with")
        if list(self.graphs) != [each for each in ("fp32", "int8") if each in self.graphs]:
            raise ValueError("--graphs names fp32 first, and each graph once")
        if self.batch_size < 2 * self.accumulate:
            raise ValueError("--batch-size must be at least two per micro-batch of --accumulate")
        return self

    @model_validator(mode="after")
    def _of_this_task(self) -> "FitConfig":
        for name in _of_other_tasks(self.task):
            if getattr(self, name) not in (None, {}, ()):
                raise ValueError(f"{flag_of(name)} is not an option of --task {self.task}")
        return self

    @field_validator("quantiles")
    @classmethod
    def _at_least_two_classes(cls, value: dict[str, int]) -> dict[str, int]:
        for name, classes in value.items():
            if not 2 <= classes <= MAX_QUANTILES:
                raise ValueError(f"expected 2 to {MAX_QUANTILES} classes of {name}, got {classes}")
        return value

    @model_validator(mode="after")
    def _something_to_freeze(self) -> "FitConfig":
        if (self.freeze or self.freeze_epochs) and self.weights == "none":
            raise ValueError("--freeze needs trained weights to start from: give --weights")
        if self.freeze_epochs and (self.freeze or self.freeze_epochs >= self.epochs):
            raise ValueError("--freeze-epochs must be fewer than --epochs, and without --freeze")
        return self

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate, or the default: trained weights must not be shaken up."""
        if self.learning_rate is not None:
            return self.learning_rate
        return LEARNING_RATE if self.weights == "none" or self.freeze else FINE_TUNING_RATE

    def phase(self, epoch: int) -> "FitConfig":
        """Return the options of the phase that an epoch, from 1, belongs to.

        The epochs of ``freeze_epochs`` are a run of their own with ``freeze``, and so are those
        after them without it.
        """
        if not self.freeze_epochs:
            return self
        frozen = epoch <= self.freeze_epochs
        epochs = self.freeze_epochs if frozen else self.epochs - self.freeze_epochs
        changes = {"freeze": frozen, "freeze_epochs": 0, "epochs": epochs}
        return self.model_copy(update=changes | ({"learning_rate": None} if frozen else {}))

    def side(self, epoch: int) -> int:
        """Return the image size of an epoch, from 1: it grows over the first two thirds."""
        if self.progressive is None:
            return self.image_size
        grown = (epoch - 1) / max(1.0, 2 / 3 * self.epochs)
        if grown >= 1:
            return self.image_size  # need not be a multiple of SIZE_STEP
        side = self.progressive + grown * (self.image_size - self.progressive)
        return min(self.image_size, int(side + SIZE_STEP / 2) // SIZE_STEP * SIZE_STEP)

    def decisive(self) -> dict[str, Any]:
        """Return the options that affect the result of the run, as plain data."""
        options = self.model_dump(mode="json", exclude=set(INCIDENTAL))
        return options | {"learning_rate": self.peak_learning_rate}


def _of_other_tasks(task: str) -> tuple[str, ...]:
    """Return the options that a task does not have."""
    return tuple(
        name for owner, names in OPTIONS_OF_TASKS.items() if owner != task for name in names
    )


def with_defaults(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded options with the defaults of options that are newer than the record."""
    fields = FitConfig.model_fields
    return {name: fields[name].default for name in new if name in fields} | dict(old)


def flag_of(name: str) -> str:
    """Return the command line flag of an option: ``--image-size``."""
    field = FitConfig.model_fields.get(name)
    extra = field.json_schema_extra if field else None
    if isinstance(extra, dict) and "flag" in extra:
        return str(extra["flag"])
    return "--" + name.replace("_", "-")


def load_config(file: Path | None, overrides: Mapping[str, Any]) -> FitConfig:
    """Merge the options of a file and of the command line, and validate them.

    Args:
        file: YAML or TOML, or None. Paths in it are relative to the working directory.
        overrides: options of the command line; None means not given.

    Raises:
        DataError: an unknown option (the message suggests one), an invalid value, or a missing
            file.
    """
    content = _read(file) if file is not None else {}
    given = {key: value for key, value in overrides.items() if value is not None}
    options = named_options(content, str(file)) | given
    try:
        return FitConfig.model_validate(options)
    except ValidationError as error:
        fault = first_fault(error)
        name = fault.name.split(".")[0]
        if fault.kind == "missing":
            raise DataError(
                f"{name} is missing", remedy=f"Give it with {flag_of(name)}."
            ) from error
        if not name:
            raise DataError(fault.expected, remedy="See python -m training fit --help.") from error
        raise DataError(
            f"{_as_typed(name, content, given, file)} does not fit",
            expected=fault.expected,
            got=repr(fault.value),
        ) from error


def _as_typed(
    name: str, content: Mapping[str, Any], given: Mapping[str, Any], file: Path | None
) -> str:
    """Return an option as the user typed it: ``--image-size``, or ``image-size in fit.yaml``."""
    typed = {key.replace("-", "_"): key for key in content}
    return f"{typed[name]} in {file}" if name in typed and name not in given else flag_of(name)


def read_options(file: Path | None) -> dict[str, Any]:
    """Read the options of a file; none without a file.

    Raises:
        DataError: the file cannot be read, or has an unknown option.
    """
    return named_options(_read(file), str(file)) if file is not None else {}


def named_options(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Convert options as a user writes them to the fields of FitConfig.

    Args:
        content: options by name; hyphens are accepted, and comma-separated text for lists.
        source: where they come from, for messages.

    Raises:
        DataError: an unknown option (the message suggests one).
    """
    options = {key.replace("-", "_"): value for key, value in content.items()}
    for key in options:
        if key not in FitConfig.model_fields:
            known = [*FitConfig.model_fields]
            raise DataError(f"{source} has an unknown option", expected=one_of(known, key), got=key)
    for key in ("targets", "context", "graphs", "labels", "ranks", "group"):
        if isinstance(options.get(key), str):
            options[key] = split_names(options[key])
    return options


def read_value(name: str, text: str) -> Any:
    """Parse an option's value as YAML.

    Raises:
        DataError: it is not YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(
            f"--set {name} does not fit", expected="a number, a word or a YAML list", got=repr(text)
        ) from error


def split_names(text: str) -> tuple[str, ...]:
    """Split ``a, b`` into ``("a", "b")``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        content = tomllib.loads(text) if file.suffix == ".toml" else yaml.safe_load(text)
    except OSError as error:
        raise DataError(f"{file} cannot be read", got=error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} is neither valid YAML nor valid TOML",
            got=reason(error),
            remedy="Name it .toml if it is TOML.",
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise DataError(f"{file} does not fit", expected="options by name", got=str(content)[:60])
    return {str(key): value for key, value in content.items()}
