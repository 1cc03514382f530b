"""The demo: the main workflow from end to end, with the example catalogue.

    python -m examples.demo            (or: make demo)

It simulates a campaign history, trains ResNet-18 and the heads, exports, serves the archive with
TorchServe, posts a held-out image and prints the ranked answer. Results are written to build/demo;
valid ones are reused.
"""

import csv
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from augrank.bundle.load import sha256_of
from augrank.cli.command import friendly_errors
from augrank.cli.recommend import print_answer
from augrank.serving.server import Server, ServerOptions, serve
from augrank.serving.torchserve import loopback_client
from augrank.tasks.recommend.contact_sheet import contact_sheet
from augrank.tasks.recommend.response import Answer

ROOT = Path(__file__).parents[1]
CATALOGUE = ROOT / "examples" / "catalogue"
NAME, TARGET = "food", "open_rate"
CONTEXT = {"campaign_type": "Newsletter", "industry": "Retail"}
console = Console()


@friendly_errors
def demo(
    out: Annotated[Path, typer.Option(help="Output folder.")] = ROOT / "build" / "demo",
    epochs: Annotated[int, typer.Option(help="Number of epochs; more are slower and better.")] = 20,
    image_size: Annotated[int, typer.Option(help="Image size in pixels.")] = 64,
) -> None:
    """Train, export, serve and request a recommendation."""
    out.mkdir(parents=True, exist_ok=True)
    history, run, dist = out / "history.csv", out / "run", out / "dist"
    _step("1/4 simulating a history: brighter or rotated images convert at 80 %, others at 20 %")
    source = ["--manifest", CATALOGUE / "manifest.csv", "--out", history]
    _python("training", "simulate", *source, "--sends", 4)
    _step("2/4 training ResNet-18 and an XGBoost head for each target")
    data = ["--manifest", history, "--images", CATALOGUE, "--out", run, "--name", NAME]
    _python("training", "fit", *data, "--epochs", epochs, "--image-size", image_size)
    archive = dist / f"{NAME}.mar"
    if _exported(run, archive, out / "exported.json"):
        _step(f"3/4 {_shown(archive)} is up to date: reusing it")
    else:
        _step("3/4 exporting, through the parity gate")
        _python("export", "build", run, "--out", dist, "--name", NAME)
        _remember(run, archive, out / "exported.json")
    image, product_type = _held_out(run)
    _step(f"4/4 serving {_shown(archive)} on TorchServe and sending {image.name}")
    with serve(archive, ServerOptions(port=0)) as server:
        answer = _ask(server, image, product_type)
    _show(answer, image, server, out)


def _python(module: str, *arguments: object) -> None:
    """Run a command of this project in a subprocess, as a user would."""
    command = [sys.executable, "-m", module, *(str(argument) for argument in arguments)]
    console.print(f"[dim]$ python -m {' '.join(_shown(a) for a in command[2:])}[/dim]")
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)


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
        console.print(f"see {_shown(out / name)}", soft_wrap=True)


def _exported(run: Path, archive: Path, stamp: Path) -> bool:
    """Return whether the archive is complete and was exported from this run by this code."""
    try:
        before = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return archive.is_file() and bool(before == _stamp(run, archive))


def _remember(run: Path, archive: Path, stamp: Path) -> None:
    stamp.write_text(json.dumps(_stamp(run, archive)), encoding="utf-8")


def _stamp(run: Path, archive: Path) -> dict[str, str]:
    """Return the hashes of an export's inputs, and of its result."""
    code = hashlib.sha256()
    for folder in ("augrank", "handlers", "export"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            code.update(file.read_bytes())
    return {
        "run": sha256_of(run / "run.json"),
        "code": code.hexdigest(),
        "archive": sha256_of(archive),
    }


def _shown(path: object) -> str:
    """Format a path relative to the project's root."""
    return str(path).replace(f"{ROOT}/", "")


def _step(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]", soft_wrap=True)


if __name__ == "__main__":
    typer.run(demo)
