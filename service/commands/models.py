"""``python -m service models``: which there are, promotion, rollback, and the watch.

The commands write to the database alone. A service that runs follows within seconds; one that
starts later begins with what was promoted. Where models are on a server, that must get the bundle
first: the service does so, not these commands.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from augrank.cli.command import friendly_errors
from service.commands.opened import opened_database
from service.commands.options import DatabaseOption, FolderOption
from service.settings import read_settings

if TYPE_CHECKING:
    from service.database.tables import Model, Promotion
    from service.models.registry import Registry
    from service.models.watch import Tally

WhoOption = Annotated[str, typer.Option(help="Who decides it: the history shows this name.")]
WhyOption = Annotated[str, typer.Option(help="Why.")]
ExpectedOption = Annotated[
    str | None, typer.Option(help="Digest of the model that must be live, else nothing is done.")
]
TaskOption = Annotated[str, typer.Option(help="Of the model: classify or recommend.")]

app = typer.Typer(
    no_args_is_help=True,
    help="Say which model is live.\n\n"
    "A running service follows what these commands change, without a failed request.",
)


@app.command("list")
@friendly_errors
def list_(database: DatabaseOption = None, folder: FolderOption = None) -> None:
    """List the models, the last ones first, and what was promoted when."""
    with _registry(database, folder) as registry:
        for model in registry.models():
            typer.echo(_line(model))
        for row in reversed(registry.history(most=20)):
            typer.echo(_event(row))


@app.command()
@friendly_errors
def add(
    bundle: Annotated[Path, typer.Argument(help="Bundle, or .mar archive.")],
    database: DatabaseOption = None,
    folder: FolderOption = None,
) -> None:
    """Add a bundle as a candidate: it is checked, and copied into the service's folder.

    Example: python -m service models add dist/bundle
    """
    from augrank.bundle.load import open_bundle
    from augrank.bundle.spec import BundleSpec

    with open_bundle(bundle, BundleSpec) as opened, _registry(database, folder) as registry:
        typer.echo(_line(registry.add(opened.directory)))


@app.command()
@friendly_errors
def promote(
    model: Annotated[int, typer.Argument(help="Its number in the list.")],
    who: WhoOption,
    why: WhyOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also a model that the gate has rejected.")
    ] = False,
    expected: ExpectedOption = None,
    database: DatabaseOption = None,
    folder: FolderOption = None,
) -> None:
    """Make a model the live one.

    It is loaded here first, and must answer its smoke request as at its export.

    Example: python -m service models promote 7 --who ana
    """
    from service.backends.placement import check_in_process
    from service.models.promotion import check_against, commit, live_as_expected
    from service.models.registry import PROMOTE, Change, check_state

    with _registry(database, folder) as registry:
        found = registry.get(model)
        check_in_process(registry.database, found.task, read_settings().backend)
        check_state(found, force=force)
        seen = live_as_expected(registry, found.task, expected)
        check_against(registry, found, seen)
        _check_answers(registry, found)
        row = commit(registry, model, seen, Change(PROMOTE, who, why), force=force)
        typer.echo(_event(row))


@app.command()
@friendly_errors
def rollback(
    who: WhoOption,
    why: WhyOption = "",
    task: TaskOption = "classify",
    expected: ExpectedOption = None,
    database: DatabaseOption = None,
    folder: FolderOption = None,
) -> None:
    """Make the model that was live before the live one answer again.

    Example: python -m service models rollback --who ana --why "white vans"
    """
    from service.backends.placement import check_in_process
    from service.models.promotion import commit, find_before, live_as_expected
    from service.models.registry import ROLLBACK, Change

    with _registry(database, folder) as registry:
        check_in_process(registry.database, task, read_settings().backend)
        seen = live_as_expected(registry, task, expected)
        before = find_before(registry, seen)
        registry.directory(before)
        row = commit(registry, before.id, seen, Change(ROLLBACK, who, why), force=True)
        typer.echo(_event(row))


@app.command()
@friendly_errors
def watch(
    task: TaskOption = "classify", database: DatabaseOption = None, folder: FolderOption = None
) -> None:
    """Compare the live model with the one before it; ends with 1 if the alarm is on."""
    from service.models.watch import report_of

    with _registry(database, folder) as registry, registry.database.reads() as session:
        report = report_of(session, task)
        if report is None:
            typer.echo(f"there is no live model of the task {task}")
            return
        for name, model in (("live", report.live), ("before", report.before)):
            if model is not None:
                typer.echo(f"{name:7} model {model.id}: {_tally(report.total(model.digest))}")
        for advertiser, tally in report.by_advertiser(report.live.digest).items():
            typer.echo(f"  {advertiser}: {_tally(tally)}")
        for hours, each in report.evidence.items():
            typer.echo(
                f"evidence of more fixes within {hours:g} h: {each.pooled:.3g}"
                f" (alarm above {each.pooled_bar:.3g})"
            )
        alarm = report.alarm_at is not None or any(e.alarm for e in report.evidence.values())
        typer.echo("alarm: people correct it more often" if alarm else "no alarm")
    if alarm:
        raise typer.Exit(1)


@contextmanager
def _registry(database: str | None, folder: Path | None) -> Iterator["Registry"]:
    """Open the registry.

    Args:
        database: URL of it.
        folder: of the service.
    """
    from service.models.registry import Registry

    settings = read_settings(database=database, folder=folder)
    with opened_database(settings) as opened:
        yield Registry(opened, settings.folder, settings.max_models)


def _check_answers(registry: "Registry", model: "Model") -> None:
    """Load a bundle, which answers its smoke request.

    Raises:
        BundleError: it does not load, or answers otherwise.
    """
    from service.backends.bundles import CLASSIFY
    from service.backends.classify import BundleBackend
    from service.backends.recommend import RecommendBundle

    kind = BundleBackend if model.task == CLASSIFY else RecommendBundle
    kind(registry.directory(model))


def _line(model: "Model") -> str:
    gate = model.gate or {}
    told = f"; {'; '.join(gate['reasons'])}" if gate.get("reasons") else ""
    removed = "" if model.path else ", not kept any more"
    return (
        f"{model.id:4} {model.state:9} {model.task:9} {model.digest[:12]} {model.name}"
        f" ({model.created_at:%Y-%m-%d %H:%M}{removed}){told}"
    )


def _event(row: "Promotion") -> str:
    before = f"model {row.before_id}" if row.before_id else "nothing"
    why = f": {row.why}" if row.why else ""
    return f"{row.at:%Y-%m-%d %H:%M} {row.kind}: {before} -> model {row.after_id}, {row.who}{why}"


def _tally(tally: "Tally") -> str:
    rate, agreement = tally.fix_rate, tally.agreement
    return (
        f"{tally.fixed} of {tally.answered} pictures corrected within a day"
        f" ({rate.low:.1%} to {rate.high:.1%});"
        f" {tally.agreed} of {tally.judged} judged labels agree"
        f" ({agreement.low:.1%} to {agreement.high:.1%})"
    )
