"""``python -m service BUNDLE...``: serve them with their cache, fixes and history."""

import gc
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from augrank.cli.command import friendly_errors
from augrank.errors import BadRequest, reason
from service.access.origin import is_loopback
from service.commands.options import DatabaseOption, FolderOption
from service.settings import read_settings

if TYPE_CHECKING:
    from service.database.session import Database


@friendly_errors
def serve(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            help="Bundles or .mar archives: a classifier, a recommender, or one of each."
        ),
    ],
    database: DatabaseOption = None,
    folder: FolderOption = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on (default: 127.0.0.1); others need a key."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on (default: 8090).")
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the recommender's images, as in training: then those of the catalogue "
            "are asked about and downloaded in full size.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Where the bundles are deployed and images are answered: http://127.0.0.1:8080 "
            "(TorchServe) or sagemaker:ENDPOINT (default: in this process)."
        ),
    ] = None,
    backend_management: Annotated[
        str | None,
        typer.Option(help="TorchServe's management API, to promote models: http://127.0.0.1:8081."),
    ] = None,
    backend_keys: Annotated[
        Path | None, typer.Option(help="TorchServe's key_file.json, unless it asks for no keys.")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Serve these bundles, whatever was promoted before."),
    ] = False,
) -> None:
    """Serve models: answers are kept, people correct them, and nothing of that is lost.

    Opens or creates the database, brings it up to date, loads the bundles, and listens. The page
    is at /, the interface is described at /docs. If another bundle was promoted since, that one
    is served.

    Example: python -m service dist/bundle
    """
    import uvicorn

    from service.app import create_app
    from service.backends.bundles import open_bundles
    from service.backends.placement import note_placement
    from service.backends.start import start_backends
    from service.database.session import Database
    from service.models.registry import Registry
    from service.web.observability import log_as_json

    settings = read_settings(
        database=database,
        folder=folder,
        host=host,
        port=port,
        catalogue=catalogue,
        backend=backend,
        backend_management=backend_management,
        backend_keys=backend_keys,
    )
    _check_port(settings.host, settings.port)
    opened_database = Database(settings.database_url)
    opened_database.migrate()
    _check_loopback(settings.host, opened_database)
    log_as_json()
    with open_bundles(bundles) as opened:
        registry = Registry(opened_database, settings.folder, settings.max_models)
        directories = {
            task: registry.directory(registry.start_with(bundle.directory, replace=replace))
            for task, bundle in opened.items()
        }
        found = start_backends(settings, directories)
        note_placement(opened_database, directories, settings.backend)
        application = create_app(
            settings, opened_database, found.classifier, found.recommender, found.deployments
        )
        gc.collect()
        gc.freeze()  # what stays for good is not looked through at every tenth request
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


def _check_loopback(host: str, database: "Database") -> None:
    from service.access.keys import any_key

    if is_loopback(host):
        return
    with database.reads() as session:
        if any_key(session):
            return
    raise BadRequest(
        "without keys the service listens on this machine alone",
        expected="--host 127.0.0.1, ::1 or localhost",
        got=host,
        remedy="Make a key first: python -m service keys add.",
    )
