"""The groups of options: type, default, limits and help text of each."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from augrank.contracts.run import BackboneName
from augrank.contracts.validation import NAME_PATTERN
from augrank.models.targets import Direction

Schedule = Literal["onecycle", "plateau"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
GraphPrecision = Literal["fp32", "int8"]
SIZE_STEP = 16  # pixels; progressive sizes are multiples of it, which limits their number


class Options(BaseModel, frozen=True, extra="forbid"):
    """A group of options; ``panel`` is its title in --help."""

    panel: ClassVar[str]


class DataOptions(Options, frozen=True):
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


class BackboneOptions(Options, frozen=True):
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


class HeadOptions(Options, frozen=True):
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


class RunOptions(Options, frozen=True):
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
