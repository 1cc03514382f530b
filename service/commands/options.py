"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from service.settings import DEFAULT_FOLDER

DatabaseOption = Annotated[
    str | None,
    typer.Option(help="URL: postgresql+psycopg://... (default: an SQLite file in --folder)."),
]
FolderOption = Annotated[
    Path | None, typer.Option(help=f"Folder of the database (default: {DEFAULT_FOLDER}).")
]
