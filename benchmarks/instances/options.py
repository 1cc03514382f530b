"""The options of ``python -m benchmarks instances``, and what each set of them decides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from augrank.cli.options import pairs
from augrank.contracts.manifest import IMAGE_SUFFIXES
from augrank.errors import BadRequest
from augrank.reporting import Step
from benchmarks.instances.catalogue import PRICES, InstanceType, chosen_types, prices
from benchmarks.instances.figures import Place
from benchmarks.instances.ledger import Work

CATALOGUE = Path(__file__).parents[2] / "examples" / "catalogue" / "images"
# Without data of the user's own: rendered ones, small in a quick run.
QUICK_IMAGES, FULL_IMAGES = 100, 1000
QUICK_OPTIONS = {"image_size": 64, "epochs": 2}
FULL_OPTIONS = {"image_size": 224, "epochs": 3, "backbone": "resnet34"}
MOST_IMAGES = 20  # that endpoints are asked about


@dataclass(frozen=True)
class WorkOptions:
    """What is measured, wherever."""

    training: Annotated[bool, typer.Option("--training", help="Train on each.")] = False
    serving: Annotated[bool, typer.Option("--serving", help="Serve on each.")] = False
    quick: Annotated[bool, typer.Option("--quick", help="Five minutes here; rough.")] = False
    options: Annotated[
        list[str] | None, typer.Option("--set", help="An option of fit: epochs=3. Repeatable.")
    ] = None
    dist: Annotated[
        Path | None, typer.Option(help="What to serve: `export build --sagemaker`'s folder.")
    ] = None
    out: Annotated[
        Path, typer.Option(help="Table, plots, and what a second call goes on with.")
    ] = Path("build/bench/instances")
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost.")] = False

    def works(self) -> list[Work]:
        """Training, serving or both.

        Raises:
            BadRequest: neither.
        """
        works: list[Work] = []
        if self.training:
            works.append("training")
        if self.serving:
            works.append("serving")
        if not works:
            raise BadRequest("there is nothing to do", expected="--training, --serving or both")
        return works

    def of_fit(self, *, own_data: bool) -> dict[str, Any]:
        """The options of fit that every type trains with.

        Raises:
            BadRequest, DataError: one does not fit: refused here, before anything is paid for.
        """
        from training.config import load_config, named_options, read_value

        rendered = QUICK_OPTIONS if self.quick else FULL_OPTIONS
        read = {n: read_value(n, value) for n, value in pairs(self.options, "--set").items()}
        options = {**({} if own_data else rendered), **named_options(read, "--set")}
        load_config(None, {**options, "out": Path(), "images": Path()})
        return options


@dataclass(frozen=True)
class HereOptions:
    """This machine."""

    local: Annotated[bool, typer.Option("--local", help="This machine: 1 to N cores, GPU.")] = False
    manifest: Annotated[
        Path | None, typer.Option(help="--local: what to train on (default: rendered).")
    ] = None
    images: Annotated[Path | None, typer.Option(help="--local: folder of its images.")] = None
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="--local: of this machine.")
    ] = None

    @property
    def data(self) -> Path | None:
        """What to train on, if the user has any."""
        return self.manifest

    def kinds(self) -> tuple[list[InstanceType], dict[str, float]]:
        """Counts of cores as instance types, and their prices."""
        from benchmarks.instances.local import gpu_name, local_types

        kinds, price = local_types(gpu_name()), self.price_per_hour
        return kinds, {} if price is None else {kind.name: price for kind in kinds}

    def check(self, works: list[Work], work: WorkOptions) -> None:
        """Nothing more is needed here."""

    def place(self, work: WorkOptions, given: dict[str, Any], mark: str, step: Step) -> Place:
        """Where the types are tried, with data to train on."""
        from benchmarks.instances.figures import FULL_LOAD, QUICK_LOAD
        from benchmarks.instances.local import Here, Workload

        table, folder = self._images(work.out / "data", work.quick, step)
        load = QUICK_LOAD if work.quick else FULL_LOAD
        return Here(Workload(table, folder, given, work.dist, work.out / "here"), load)

    def _images(self, scratch: Path, quick: bool, step: Step) -> tuple[Path, Path]:
        """The user's manifest and images, or rendered ones with a simulated history."""
        if self.manifest is not None:
            return self.manifest, self.images or self.manifest.parent
        history = scratch / "history.csv"
        if not history.is_file():
            from augrank.images.augmentations import augmentation_set
            from simulation.engagement import SimulationOptions
            from simulation.render import render_catalogue
            from training.data.manifest.read import read_table
            from training.data.simulated_history import write_history

            count = QUICK_IMAGES if quick else FULL_IMAGES
            step(f"rendering {count} images")
            made = render_catalogue("sneaker", count, scratch)
            names = augmentation_set("seed").names
            write_history(
                read_table(made.manifest, {}), scratch, history, names, SimulationOptions(sends=2)
            )
        return history, scratch


@dataclass(frozen=True)
class AwsOptions:
    """Instance types of AWS."""

    types: Annotated[
        str, typer.Option(help="Comma-separated types or families (ml.c5), or all.")
    ] = ""
    data: Annotated[str, typer.Option(help="On AWS: s3://BUCKET/FOLDER to train on.")] = ""
    request_images: Annotated[Path, typer.Option(help="Images that endpoints are asked about.")] = (
        CATALOGUE
    )
    max_usd: Annotated[float, typer.Option(min=0, help="Nothing is started beyond it.")] = 10.0
    max_hours: Annotated[float, typer.Option(min=0.1, help="Limit of one training job.")] = 6.0
    prices: Annotated[Path, typer.Option(help="CSV: type,usd_per_hour.")] = PRICES
    role: Annotated[
        str, typer.Option(envvar="SAGEMAKER_ROLE", help="ARN that containers run under.")
    ] = ""
    bucket: Annotated[str | None, typer.Option(help="(default: sagemaker-REGION-ACCOUNT)")] = None
    image: Annotated[str, typer.Option(help="Of endpoints; `aws` for AWS's own.")] = "aws"
    training_image: Annotated[str, typer.Option(help="Of jobs; `aws` for AWS's own.")] = "aws"
    region: Annotated[str | None, typer.Option(help="AWS region.")] = None
    profile: Annotated[str | None, typer.Option(help="Profile of ~/.aws/config.")] = None

    def kinds(self) -> tuple[list[InstanceType], dict[str, float]]:
        """The chosen instance types, and prices."""
        return chosen_types(self.types), prices(self.prices)

    def check(self, works: list[Work], work: WorkOptions) -> None:
        """Refuse what would fail only after something was paid for.

        Raises:
            BadRequest: something is missing, or a type has no price.
        """
        needed: list[tuple[str, str, object]] = [
            ("--role", "an ARN, here or in SAGEMAKER_ROLE", self.role)
        ]
        if "training" in works:
            needed.append(("--data", "s3://BUCKET/FOLDER: manifest and images", self.data))
        if "serving" in works:
            what = "what `python -m export build --sagemaker` wrote"
            needed.append(("--dist", what, work.dist))
        for flag, what, value in needed:
            if not value:
                raise BadRequest(f"{flag} is missing", expected=what)
        kinds, usd = self.kinds()
        if unpriced := [kind.name for kind in kinds if kind.name not in usd]:
            raise BadRequest(
                f"{self.prices} has no price of {', '.join(unpriced)}",
                remedy="Add it, so that --max-usd holds; see python -m benchmarks prices.",
            )
        if "serving" in works and not self._asked:
            raise BadRequest(
                "there are no images", expected="PNG or JPEG files", got=str(self.request_images)
            )

    def place(self, work: WorkOptions, given: dict[str, Any], mark: str, step: Step) -> Place:
        """Where the types are tried."""
        from augrank.aws.client import Aws
        from benchmarks.instances.aws import Account, Job, OnAws
        from benchmarks.instances.figures import FULL_LOAD, QUICK_LOAD

        aws = Aws(self.region, self.profile)
        bucket = self.bucket or aws.default_bucket
        return OnAws(
            aws,
            Account(self.role, bucket, self.image, self.training_image),
            mark,
            QUICK_LOAD if work.quick else FULL_LOAD,
            job=Job(self.data, given, self.max_hours) if self.data else None,
            dist=work.dist,
            images=self._asked,
        )

    @property
    def _asked(self) -> list[Path]:
        files = sorted(self.request_images.glob("*"))
        return [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES][:MOST_IMAGES]
