"""``python -m training audit``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from augrank.cli.options import pairs
from augrank.files import check_output_folder
from training.cli.command import command_reporter
from training.config import load_config, split_names


def audit(
    out: Annotated[Path, typer.Option(help="Folder for audit.csv and audit.png.")],
    manifest: Annotated[
        Path | None, typer.Option(help="CSV, Parquet or Ground Truth manifest, as for fit.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images; alone: a folder for each class.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Comma-separated label columns (default: as for fit).")
    ] = None,
    ranks: Annotated[
        str | None,
        typer.Option(help="Comma-separated columns of scores; alone, there are no labels."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Comma-separated columns of groups, as for fit.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Map a column of another name: relative_im_path=photo. Repeatable."),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Network whose features judge the labels.")
    ] = "efficientnet_lite0",
    weights: Annotated[
        str, typer.Option(help="Its weights: imagenet, or a file such as a run's backbone.pt.")
    ] = "imagenet",
    image_size: Annotated[int, typer.Option(help="Image size in pixels.")] = 224,
    min_side: Annotated[
        int, typer.Option(min=1, help="Images whose shorter side has fewer pixels are small.")
    ] = 64,
) -> None:
    """Look at labelled images before training.

    Finds likely label errors with the class that is probably right (each image is judged by a
    model that has not seen it), duplicates, contradictions, small and broken files, and shows the
    balance of classes.

    Example: python -m training audit --images photos/ --out build/audit
    """
    with command_reporter() as reporter:
        options: dict[str, Any] = {
            "task": "classify",
            "out": out,
            "manifest": manifest,
            "images": images,
            "labels": None if labels is None else split_names(labels),
            "ranks": None if ranks is None else split_names(ranks),
            "group": None if group is None else split_names(group),
            "columns": pairs(column, "--column"),
            "backbone": backbone,
            "weights": weights,
            "image_size": image_size,
        }
        config = load_config(None, options)
        check_output_folder(out)
        from training.audit.run import audit as run_audit  # slow: loads torch

        run_audit(config, min_side, reporter)
