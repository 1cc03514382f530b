"""The inspector's page: pictures one after the other, least sure first; accept, correct, undo.

Without JavaScript each button is a form, whose answer is the page again; ``static/inspector.js``
sends the same decisions to the API, and keeps those that could not be sent.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, TypeAdapter, ValidationError

from augrank.errors import BadRequest, RequestError
from service.access.identity import Identity
from service.api.common import PRINTABLE_OR_NONE, Name, Sha256
from service.api.fixes.queue import FilterQuery, answering, filter_of
from service.database.tables import NAME
from service.fixes import history, queue, reviews
from service.fixes.classes import check_class
from service.fixes.given import in_words
from service.pages.access import PageCorrector
from service.pages.render import render
from service.parts import Parts, parts_of

PAGE = 24  # pictures
KEYS = 9  # classes that have a key
MAX_QUERY = 4000  # characters of the query of the page that a form came from
STATES = (("open", "not seen yet"), ("corrected", "corrected"), ("confirmed", "confirmed"),
          ("all", "all"))  # fmt: skip
WHO = "inspector_who"  # cookie: the name that was given last, without keys
router = APIRouter(include_in_schema=False)


class Decided(BaseModel):
    """A picture, as a form names it."""

    advertiser: Name
    sha256: Sha256
    value: Name | None  # that the person saw as what the advertiser gets; None: nothing


_decided = TypeAdapter(Decided)


@dataclass(frozen=True)
class Chosen:
    """The filters of the page, as they were typed."""

    label: str = ""
    advertiser: str = ""
    value: str = ""
    model: str = ""
    least: str = ""
    most: str = ""
    unsure: str = ""
    state: str = "open"
    after: str = ""

    @property
    def query(self) -> str:
        """The query of the page, without its place in the queue."""
        given = {name: value for name, value in vars(self).items() if value and name != "after"}
        return urlencode(given)


@router.get("/inspect")
def page(  # noqa: PLR0913 - the fields of a form
    request: Request,
    identity: PageCorrector,
    label: Annotated[str, Query(max_length=NAME)] = "",
    advertiser: Annotated[str, Query(max_length=NAME)] = "",
    value: Annotated[str, Query(max_length=NAME)] = "",
    model: Annotated[str, Query(max_length=NAME)] = "",
    least: Annotated[str, Query(max_length=20)] = "",
    most: Annotated[str, Query(max_length=20)] = "",
    unsure: Annotated[str, Query(max_length=5)] = "",
    state: Annotated[str, Query(max_length=20)] = "open",
    after: Annotated[str, Query(max_length=400)] = "",
) -> HTMLResponse:
    """Show the next pictures."""
    chosen = Chosen(label, advertiser, value, model, least, most, unsure, state, after)
    return _page(request, identity, chosen)


@router.post("/inspect")
def decide(  # noqa: PLR0913 - the fields of a form
    request: Request,
    identity: PageCorrector,
    action: Annotated[Literal["fix", "accept", "undo_fix", "undo_review"], Form()],
    label: Annotated[Name, Form()],
    item: Annotated[list[str], Form(max_length=PAGE)] = [],  # noqa: B006 - never changed
    value: Annotated[str, Form(max_length=NAME)] = "",
    before: Annotated[str, Form(max_length=NAME)] = "",
    number: Annotated[int, Form(ge=0, lt=2**31)] = 0,
    who: Annotated[str, Form(max_length=NAME, pattern=PRINTABLE_OR_NONE)] = "",
    back: Annotated[str, Form(max_length=MAX_QUERY)] = "",
) -> Response:
    """Keep what a person has decided with a form, and show the page again."""
    name = who.strip() or _remembered(request)
    given = Decision(action, label, item, value, before or None, number)
    try:
        _keep(parts_of(request), identity, given, identity.named(name or None))
    except RequestError as error:
        return _page(request, identity, _chosen(back), problem=str(error), status=error.status)
    response = RedirectResponse(f"/inspect?{_chosen(back).query}", 303)
    if not identity.who:
        response.set_cookie(WHO, quote(name), httponly=True, samesite="lax")  # any alphabet
    return response


def _remembered(request: Request) -> str:
    name = unquote(request.cookies.get(WHO, ""))
    return name if name.isprintable() and len(name) <= NAME else ""


@dataclass(frozen=True)
class Decision:
    """What a form says."""

    action: str
    label: str
    items: list[str]  # JSON of ``Decided``
    value: str
    before: str | None
    number: int  # of the fix or confirmation that is taken back


def _keep(parts: Parts, identity: Identity, given: Decision, who: str) -> None:
    """Write a decision.

    Raises:
        RequestError: it cannot be kept; nothing is changed.
    """
    items = [_item(text) for text in given.items]
    if not items:
        raise BadRequest("no picture is chosen", remedy="Tick those that are right.")
    for each in items:
        identity.check(each.advertiser)
    if given.action == "accept":
        _accept(parts, given.label, items, who)
        return
    first = items[0]
    with parts.database.writes() as session:
        if given.action == "undo_fix":
            history.undo(session, first.advertiser, given.number, who)
        elif given.action == "undo_review":
            reviews.undo_review(session, first.advertiser, given.number, who)
        else:
            backend = parts.classifier.backend
            check_class(backend.labels, given.label, given.value)
            correction = history.Correction(
                first.advertiser,
                first.sha256,
                given.label,
                given.value,
                given.before,
                who,
                model=backend.model,
            )
            history.correct(session, correction)
            parts.images.keep(first.sha256)  # before the fix is


def _accept(parts: Parts, label: str, items: list[Decided], who: str) -> None:
    """Confirm answers; all that can be are.

    Raises:
        RequestError: one cannot.
    """
    problems: list[RequestError] = []
    for advertiser in sorted({each.advertiser for each in items}):
        own = [each for each in items if each.advertiser == advertiser]
        given = [reviews.Confirmation(each.sha256, each.value) for each in own]
        with parts.database.writes() as session:
            rows = reviews.confirm(session, advertiser, label, given, who, answering(parts))
            for each, row in zip(own, rows, strict=True):
                if isinstance(row, RequestError):
                    problems.append(row)
                else:
                    parts.images.keep(each.sha256)
    if problems:
        raise problems[0].at(f"{len(problems)} of {len(items)} pictures were not confirmed")


def _item(text: str) -> Decided:
    try:
        return _decided.validate_json(text)
    except ValidationError:
        raise BadRequest("the form does not fit", remedy="Load the page again.") from None


def _chosen(back: str) -> Chosen:
    """Return the filters of the page that a form came from."""
    known = Chosen.__dataclass_fields__
    return Chosen(**{name: value for name, value in parse_qsl(back) if name in known})


def _page(
    request: Request,
    identity: Identity,
    chosen: Chosen,
    *,
    problem: str = "",
    status: int = 200,
) -> HTMLResponse:
    parts = parts_of(request)
    if parts.classify is None:
        return render(request, "inspector_none.html")
    labels = parts.classifier.backend.labels
    label = chosen.label or next(iter(labels))
    items: list[queue.QueueItem] = []
    found = queue.Progress(0, False, 0)
    try:
        given = filter_of(parts, identity, _typed(chosen, label))
        after = queue.Cursor.of(chosen.after) if chosen.after else None
        with parts.database.reads() as session:
            items = queue.queue_page(session, given, after, PAGE)
            found = queue.progress(session, given)
    except RequestError as error:
        problem, status = problem or str(error), error.status
    with parts.database.reads() as session:
        advertisers = [] if identity.advertiser else queue.advertisers_of(session)
        models = queue.models_of(session)
    return render(
        request,
        "inspector.html",
        status=status,
        problem=problem,
        chosen=chosen,
        label=label,
        labels=labels,
        classes=labels.get(label, ()),
        keys=KEYS,
        states=STATES,
        items=[_shown(item) for item in items],
        progress=found,
        more=str(items[-1].cursor) if len(items) == PAGE else "",
        advertisers=advertisers,
        models=models,
        live=parts.classifier.backend.model,
        who=identity.who or request.cookies.get(WHO, ""),
        address=str(request.base_url).rstrip("/"),
    )


def _typed(chosen: Chosen, label: str) -> FilterQuery:
    """Return the filters that were typed.

    Raises:
        BadRequest: one does not fit.
    """
    given: dict[str, Any] = {
        name: value for name, value in vars(chosen).items() if value and name != "after"
    }
    try:
        return FilterQuery(**{**given, "label": label})
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRequest(
            f"the filter {first['loc'][0]} does not fit",
            expected=first["msg"],
            got=repr(first["input"]),
        ) from None


def _shown(item: queue.QueueItem) -> dict[str, Any]:
    """Return what the page shows of a picture."""
    query = urlencode({"advertiser": item.advertiser})
    address = f"/v1/images/{item.sha256}"
    return {
        "advertiser": item.advertiser,
        "sha256": item.sha256,
        "value": item.value,
        "holds": in_words(item.given),
        "differs": item.given != item.value,  # from what the model says
        "plain": json.dumps(item.plain),
        "before": in_words(item.plain),
        "probability": item.probability,
        "top": item.content["top"],
        "set": item.content["set"],
        "model": item.model,
        "live": item.live,
        "small": f"{address}/thumbnail?{query}&side=256",
        "large": f"{address}/thumbnail?{query}&side=768",
        "original": f"{address}?{query}",
        "fix": item.fix,
        "review": item.review,
        "confirmed": _confirmed(item),
        "form": json.dumps(
            {"advertiser": item.advertiser, "sha256": item.sha256, "value": item.given}
        ),
    }


def _confirmed(item: queue.QueueItem) -> str:
    """Return what a person has confirmed of a picture: mostly what the advertiser gets now."""
    if item.review is None or item.review.value == item.given:
        return "it"
    return in_words(item.review.value)
