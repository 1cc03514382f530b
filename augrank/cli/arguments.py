"""Arguments and options that several commands of ``augrank`` share."""

from pathlib import Path
from typing import Annotated

import typer

from augrank.contracts.run import Precision
from augrank.models.engines import Device

BundleArgument = Annotated[Path, typer.Argument(help="Bundle directory, or .mar archive.")]
DeviceOption = Annotated[
    Device | None,
    typer.Option(help="Device of the backbone (default: a GPU if available, else the CPU)."),
]
PrecisionOption = Annotated[
    Precision | None, typer.Option(help="Precision of the graph (default: the bundle's choice).")
]
CandidatesOption = Annotated[
    list[str] | None, typer.Option(help="Score only these augmentations; repeatable.")
]
MinLiftOption = Annotated[
    float,
    typer.Option(
        min=0,
        max=10,
        help="Recommend only changes that exceed this lift with 95 % confidence: 0.05 is 5 %.",
    ),
]
