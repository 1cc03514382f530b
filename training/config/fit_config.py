"""All options of a run together, and the rules between them."""

from typing import Any

from pydantic import field_validator, model_validator

from training.config.options import (
    SIZE_STEP,
    BackboneOptions,
    DataOptions,
    HeadOptions,
    Options,
    RunOptions,
)

MAX_QUANTILES = 100  # classes
LEARNING_RATE, FINE_TUNING_RATE = 0.1, 0.02  # defaults, at the peak
# Options that do not affect the result of a run: they may differ when it is resumed.
INCIDENTAL = (
    "out", "manifest", "images", "threads", "name", "cache", "cache_gb", "compile", "wandb",
)  # fmt: skip
OPTIONS_OF_TASKS = {
    "recommend": ("targets", "directions", "context", "context_types"),
    "classify": ("labels", "group", "quantiles", "ranks", "rank_within"),
}


class FitConfig(DataOptions, BackboneOptions, HeadOptions, RunOptions, frozen=True, extra="forbid"):
    """All options of a training run."""

    @classmethod
    def groups(cls) -> tuple[type[Options], ...]:
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

    @model_validator(mode="after")
    def _something_to_rank(self) -> "FitConfig":
        if self.rank_within is not None and not self.ranks:
            raise ValueError("--rank-within says whose images --ranks compares: give --ranks")
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


def flag_of(name: str) -> str:
    """Return the command line flag of an option: ``--image-size``."""
    field = FitConfig.model_fields.get(name)
    extra = field.json_schema_extra if field else None
    if isinstance(extra, dict) and "flag" in extra:
        return str(extra["flag"])
    return "--" + name.replace("_", "-")
