"""``python -m service retrain``: learn from what people corrected."""

import getpass
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from augrank.cli.command import friendly_errors
from augrank.cli.options import pairs
from augrank.errors import DataError
from service.commands.opened import opened_database
from service.commands.options import DatabaseOption, FolderOption
from service.settings import ServiceSettings, read_settings

if TYPE_CHECKING:
    from service.database.session import Database
    from service.database.tables import Job
    from service.retraining.jobs import RetrainOptions

POLL_S = 0.5
GIVEN = "COMMANDLINE"  # where typer says that an option comes from
console = Console(soft_wrap=True, highlight=False)


@friendly_errors
def retrain(
    context: typer.Context,
    base: Annotated[
        Path | None,
        typer.Option(
            help="What the live model was trained on, once: its run (better: its test images stay "
            "test images), or its manifest."
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images of --base, if it is elsewhere.")
    ] = None,
    candidates: Annotated[
        int, typer.Option(min=1, max=8, help="Models that are trained and compared.")
    ] = 4,
    review: Annotated[
        bool,
        typer.Option(help="Let people look at the fixes at /review; else doubtful ones are left."),
    ] = True,
    promote: Annotated[
        bool, typer.Option("--promote", help="Let a model that passes the gate answer at once.")
    ] = False,
    min_side: Annotated[
        int, typer.Option(min=1, help="Images whose shorter side has fewer pixels are small.")
    ] = 64,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Option of training fit: --set epochs=5. Repeatable."),
    ] = None,
    new: Annotated[
        bool | None,
        typer.Option(
            "--new/--resume",
            help="Where one has failed: start another one, or let it go on with its own options.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show progress until it ends, or waits for people.")
    ] = False,
    here: Annotated[
        bool, typer.Option("--here", help="Do the work in this process: no service runs.")
    ] = False,
    database: DatabaseOption = None,
    folder: FolderOption = None,
) -> None:
    """Train better models from what people corrected, and let the gate choose.

    Adds a job, which the running service works on at idle priority; run it again to follow the
    job, or to try one again that failed: it goes on with the options that it was started with, and
    other ones need --new or --resume. Fixes are filtered, looked at by people, added to the
    dataset, and some candidates are compared with the live model on test images that none
    of them has seen.

    Example: python -m service retrain --base runs/cars --wait
    """
    from service.retraining.jobs import RetrainOptions

    settings = read_settings(database=database, folder=folder)
    options = RetrainOptions(
        base=str(base.absolute()) if base else None,
        images=str(images.absolute()) if images else None,
        candidates=candidates,
        review=review,
        promote=promote,
        min_side=min_side,
        settings=_settings_of(set_),
    )
    with opened_database(settings) as opened:
        _check_base(opened, settings, options)
        job_id = _added(opened, options, _said(context, options), new=new)
        if here:
            _work_here(opened, settings, job_id)
        elif wait:
            _follow(opened, job_id)
        else:
            console.print(f"Retraining {job_id}: the service works on it. --wait shows how far.")


def _settings_of(given: list[str] | None) -> dict[str, str | int | float | bool | list[str]]:
    """Parse NAME=VALUE as YAML does, and check them with a run's options.

    Raises:
        DataError: an option is not known, or does not fit.
    """
    import yaml

    from training.config import load_config

    found = {name: yaml.safe_load(text) for name, text in pairs(given, "--set").items()}
    if found:
        here = Path()
        load_config(None, {"task": "classify", "out": here, "images": here, **found})
    return found


def _check_base(database: "Database", settings: ServiceSettings, options: "RetrainOptions") -> None:
    """Read the base now, so that a wrong one is told at once.

    Raises:
        DataError: it cannot be read, or lacks a label of the live model.
    """
    from service.backends.bundles import CLASSIFY
    from service.models.registry import Registry
    from service.retraining.steps.base import read_base
    from service.retraining.work import labels_of

    registry = Registry(database, settings.folder, settings.max_models)
    live = registry.live(CLASSIFY)
    if options.base is not None and live is not None:
        read_base(options.base, options.images, **labels_of(registry.directory(live)))


def _said(context: typer.Context, options: "RetrainOptions") -> dict[str, Any]:
    """Return those of the options that were given on the command line, by name."""
    given = {
        {"set_": "settings"}.get(name, name)
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name == GIVEN
    }
    return {name: value for name, value in options.model_dump().items() if name in given}


def _added(
    database: "Database", options: "RetrainOptions", said: Mapping[str, Any], *, new: bool | None
) -> int:
    """Return the retraining that is under way or has failed, or add one.

    Args:
        database: with the jobs.
        options: of one that is added.
        said: those that were given on the command line.
        new: whether to add one beside one that has failed; None: not if it has what was given.

    Raises:
        DataError: nobody has said which.
        Conflict: it can neither go on nor be added.
    """
    from service.jobs.queue import FAILED
    from service.retraining.jobs import (
        ACTIVE,
        add_retraining,
        last_retraining,
        overtaken,
        try_again,
    )

    who = getpass.getuser()
    with database.writes() as session:
        last = last_retraining(session)
        if last is not None and last.state == FAILED and overtaken(session, last) is None:
            if new is None:
                _check_same(last, said)
            if not new:
                try_again(session, last, who)
                console.print(
                    f"Retraining {last.id} goes on where it failed ({last.options['stage']}), "
                    f"with {_own(last)}.",
                    markup=False,
                )
                return last.id
        elif last is not None and last.state in ACTIVE and not new:
            console.print(f"Retraining {last.id} is under way, with {_own(last)}.", markup=False)
            return last.id
        elif new is False:
            raise DataError(
                "there is no retraining to go on with",
                expected="one that has failed, and whose dataset is the last one",
                got=f"{last.id}, which is {last.state}" if last else "none",
                remedy="Leave --resume out.",
            )
        job = add_retraining(session, options, who)
        console.print(f"Retraining {job.id} is a new one, with {_own(job)}.", markup=False)
        return job.id


def _check_same(failed: "Job", said: Mapping[str, Any]) -> None:
    """Check that a retraining that failed has the options that are asked for now.

    Raises:
        DataError: it has others.
    """
    own = failed.options["given"]
    other = {name: value for name, value in said.items() if value != own.get(name)}
    if other:
        raise DataError(
            f"retraining {failed.id} has failed, and was started with other options",
            expected=_in_words({name: own.get(name) for name in other}),
            got=_in_words(other),
            remedy="--resume lets it go on with its own options; --new starts another one, which "
            "looks at the same fixes again, and trains anew.",
        )


def _own(job: "Job") -> str:
    """Return in words the options that a retraining was started with."""
    from service.retraining.jobs import RetrainOptions

    usual = RetrainOptions().model_dump()
    given = job.options["given"]
    return _in_words({name: given[name] for name in given if given[name] != usual.get(name)})


def _in_words(options: Mapping[str, Any]) -> str:
    """Return options of a retraining as they are given on the command line."""
    words = []
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            off = "--no-review" if name == "review" else f"no {option}"
            words.append(option if value else off)
        elif name == "settings":
            words += [f"--set {key}={each}" for key, each in value.items()] or ["no --set"]
        else:
            words.append(f"{option} {value}" if value is not None else f"no {option}")
    return ", ".join(words) or "the usual options"


def _work_here(database: "Database", settings: ServiceSettings, job_id: int) -> None:
    """Do the work in this process, until it ends or waits for people."""
    from service.backends.bundles import CLASSIFY
    from service.backends.placement import check_in_process
    from service.images.store import ImageStore
    from service.models.registry import Registry
    from service.retraining.jobs import RetrainWorker
    from service.retraining.promote import promote_row
    from service.retraining.work import Retraining, RetrainWork

    registry = Registry(database, settings.folder, settings.max_models)

    def promote(model_id: int, who: str, expected: str) -> None:
        check_in_process(database, CLASSIFY, settings.backend)
        promote_row(registry, model_id, who, expected)

    parts = Retraining(
        database,
        ImageStore(settings.folder, int(settings.max_images_gb * 2**30)),
        registry,
        settings.folder,
        threads=settings.retrain_threads,
        priority=settings.retrain_priority,
        promote=promote,
    )
    worker = RetrainWorker(database, RetrainWork(parts))
    worker.start()
    try:
        _follow(database, job_id)
    finally:
        worker.stop()


def _follow(database: "Database", job_id: int) -> None:
    """Print the lines of a job's log until it ends or waits for people."""
    from service.database.tables import Job
    from service.jobs.queue import DONE, FAILED, REVIEW, events_of
    from service.retraining.review import left_of

    last = 0
    while True:
        with database.reads() as session:
            job = session.get(Job, job_id)
            assert job is not None
            state, error = job.state, job.error
            for event in events_of(session, job_id, last):
                console.print(f"{event.at:%H:%M:%S} {event.text}", markup=False)
                last = event.id
            left = left_of(session, job_id)[1] if state == REVIEW else 0
        if state == REVIEW:
            console.print(f"{left} fixes wait for people: open /review, then run this again.")
            return
        if state == DONE:
            return
        if state == FAILED:
            console.print(f"It failed: {error}", markup=False)
            raise typer.Exit(1)
        time.sleep(POLL_S)
