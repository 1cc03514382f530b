"""Where the models of a database answer: in the service's process, or on a server.

A service writes it down when it starts. The commands read it: they change the database alone, but a
server must get a bundle first, which only the service does.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import update

from service.database.session import Database, insert_missing
from service.database.tables import Placement
from service.errors import Conflict


def note_placement(database: Database, tasks: Iterable[str], server: str) -> None:
    """Write down where models answer from now on.

    Args:
        database: of the service.
        tasks: of the models.
        server: as in ``--backend``; empty: the service's own process.
    """
    server = server.rpartition("@")[2]  # without a password
    with database.writes() as session:
        for task in sorted(tasks):
            row = {"task": task, "server": server, "at": datetime.now(UTC)}
            insert_missing(session, Placement, [row])
            session.execute(update(Placement).where(Placement.task == task).values(**row))


def check_in_process(database: Database, task: str, setting: str) -> None:
    """Check that a model answers as soon as the database names it as live.

    Args:
        database: of the service.
        task: of the model.
        setting: ``backend`` of the settings; the service may have been started with another one.

    Raises:
        Conflict: the models of this task are on a server.
    """
    with database.reads() as session:
        found = session.get(Placement, task)
    if setting:
        got = f"AUGRANK_SERVICE_BACKEND={setting}"
    elif found is not None and found.server:
        got = f"{found.server}, with which the service was started on {found.at:%Y-%m-%d %H:%M}"
    else:
        return
    raise Conflict(
        "this command cannot change the model of a server",
        expected="models in the service's own process",
        got=got,
        remedy="Promote or roll back by the page /models or over HTTP: POST /v1/models/... If the "
        "server is not used any more, start the service once without --backend.",
    )
