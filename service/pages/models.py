"""The page of models: live and candidates, what they get wrong, promotion, rollback, the watch."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse

from augrank.images.decode import decode, encode
from service.access.identity import Identity, Role
from service.api.common import SHA256
from service.database.tables import NAME, Model
from service.errors import ImageExpired, NotFound
from service.models.registry import LIVE
from service.models.statistics import Interval
from service.models.visible import visible_gate
from service.models.watch import report_of
from service.pages.access import PageReader
from service.pages.models_view import accuracy_of, detail_of, evaluation_of
from service.pages.render import render
from service.parts import Parts, parts_of
from service.retraining.data.dataset import file_name
from service.retraining.data.files import Root

PREVIEW_PX = 240
MAX_ROWS = 50  # of each table
router = APIRouter(include_in_schema=False)
Text = Annotated[str, Query(max_length=NAME)]


@dataclass(frozen=True)
class Line:
    """A model in the list.

    Attributes:
        model: its row.
        accuracy: over its evaluation; None: it has none.
        difference: to the live model, by the gate; None: it was not compared.
        reasons: what the gate says, in words.
        may_be_promoted: whether its button is shown.
    """

    model: Model
    accuracy: Interval | None
    difference: Interval | None
    reasons: tuple[str, ...]
    may_be_promoted: bool


@router.get("/models")
def page(  # noqa: PLR0913 - the fields of a query
    request: Request,
    identity: PageReader,
    task: Text = "",
    model: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    label: Text = "",
    truth: Text = "",
    predicted: Text = "",
) -> HTMLResponse:
    """Show the models of a task, and one of them in detail."""
    parts = parts_of(request)
    registry = parts.models.registry
    rows = registry.models()
    tasks = sorted({row.task for row in rows} | set(parts.models.answering))
    task = task if task in tasks else next(iter(tasks), "classify")
    rows = [row for row in rows if row.task == task]
    chosen = _chosen(rows, model)
    with parts.database.reads() as session:
        report = report_of(session, task)
    images = evaluation_of(parts.settings.folder, chosen.digest, identity.advertiser) \
        if chosen else ()  # fmt: skip
    history = registry.history(task, MAX_ROWS)
    live = next((row for row in rows if row.state == LIVE), None)
    return render(
        request,
        "models.html",
        task=task,
        tasks=tasks,
        lines=[_line(parts, identity, row) for row in rows[:MAX_ROWS]],
        live=live,
        since=next((row for row in history if live and row.after_id == live.id), None),
        before=report.before if report else None,
        chosen=chosen,
        detail=detail_of(images, label, truth, predicted),
        cell=(truth, predicted) if truth and predicted else None,
        watch=report.only(identity.advertiser) if report else None,
        history=history,
        may_change=_may_change(identity),
        sees_all=identity.advertiser is None,
    )


@router.get("/models/{model_id}/images/{sha256}")
def picture(
    request: Request,
    identity: PageReader,
    model_id: Annotated[int, Path(ge=1, le=2**31 - 1)],
    sha256: Annotated[str, Path(pattern=SHA256)],
) -> Response:
    """Return a small JPEG of an image of the test sets, to those who may see it."""
    parts = parts_of(request)
    model = parts.models.registry.get(model_id)
    images = evaluation_of(parts.settings.folder, model.digest, identity.advertiser)
    if not any(each.sha256 == sha256 for each in images):
        raise NotFound("there is no such image in the test sets", got=sha256[:12])
    data = parts.images.read(sha256) or _of_dataset(parts, sha256)
    if data is None:
        raise ImageExpired.of(sha256, remedy="Nothing is to be done.")
    small = encode(decode(data, PREVIEW_PX, parts.limits).pixels)
    headers = {"Cache-Control": "private, max-age=86400"}
    return Response(small, 200, headers, "image/jpeg")


def _of_dataset(parts: Parts, sha256: str) -> bytes | None:
    try:
        return (Root(parts.settings.folder).images / file_name(sha256)).read_bytes()
    except OSError:
        return None


def _chosen(rows: list[Model], model_id: int) -> Model | None:
    """Return the model to show in detail: the one asked for, else the live one."""
    by_id = {row.id: row for row in rows}
    live = next((row for row in rows if row.state == LIVE), None)
    return by_id.get(model_id) or live or next(iter(rows), None)


def _line(parts: Parts, identity: Identity, model: Model) -> Line:
    gate: dict[str, Any] = visible_gate(model.gate, identity.advertiser) or {}
    difference = gate.get("difference")
    return Line(
        model=model,
        accuracy=accuracy_of(parts.settings.folder, model.digest, identity.advertiser),
        difference=Interval(**difference) if difference else None,
        reasons=tuple(gate.get("reasons", ())),
        may_be_promoted=_may_change(identity) and model.state != LIVE and bool(model.path),
    )


def _may_change(identity: Identity) -> bool:
    return identity.role >= Role.ADMIN and identity.advertiser is None
