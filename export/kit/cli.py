"""``python -m export kit``."""

import platform as this_machine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from augrank.cli.command import friendly_errors
from augrank.cli.options import spread
from augrank.files import check_output_folder, disk_errors
from export.kit.build import MIB, KitOptions, Platform, build_kit

console = Console()


@dataclass(frozen=True)
class MachineOptions:
    """The machine that the kit is for."""

    python: Annotated[str, typer.Option(help="Its version of Python.")] = ".".join(
        this_machine.python_version_tuple()[:2]
    )
    platform: Annotated[
        str, typer.Option(help="As wheels name it: manylinux_2_N_ARCH has glibc 2.N or newer.")
    ] = f"manylinux_2_28_{this_machine.machine()}"


@dataclass(frozen=True)
class ContentOptions:
    """What the kit holds."""

    extras: Annotated[str, typer.Option(help="Extras of augrank, separated by commas.")] = (
        "cpu,serve"
    )
    without: Annotated[
        str,
        typer.Option(
            help="Packages to leave out, with what only they need: those that the machine has, "
            "such as torch,torchvision."
        ),
    ] = ""
    add: Annotated[
        list[str] | None,
        typer.Option("--add", help="A further package, such as xgboost-cpu. Repeatable."),
    ] = None
    include: Annotated[
        list[Path] | None,
        typer.Option(help="A file to carry along, such as a .mar. Repeatable."),
    ] = None


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(friendly_errors(spread(kit)))


def kit(
    out: Annotated[Path, typer.Option(help="Folder of the kit.")],
    machine: MachineOptions,
    content: ContentOptions,
    part_mib: Annotated[int, typer.Option(min=1, help="Size of a part in MiB.")] = 60,
) -> None:
    """Pack the wheels for a machine without internet, in parts, with an installer.

    There, with all files of the folder: sh install.sh DIRECTORY
    """
    check_output_folder(out)
    options = KitOptions(
        python=machine.python,
        platform=Platform.of(machine.platform),
        extras=_listed(content.extras),
        without=_listed(content.without),
        add=content.add or [],
        include=content.include or [],
        part_mib=part_mib,
    )
    with disk_errors(out, "Free space there, or give another --out."):
        made = build_kit(options, out)
    console.print(
        f"{made.packages} packages for Python {machine.python} on {machine.platform}: "
        f"{made.wheels_bytes / MIB:,.0f} MiB of wheels in {made.parts} parts",
        soft_wrap=True,
    )
    console.print(f"wrote {out}", soft_wrap=True)
    console.print("next, on the other machine: sh install.sh DIRECTORY", soft_wrap=True)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
