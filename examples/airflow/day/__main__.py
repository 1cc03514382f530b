"""``python -m examples.airflow.day collect|decide|publish``: the steps around transform."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from augrank.cli.command import friendly_errors
from augrank.cli.options import spread
from examples.airflow.day.collect import collect as collect_images
from examples.airflow.day.decide import decide as decide_images
from examples.airflow.day.folders import Day
from examples.airflow.day.publish import publish as publish_decisions
from export.sagemaker.options import AccountOptions

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()


@dataclass(frozen=True)
class DayOptions:
    """The day, and where it is."""

    photos: Annotated[str, typer.Option(help="s3://BUCKET/FOLDER of the images of all days.")]
    reviews: Annotated[str, typer.Option(help="s3://BUCKET/FOLDER of what is made of them.")]
    dt: Annotated[str, typer.Option(help="The day, YYYY-MM-DD.")]

    @property
    def day(self) -> Day:
        """The folders."""
        return Day.of(self.photos, self.reviews, self.dt)


@app.command()
@friendly_errors
@spread
def collect(
    options: DayOptions,
    account: AccountOptions,
    review_kind: Annotated[
        str | None, typer.Option(help="Of images that reviews.csv does not name.")
    ] = None,
) -> None:
    """List the day's images once; a second call finds the list."""
    made, existed = collect_images(account.aws(), options.day, review_kind)
    size = sum(image.size_bytes for image in made.images) / 2**20
    note = ", as collected before" if existed else ""
    _say(f"{made.dt}: {made.count} images, {size:.1f} MB{note}")


@app.command()
@friendly_errors
@spread
def decide(
    options: DayOptions,
    account: AccountOptions,
    bundle: Annotated[Path, typer.Option(help="The bundle that answered.")],
    max_errors: Annotated[
        float, typer.Option(min=0, max=1, help="Share of images that may have no decision.")
    ] = 0.2,
) -> None:
    """Apply the bundle's rules to the answers: a row for each image that was collected."""
    opened = load_bundle(bundle, ClassifySpec)
    counts = decide_images(account.aws(), options.day, opened, max_errors)
    _say(f"{options.dt}: {_listed(counts)}")


@app.command()
@friendly_errors
@spread
def publish(options: DayOptions, account: AccountOptions) -> None:
    """Verify the decisions and put them in place, with _SUCCESS."""
    day = options.day
    marker, written = publish_decisions(account.aws(), day)
    verb = "wrote" if written else "unchanged:"
    _say(f"{verb} {day.decisions.url}: {marker['rows']} rows, {_listed(marker['decisions'])}")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _say(text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)


if __name__ == "__main__":
    app(prog_name="python -m examples.airflow.day")
