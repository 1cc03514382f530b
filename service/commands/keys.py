"""``python -m service keys``: who may use the service.

The commands write to the database alone: a service that runs knows of a new or revoked key within
a second, in whatever process it is.
"""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from augrank.cli.command import friendly_errors
from augrank.errors import BadRequest
from service.commands.opened import opened_database
from service.commands.options import DatabaseOption, FolderOption
from service.settings import read_settings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from service.database.session import Database
    from service.database.tables import ApiKey

MAX_NAME = 200  # characters, as in the table
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
FILE_WIDTH = 200  # characters of a line, if it is no terminal's
MAX_DURATION = timedelta(days=36500)


class RoleName(StrEnum):
    """What a key allows; each role includes those before."""

    READ = "read"
    CORRECT = "correct"
    ADMIN = "admin"


app = typer.Typer(
    no_args_is_help=True,
    help="Say who may use the service.\n\n"
    "Without keys the service answers this machine alone, and whoever is there may do everything. "
    "From the first key on, every request needs one, and the service may listen elsewhere "
    "(--host 0.0.0.0). A revoked key is kept in the list: the service stays closed.\n\n"
    "Programs send a key as the header Authorization: Bearer KEY; people log in with it at /login.",
)


@app.command()
@friendly_errors
def add(
    name: Annotated[str, typer.Option(help="Whose key it is: histories show this name.")],
    role: Annotated[
        RoleName,
        typer.Option(
            help="read: ask, and see answers. correct: also fix labels and report outcomes. "
            "admin: also retrain and promote models."
        ),
    ] = RoleName.READ,
    advertiser: Annotated[
        str | None, typer.Option(help="Whose data it opens; others' stay invisible.")
    ] = None,
    all_advertisers: Annotated[
        bool, typer.Option("--all-advertisers", help="It opens the data of all.")
    ] = False,
    expires_in: Annotated[
        str | None,
        typer.Option(help="How long it holds: 12h, 90d, 26w (default: until it is revoked)."),
    ] = None,
    database: DatabaseOption = None,
    folder: FolderOption = None,
) -> None:
    """Make a key, and print it: this once, for only its sha256 is kept.

    Standard output has the key alone, for scripts.

    Example: python -m service keys add --name ana --advertiser dealer_007 --role correct
    """
    from service.access.identity import Role
    from service.access.keys import NewKey, any_key, create_key

    if (advertiser is None) != all_advertisers:
        raise BadRequest(
            "whose data the key opens is not clear",
            expected="either --advertiser NAME or --all-advertisers",
            got="both" if all_advertisers else "neither",
        )
    new = NewKey(
        who=_checked_name("--name", name),
        advertiser=None if advertiser is None else _checked_name("--advertiser", advertiser),
        role=Role[role.name],
        expires_at=None if expires_in is None else datetime.now(UTC) + duration_of(expires_in),
    )
    with (
        _opened(database, folder) as opened,
        opened.writes() as session,
    ):
        is_first = not any_key(session)
        row, key = create_key(session, new)
        place = opened.engine.url.render_as_string(hide_password=True)
    typer.echo(f"Key {row.id} of {row.who}, in {place}.", err=True)
    typer.echo("Store it now, it is not shown again:", err=True)
    typer.echo(key)
    if is_first:
        typer.echo("It is the first key: from now on every request needs one.", err=True)


@app.command(name="list")
@friendly_errors
def list_(database: DatabaseOption = None, folder: FolderOption = None) -> None:
    """List the keys: their beginnings, holders, and whether they hold.

    Example: python -m service keys list
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from service.access.keys import list_keys

    with (
        _opened(database, folder) as opened,
        opened.reads() as session,
    ):
        rows = list_keys(session)
    if not rows:
        typer.echo("There are no keys. Make one: python -m service keys add --help")
        return
    columns = ("ID", "Key", "Name", "Advertiser", "Role", "Made", "Used", "State")
    table = Table(*columns, box=box.SIMPLE)
    for row in rows:
        table.add_row(
            str(row.id),
            f"aug_{row.prefix}_…",
            escape(row.who),
            "(all)" if row.advertiser is None else escape(row.advertiser),
            row.role,
            _day(row.created_at),
            _day(row.last_used_at) or "never",
            _state(row),
        )
    console = Console()
    Console(width=console.width if console.is_terminal else FILE_WIDTH).print(table)


@app.command()
@friendly_errors
def revoke(
    key_id: Annotated[int, typer.Argument(help="ID of the key in `keys list`.", metavar="ID")],
    database: DatabaseOption = None,
    folder: FolderOption = None,
) -> None:
    """Revoke a key, and with it the logins that were made with it, for ever.

    Example: python -m service keys revoke 3
    """
    from service.access.keys import revoke_key

    with (
        _opened(database, folder) as opened,
        opened.writes() as session,
    ):
        row = revoke_key(session, key_id)
    assert row.revoked_at is not None
    when = f"{row.revoked_at:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"Key {row.id} of {row.who} does not hold any more: revoked on {when}.")


def duration_of(text: str) -> timedelta:
    """Return a duration such as ``90d``.

    Raises:
        BadRequest: it is none.
    """
    form = re.fullmatch(r"([1-9][0-9]{0,7})([mhdw])", text.strip())
    duration = timedelta(**{UNITS[form[2]]: int(form[1])}) if form else timedelta()
    if not timedelta() < duration <= MAX_DURATION:
        raise BadRequest(
            "the duration does not fit",
            expected="a number and m, h, d or w, such as 90d; at most 100 years",
            got=text,
        )
    return duration


def _checked_name(option: str, name: str) -> str:
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME:
        raise BadRequest(
            f"{option} does not fit",
            expected=f"1 to {MAX_NAME} characters that can be printed",
            got=repr(name),
        )
    return name


def _opened(database: str | None, folder: "Path | None") -> "AbstractContextManager[Database]":
    return opened_database(read_settings(database=database, folder=folder))


def _day(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d}"


def _state(row: "ApiKey") -> str:
    if row.revoked_at is not None:
        return f"revoked {_day(row.revoked_at)}"
    if row.expires_at is None:
        return "holds"
    has_ended = row.expires_at <= datetime.now(UTC)
    return f"{'expired' if has_ended else 'holds until'} {_day(row.expires_at)}"
