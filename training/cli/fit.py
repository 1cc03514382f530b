"""``python -m training fit``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from training.cli.command import command_reporter
from training.tasks.run import run_fit


def fit(
    fit_options: dict[str, Any],
    config: Annotated[
        Path | None,
        typer.Option(help="YAML or TOML file with any of these options; flags override it."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start over in a run directory that is in use.")
    ] = False,
) -> None:
    """Train a backbone and the heads; run it again to resume after an interrupt.

    On several GPUs: torchrun --standalone --nproc-per-node GPUS --max-restarts 3 -m training fit
    ...
    """
    with command_reporter(resumable=True) as reporter:
        run_fit(config, fit_options, reporter, overwrite=overwrite)
