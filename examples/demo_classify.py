"""The demo of the task ``classify``: a day of review photos is inspected.

    python -m examples.demo_classify            (or: make demo-classify)

It renders photos of reviews, trains heads on EfficientNet-Lite0's ImageNet features, exports with
rules for credit, and inspects another day's photos of people whom training never saw: decisions as
Parquet, a contact sheet, and how many decisions were right. Results are written to
build/demo-classify; valid ones are reused.
"""

import csv
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import typer

from augrank.cli.command import friendly_errors
from examples.steps import ROOT, console, export, run_module, shown, step

RULES = ROOT / "examples" / "reviews" / "rules.yaml"
NAME, STYLE, PRODUCT = "reviews", "Style Review", "Product Review"
CREDIT = {STYLE: "full-length", PRODUCT: "product"}  # as in the rules
DAY_SEED = 1  # the photos of training have seed 0: other people, other rooms
SHEET_IMAGES = 24


@friendly_errors
def demo(
    out: Annotated[Path, typer.Option(help="Output folder.")] = ROOT / "build" / "demo-classify",
    photos: Annotated[int, typer.Option(help="Number of photos to train and test with.")] = 4000,
    day: Annotated[int, typer.Option(help="Number of photos of the day.")] = 600,
    image_size: Annotated[int, typer.Option(help="Image size in pixels.")] = 224,
) -> None:
    """Render, train, export with rules, and inspect a day of photos."""
    out.mkdir(parents=True, exist_ok=True)
    labelled, run, dist = out / "photos", out / "run", out / "dist"
    step(f"1/4 rendering {photos:,} labelled photos, and {day:,} of another day")
    size = ("--size", image_size)
    run_module(
        "training", "render", "--kind", "review", "--count", photos, "--out", labelled, *size
    )
    today = ("--count", day, "--seed", DAY_SEED, "--out", out / "day")
    run_module("training", "render", "--kind", "review", *today, *size)
    step("2/4 training heads on the features of EfficientNet-Lite0, which knows ImageNet")
    data = ("--manifest", labelled / "manifest.csv", "--out", run, "--name", NAME)
    network = ("--backbone", "efficientnet_lite0", "--weights", "imagenet", "--freeze")
    length = ("--epochs", 1, "--image-size", image_size, "--validation-share", 0.5)
    task = ("--task", "classify", "--labels", "kind")
    run_module("training", "fit", *task, *data, *network, *length)
    export(run, dist, NAME, "3/4 exporting with rules, through the parity gate", "--rules", RULES)
    step("4/4 inspecting the day")
    manifest, answers = _day_manifest(out / "day"), out / "inspected.parquet"
    run_module("augrank", "score", dist / "bundle", manifest, "--out", answers)
    sheet = ("--contact-sheet", out / "contact_sheet.png")
    some = _first_style_photos(out / "day", manifest)
    run_module("augrank", "classify", dist / "bundle", some, "--review-kind", STYLE, *sheet)
    _summarize(out / "day", answers)
    for name in ("inspected.parquet", "contact_sheet.png", "run/report.json", "dist/bundle"):
        console.print(f"see {shown(out / name)}", soft_wrap=True)


def _day_manifest(day: Path) -> Path:
    """Write the day's manifest: every other photo came with a style review."""
    manifest = day / "reviews.csv"
    with manifest.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["relative_im_path", "review_kind"])
        for number, row in enumerate(_truth(day)):
            writer.writerow([row["relative_im_path"], PRODUCT if number % 2 else STYLE])
    return manifest


def _first_style_photos(day: Path, manifest: Path) -> Path:
    """Link the first photos of style reviews into a folder of their own."""
    folder = day / "style_reviews"
    folder.mkdir(exist_ok=True)
    with manifest.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["review_kind"] == STYLE]
    for row in rows[:SHEET_IMAGES]:
        link = folder / Path(row["relative_im_path"]).name
        if not link.exists():
            link.hardlink_to(day / row["relative_im_path"])
    return folder


def _truth(day: Path) -> list[dict[str, str]]:
    with (day / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _summarize(day: Path, answers: Path) -> None:
    """Compare the decisions with what the photos really show."""
    truth = {row["relative_im_path"]: row["kind"] for row in _truth(day)}
    rows = pq.read_table(answers).to_pylist()
    decided = [row for row in rows if row["decision"] in ("accept", "reject")]
    right = [
        (truth[row["relative_im_path"]] == CREDIT[row["review_kind"]])
        == (row["decision"] == "accept")
        for row in decided
    ]
    told = sum(row["kind"] == truth[row["relative_im_path"]] for row in rows)
    console.print(
        f"\n{told / len(rows):.1%} of {len(rows):,} photos are of the class that was told. "
        f"{len(decided) / len(rows):.1%} were decided without a person, "
        f"{sum(right) / max(len(right), 1):.1%} of these rightly."
    )


if __name__ == "__main__":
    typer.run(demo)
