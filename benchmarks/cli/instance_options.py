"""The options of ``python -m benchmarks instances``, in sets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from augrank.cli.options import pairs
from augrank.errors import BadRequest
from augrank.images.files import IMAGE_SUFFIXES
from augrank.reporting import ShowStatus
from benchmarks.instances.catalogue import PRICES, InstanceType, chosen_types, prices
from benchmarks.instances.figures import Platform
from benchmarks.instances.ledger import Work

CATALOGUE = Path(__file__).parents[2] / "examples" / "catalogue" / "images"
# Used if the user gives no data: rendered images, small ones in a quick run.
QUICK_IMAGES, FULL_IMAGES = 100, 1000
RENDERED_LABELS = ("kind",)  # of rendered review photos, for a classifier
QUICK_OPTIONS = {"image_size": 64, "epochs": 2}
FULL_OPTIONS = {"image_size": 224, "epochs": 3, "backbone": "resnet34"}
MAX_REQUEST_IMAGES = 20  # for requests to endpoints


@dataclass(frozen=True)
class WorkOptions:
    """Options of the measurements."""

    training: Annotated[bool, typer.Option("--training", help="Measure training.")] = False
    serving: Annotated[bool, typer.Option("--serving", help="Measure serving.")] = False
    quick: Annotated[
        bool, typer.Option("--quick", help="Finish in five minutes, with rough figures.")
    ] = False
    options: Annotated[
        list[str] | None, typer.Option("--set", help="Option of fit, such as epochs=3. Repeatable.")
    ] = None
    dist: Annotated[
        Path | None, typer.Option(help="Export to serve, written by `export build --sagemaker`.")
    ] = None
    out: Annotated[Path, typer.Option(help="Directory of results, plots and the ledger.")] = Path(
        "build/bench/instances"
    )
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost.")] = False

    def works(self) -> list[Work]:
        """Return training, serving or both.

        Raises:
            BadRequest: neither is selected.
        """
        works: list[Work] = []
        if self.training:
            works.append("training")
        if self.serving:
            works.append("serving")
        if not works:
            raise BadRequest("there is nothing to do", expected="--training, --serving or both")
        return works

    def fit_options(self, *, own_data: bool) -> dict[str, Any]:
        """Return the options of fit for every type.

        Raises:
            BadRequest, DataError: an option is invalid; checked before anything costs money.
        """
        from training.config import load_config, named_options, read_value

        rendered: dict[str, Any] = dict(QUICK_OPTIONS if self.quick else FULL_OPTIONS)
        read = {n: read_value(n, value) for n, value in pairs(self.options, "--set").items()}
        if read.get("task") == "classify":
            rendered["labels"] = RENDERED_LABELS
        options = {**({} if own_data else rendered), **named_options(read, "--set")}
        load_config(None, {**options, "out": Path(), "images": Path()})
        return options


@dataclass(frozen=True)
class LocalOptions:
    """Options of a benchmark of this machine."""

    local: Annotated[
        bool, typer.Option("--local", help="Measure this machine: 1 to N cores, and its GPU.")
    ] = False
    manifest: Annotated[
        Path | None, typer.Option(help="--local: manifest to train on (default: rendered images).")
    ] = None
    images: Annotated[Path | None, typer.Option(help="--local: image folder of the manifest.")] = (
        None
    )
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="--local: price of this machine in USD.")
    ] = None

    @property
    def data(self) -> Path | None:
        """The user's own training data, if any."""
        return self.manifest

    def kinds(self) -> tuple[list[InstanceType], dict[str, float]]:
        """Return numbers of cores as instance types, and their prices."""
        from benchmarks.instances.local import gpu_name, local_types

        kinds, price = local_types(gpu_name()), self.price_per_hour
        return kinds, {} if price is None else {kind.name: price for kind in kinds}

    def check(self, works: list[Work], work: WorkOptions) -> None:
        """Accept everything: a local benchmark needs no further options."""

    def platform(
        self, work: WorkOptions, given: dict[str, Any], mark: str, step: ShowStatus
    ) -> Platform:
        """Return the local platform, with data to train on."""
        from benchmarks.instances.figures import FULL_LOAD, QUICK_LOAD
        from benchmarks.instances.local import LocalPlatform, Workload

        rendered = self._photos if given.get("task") == "classify" else self._catalogue
        if self.manifest is not None:
            table, folder = self.manifest, self.images or self.manifest.parent
        else:
            count = QUICK_IMAGES if work.quick else FULL_IMAGES
            table, folder = rendered(count, work.out / "data", step)
        load = QUICK_LOAD if work.quick else FULL_LOAD
        return LocalPlatform(Workload(table, folder, given, work.dist, work.out / "here"), load)

    @staticmethod
    def _catalogue(count: int, scratch: Path, step: ShowStatus) -> tuple[Path, Path]:
        """Return a rendered catalogue with a simulated history, and its folder."""
        history = scratch / "history.csv"
        if not history.is_file():
            from augrank.images.augmentations import augmentation_set
            from augrank.manifest.read import read_table
            from simulation.engagement import SimulationOptions
            from simulation.render import render_catalogue
            from training.data.simulated_history import write_history

            step(f"rendering {count} images")
            made = render_catalogue("sneaker", count, scratch)
            names = augmentation_set("seed").names
            write_history(
                read_table(made.manifest, {}), scratch, history, names, SimulationOptions(sends=2)
            )
        return history, scratch

    @staticmethod
    def _photos(count: int, scratch: Path, step: ShowStatus) -> tuple[Path, Path]:
        """Return the manifest of rendered review photos, and its folder."""
        from simulation.render import render_catalogue

        step(f"rendering {count} photos")
        folder = scratch / "review"
        return render_catalogue("review", count, folder).manifest, folder


@dataclass(frozen=True)
class AwsOptions:
    """Options of a benchmark of AWS instance types."""

    types: Annotated[
        str, typer.Option(help="Comma-separated types or families (ml.c5), or all.")
    ] = ""
    data: Annotated[str, typer.Option(help="S3 folder of training data: s3://BUCKET/FOLDER.")] = ""
    request_images: Annotated[Path, typer.Option(help="Image folder for the requests.")] = CATALOGUE
    max_usd: Annotated[float, typer.Option(min=0, help="Spending limit in USD.")] = 10.0
    max_hours: Annotated[float, typer.Option(min=0.1, help="Time limit of one training job.")] = 6.0
    prices: Annotated[Path, typer.Option(help="Price list, CSV: type,usd_per_hour.")] = PRICES
    role: Annotated[
        str,
        typer.Option(envvar="SAGEMAKER_ROLE", help="ARN of the role that containers run under."),
    ] = ""
    bucket: Annotated[
        str | None, typer.Option(help="S3 bucket (default: sagemaker-REGION-ACCOUNT).")
    ] = None
    image: Annotated[str, typer.Option(help="Container image of endpoints, or `aws`.")] = "aws"
    training_image: Annotated[
        str, typer.Option(help="Container image of training jobs, or `aws`.")
    ] = "aws"
    region: Annotated[str | None, typer.Option(help="AWS region.")] = None
    profile: Annotated[str | None, typer.Option(help="Profile of ~/.aws/config.")] = None

    def kinds(self) -> tuple[list[InstanceType], dict[str, float]]:
        """Return the chosen instance types, and prices."""
        return chosen_types(self.types), prices(self.prices)

    def check(self, works: list[Work], work: WorkOptions) -> None:
        """Check in advance what would otherwise fail only after costing money.

        Raises:
            BadRequest: an option is missing, or a type has no price.
        """
        needed: list[tuple[str, str, object]] = [
            ("--role", "an ARN, here or in SAGEMAKER_ROLE", self.role)
        ]
        if "training" in works:
            needed.append(("--data", "s3://BUCKET/FOLDER: manifest and images", self.data))
        if "serving" in works:
            wrote = "what `python -m export build --sagemaker` wrote"
            needed.append(("--dist", wrote, work.dist))
        for flag, description, value in needed:
            if not value:
                raise BadRequest(f"{flag} is missing", expected=description)
        kinds, usd = self.kinds()
        if unpriced := [kind.name for kind in kinds if kind.name not in usd]:
            raise BadRequest(
                f"{self.prices} has no price for {', '.join(unpriced)}",
                remedy="Add it, so that --max-usd can apply; see python -m benchmarks prices.",
            )
        if "serving" in works and not self._request_images:
            raise BadRequest(
                "there are no images", expected="PNG or JPEG files", got=str(self.request_images)
            )

    def platform(
        self, work: WorkOptions, given: dict[str, Any], mark: str, step: ShowStatus
    ) -> Platform:
        """Return the platform: SageMaker."""
        from augrank.aws.client import Aws
        from benchmarks.instances.aws import Account, AwsWorkload, Job, SageMakerPlatform
        from benchmarks.instances.figures import FULL_LOAD, QUICK_LOAD

        aws = Aws(self.region, self.profile)
        bucket = self.bucket or aws.default_bucket
        return SageMakerPlatform(
            aws,
            Account(self.role, bucket, self.image, self.training_image),
            mark,
            AwsWorkload(
                load=QUICK_LOAD if work.quick else FULL_LOAD,
                job=Job(self.data, given, self.max_hours) if self.data else None,
                dist=work.dist,
                images=self._request_images,
            ),
        )

    @property
    def _request_images(self) -> list[Path]:
        files = sorted(self.request_images.glob("*"))
        return [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES][:MAX_REQUEST_IMAGES]
