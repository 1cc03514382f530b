"""``python -m service BUNDLE``: serve it with its cache, fixes and history."""

import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from augrank.cli.command import friendly_errors
from augrank.errors import BadRequest, reason
from service.settings import DEFAULT_FOLDER, read_settings


@friendly_errors
def serve(
    bundle: Annotated[Path, typer.Argument(help="Bundle of a classifier, or .mar archive.")],
    database: Annotated[
        str | None,
        typer.Option(help="URL: postgresql+psycopg://... (default: an SQLite file in --folder)."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help=f"Folder of the database (default: {DEFAULT_FOLDER}).")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on (default: 8090).")
    ] = None,
) -> None:
    """Serve a classifier: answers are kept, people correct them, and nothing of that is lost.

    Opens or creates the database, brings it up to date, loads the bundle, and listens. The
    interface is described at /docs.

    Example: python -m service dist/bundle
    """
    import uvicorn

    from augrank.bundle.classify_spec import ClassifySpec
    from augrank.bundle.load import open_bundle
    from service.app import create_app
    from service.backends.classify import BundleBackend
    from service.database.session import Database
    from service.web.observability import log_as_json

    settings = read_settings(database=database, folder=folder, host=host, port=port)
    _check_loopback(settings.host)
    _check_port(settings.host, settings.port)
    log_as_json()
    opened_database = Database(settings.database_url)
    opened_database.migrate()
    with open_bundle(bundle, ClassifySpec) as opened:
        application = create_app(settings, opened_database, BundleBackend(opened.directory))
        uvicorn.run(application, host=settings.host, port=settings.port, log_config=None)
    opened_database.close()


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise BadRequest(
            f"the service cannot listen on {host}, port {port}",
            expected="a port that is free",
            got=reason(error),
            remedy="Give another --port, or 0 for any.",
        ) from error


def _check_loopback(host: str) -> None:
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise BadRequest(
            "without keys the service listens on this machine alone",
            expected="--host 127.0.0.1, ::1 or localhost",
            got=host,
        )
