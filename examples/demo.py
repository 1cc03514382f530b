"""The demo: the main workflow from end to end, with the example catalogue.

    python -m examples.demo            (or: make demo)

It simulates a campaign history, trains ResNet-18 and the heads, exports, serves the archive with
TorchServe, posts a held-out image and prints the ranked answer. Results are written to build/demo;
valid ones are reused.
"""

import csv
import time
from pathlib import Path
from typing import Annotated

import typer

from augrank.cli.command import friendly_errors
from augrank.cli.recommend import print_answer
from augrank.serving.server import Server, ServerOptions, serve
from augrank.serving.torchserve import loopback_client
from augrank.tasks.recommend.contact_sheet import contact_sheet
from augrank.tasks.recommend.response import Answer
from examples.steps import ROOT, console, export, run_module, shown, step

CATALOGUE = ROOT / "examples" / "catalogue"
NAME, TARGET = "food", "open_rate"
TARGETS = (TARGET, "click_through", "conversion_rate", "unsubscribe_rate")
CONTEXT = {"campaign_type": "Newsletter", "industry": "Retail"}


@friendly_errors
def demo(
    out: Annotated[Path, typer.Option(help="Output folder.")] = ROOT / "build" / "demo",
    epochs: Annotated[int, typer.Option(help="Number of epochs; more are slower and better.")] = 20,
    image_size: Annotated[int, typer.Option(help="Image size in pixels.")] = 64,
) -> None:
    """Train, export, serve and request a recommendation."""
    out.mkdir(parents=True, exist_ok=True)
    history, run, dist = out / "history.csv", out / "run", out / "dist"
    step("1/4 simulating a history: brighter or rotated images convert at 80 %, others at 20 %")
    source = ["--manifest", CATALOGUE / "manifest.csv", "--out", history]
    run_module("training", "simulate", *source, "--sends", 4)
    step("2/4 training ResNet-18 and an XGBoost head for each of four targets")
    data = ["--manifest", history, "--images", CATALOGUE, "--out", run, "--name", NAME]
    data += ["--targets", ",".join(TARGETS)]
    run_module("training", "fit", *data, "--epochs", epochs, "--image-size", image_size)
    archive = export(run, dist, NAME, "3/4 exporting, through the parity gate")
    image, product_type = _held_out(run)
    step(f"4/4 serving {shown(archive)} on TorchServe and sending {image.name}")
    with serve(archive, ServerOptions(port=0)) as server:
        answer = _ask(server, image, product_type)
    _show(answer, image, server, out)


def _held_out(run: Path) -> tuple[Path, str]:
    """Return the first image of the test split, which training never saw, and its product type."""
    with (run / "catalogue.csv").open(encoding="utf-8", newline="") as stream:
        row = next(row for row in csv.DictReader(stream) if row["split"] == "test")
    return CATALOGUE / row["relative_im_path"], row["product_type"]


def _ask(server: Server, image: Path, product_type: str) -> Answer:
    """Post the image as a form, as any client would."""
    fields = {**CONTEXT, "product_type": product_type, "target": TARGET, "thumbnails": "true"}
    started = time.perf_counter()
    with loopback_client(headers=server.headers, timeout=60) as client:
        response = client.post(server.url, data=fields, files={"image": image.read_bytes()})
    response.raise_for_status()
    milliseconds = (time.perf_counter() - started) * 1e3
    console.print(f"[dim]answered in {milliseconds:.0f} ms[/dim]\n")
    return Answer.model_validate_json(response.content)


def _show(answer: Answer, image: Path, server: Server, out: Path) -> None:
    print_answer(answer)
    (out / "recommendation.json").write_text(answer.model_dump_json(indent=2) + "\n")
    sheet = contact_sheet(answer, image.read_bytes(), server.spec.augmentations)
    sheet.save(out / "contact_sheet.png")
    for name in ("recommendation.json", "contact_sheet.png", "run/report.json", "run/plots"):
        console.print(f"see {shown(out / name)}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(demo)
