"""The main job from end to end, as a user would do it, with the example catalogue.

    python -m examples.demo            (or: make demo)

Simulates a campaign history, trains ResNet-18 and the heads, exports, serves the archive on the
real TorchServe, posts a held-out image and shows the ranked answer. Everything goes to
build/demo; what is still valid there is used again.
"""

import csv
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from augrank.bundle.load import sha256_of
from augrank.cli.app import print_answer
from augrank.cli.command import friendly_errors
from augrank.serving.server import Server, ServerOptions, serve
from augrank.tasks.recommend.contact_sheet import contact_sheet
from augrank.tasks.recommend.response import Answer

ROOT = Path(__file__).parents[1]
CATALOGUE = ROOT / "examples" / "catalogue"
NAME, TARGET = "food", "open_rate"
CONTEXT = {"campaign_type": "Newsletter", "industry": "Retail"}
console = Console()


@friendly_errors
def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = ROOT / "build" / "demo",
    epochs: Annotated[int, typer.Option(help="More are slower and better.")] = 20,
    image_size: Annotated[int, typer.Option(help="Pixels.")] = 64,
) -> None:
    """Train, export, serve and ask for a recommendation."""
    out.mkdir(parents=True, exist_ok=True)
    history, run, dist = out / "history.csv", out / "run", out / "dist"
    _step("1/4 a campaign history: 80 % convert where brighter or rotated, 20 % elsewhere")
    _python("training", "simulate", "--manifest", CATALOGUE / "manifest.csv", "--sends", 4,
            "--out", history)  # fmt: skip
    _step("2/4 training ResNet-18 and one XGBoost head a target")
    _python("training", "fit", "--manifest", history, "--images", CATALOGUE, "--out", run,
            "--name", NAME, "--epochs", epochs, "--image-size", image_size)  # fmt: skip
    archive = dist / f"{NAME}.mar"
    if _exported(run, archive, out / "exported.json"):
        _step(f"3/4 {_shown(archive)} is of this run and this code: used again")
    else:
        _step("3/4 exporting, through the parity gate")
        _python("export", "build", run, "--out", dist, "--name", NAME)
        _remember(run, archive, out / "exported.json")
    image, product_type = _held_out(run)
    _step(f"4/4 serving {_shown(archive)} on TorchServe and asking about {image.name}")
    with serve(archive, ServerOptions(port=0)) as server:
        answer = _ask(server, image, product_type)
    _show(answer, image, server, out)


def _python(module: str, *arguments: object) -> None:
    """Run a command of this project as a user would, in a process of its own."""
    command = [sys.executable, "-m", module, *(str(argument) for argument in arguments)]
    console.print(f"[dim]$ python -m {' '.join(_shown(a) for a in command[2:])}[/dim]")
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)


def _held_out(run: Path) -> tuple[Path, str]:
    """The first image of the test split, which training never saw, and its product type."""
    with (run / "catalogue.csv").open(encoding="utf-8", newline="") as stream:
        row = next(row for row in csv.DictReader(stream) if row["split"] == "test")
    return CATALOGUE / row["relative_im_path"], row["product_type"]


def _ask(server: Server, image: Path, product_type: str) -> Answer:
    """Post the image as a form, as any client could."""
    fields = {**CONTEXT, "product_type": product_type, "target": TARGET, "thumbnails": "true"}
    started = time.perf_counter()
    response = httpx.post(
        server.url,
        data=fields,
        files={"image": image.read_bytes()},
        headers=server.headers,
        timeout=60,
    )
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
    """Whether the archive is there, whole, and made from this run by this code."""
    try:
        before = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return archive.is_file() and bool(before == _stamp(run, archive))


def _remember(run: Path, archive: Path, stamp: Path) -> None:
    stamp.write_text(json.dumps(_stamp(run, archive)), encoding="utf-8")


def _stamp(run: Path, archive: Path) -> dict[str, str]:
    """What an export depends on, and what it made."""
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
    """A path as seen from the project's root."""
    return str(path).replace(f"{ROOT}/", "")


def _step(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]", soft_wrap=True)


if __name__ == "__main__":
    typer.run(demo)
