"""What the demos share: their steps on the screen, and results that are still valid."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import typer
from rich.console import Console

from augrank.bundle.load import sha256_of

ROOT = Path(__file__).parents[1]
console = Console()


def run_module(module: str, *arguments: object) -> None:
    """Run a command of this project in a subprocess, as a user would."""
    command = [sys.executable, "-m", module, *(str(argument) for argument in arguments)]
    words = " ".join(f"'{a}'" if " " in a else a for a in map(shown, command[2:]))
    console.print(f"[dim]$ python -m {words}[/dim]")
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)


def export(run: Path, dist: Path, name: str, title: str, *options: object) -> Path:
    """Export a run, unless its archive is up to date; return the archive.

    Args:
        run: a finished run.
        dist: folder of the export.
        name: of the model.
        title: of the step, with its number.
        options: of ``python -m export build``.
    """
    archive, stamp = dist / f"{name}.mar", dist.with_name("exported.json")
    if _exported(run, archive, stamp, options):
        step(f"{title}: {shown(archive)} is up to date: reusing it")
    else:
        step(title)
        run_module("export", "build", run, "--out", dist, "--name", name, *options)
        stamp.write_text(json.dumps(_stamp(run, archive, options)), encoding="utf-8")
    return archive


def shown(path: object) -> str:
    """Format a path relative to the project's root."""
    return str(path).replace(f"{ROOT}/", "")


def step(text: str) -> None:
    """Print the title of a step."""
    console.print(f"\n[bold]{text}[/bold]", soft_wrap=True)


def _exported(run: Path, archive: Path, stamp: Path, options: tuple[object, ...]) -> bool:
    """Return whether the archive is complete and was exported from this run by this code."""
    try:
        before = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return archive.is_file() and bool(before == _stamp(run, archive, options))


def _stamp(run: Path, archive: Path, options: tuple[object, ...]) -> dict[str, str]:
    """Return the hashes of an export's inputs, and of its result."""
    code = hashlib.sha256(str(options).encode())
    for folder in ("augrank", "handlers", "export"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            code.update(file.read_bytes())
    return {
        "run": sha256_of(run / "run.json"),
        "code": code.hexdigest(),
        "archive": sha256_of(archive),
    }
