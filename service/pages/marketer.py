"""The marketer's page: a picture is dropped, and its versions come back ranked.

Without JavaScript it is a form whose answer is another page; ``static/marketer.js`` sends the same
form, and puts the parts of the answer into the page that is there.
"""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.datastructures import FormData, UploadFile

from augrank.contracts.manifest import PRODUCT_TYPE
from augrank.errors import BadRequest, RequestError
from service.access.identity import Identity
from service.answers.questions import history, question_of
from service.answers.recommend import (
    OfCatalogue,
    RecommendAnswer,
    RecommendRequest,
    SentBefore,
)
from service.api.common import PRINTABLE, SHA256, read_upload
from service.api.recommend import TOKEN, QuestionRow, RecommendChoices, read_options
from service.backends.recommend import RecommendOptions
from service.database.tables import NAME, Question
from service.pages.access import PageReader
from service.pages.recommendation import preview_url, show, spaced, stem, thumbnail_url
from service.pages.render import render
from service.parts import Parts, parts_of

DEFAULT_ADVERTISER = "default"
ON_PAGE, IN_HISTORY = 48, 20  # catalogue images; questions
FRAGMENT = "X-Fragment"  # header of the script's requests: it wants a part of the page
CONTEXT = "context."  # before the name of a column, in the form
MAX_FIELD = 500  # characters
ACCEPTED = ".jpg,.jpeg,.png,.webp,.gif,.avif,.bmp,.tif,.tiff,.heic,image/*"
router = APIRouter(include_in_schema=False)
AdvertiserField = Annotated[str, Query(max_length=NAME, pattern=f"{PRINTABLE}|^$")]


async def posted(request: Request) -> AsyncIterator[FormData]:
    """Give a form that was posted, whose fields depend on the model."""
    async with request.form(max_files=1, max_fields=100) as form:
        yield form


@router.get("/")
def page(  # noqa: PLR0913 - the fields of a form
    request: Request,
    identity: PageReader,
    advertiser: AdvertiserField = "",
    search: Annotated[str, Query(max_length=200)] = "",
    product_type: Annotated[str, Query(max_length=200)] = "",
    after: Annotated[int, Query(ge=-1, le=10**9)] = -1,
    before: Annotated[str, Query(pattern=f"{TOKEN}|^$")] = "",
) -> HTMLResponse:
    """Show the empty page, or a part of the catalogue or of the history."""
    parts = parts_of(request)
    if parts.recommend is None:
        return render(request, "no_recommender.html", has_classifier=parts.classify is not None)
    found = _catalogue(parts, search, product_type, after)
    if request.headers.get(FRAGMENT) == "catalogue":
        return render(request, "marketer_catalogue.html", catalogue=found)
    whose = _advertiser(identity, advertiser)
    if request.headers.get(FRAGMENT) == "history":
        return render(request, "marketer_history.html", history=_history(parts, whose, before))
    return _page(request, whose, catalogue=found, before=before)


@router.get("/q/{token}")
def question(
    request: Request, identity: PageReader, token: Annotated[str, Path(pattern=TOKEN)]
) -> HTMLResponse:
    """Show a question that was asked before, to those who may see its advertiser."""
    parts = parts_of(request)
    service = parts.recommender
    with parts.database.reads() as session:
        asked = question_of(session, token, identity.advertiser)
    try:
        answer = service.again(asked, identity.who)
    except RequestError as error:
        return _page(request, asked.advertiser, asked=asked, problem=error)
    return _page(request, asked.advertiser, asked=asked, answer=answer)


@router.post("/")
def ask(
    request: Request, identity: PageReader, form: Annotated[FormData, Depends(posted)]
) -> Response:
    """Answer the form: with the parts of the page that change, or without script, a new page."""
    parts, wants_parts = parts_of(request), request.headers.get(FRAGMENT) == "answer"
    service, advertiser = parts.recommender, DEFAULT_ADVERTISER
    try:
        advertiser = _advertiser(identity, _field(form, "advertiser"))
        _check_name(advertiser)
        options = _options(form)
        image = _image(parts, form)
        answer = service(RecommendRequest(advertiser, image, options, identity.who))
    except RequestError as error:
        if wants_parts:
            return JSONResponse(error.to_dict(), error.status)
        return _page(request, advertiser, problem=error, form=form)
    if not wants_parts:
        return RedirectResponse(f"/q/{answer.question}", 303)
    return render(
        request,
        "marketer_parts.html",
        shown=show(answer, service.backend),
        history=_history(parts, advertiser),
    )


def _page(  # noqa: PLR0913 - what a page may show
    request: Request,
    advertiser: str,
    *,
    catalogue: dict[str, Any] | None = None,
    asked: Question | None = None,
    answer: RecommendAnswer | None = None,
    problem: RequestError | None = None,
    form: FormData | None = None,
    before: str = "",
) -> HTMLResponse:
    """Render the whole page."""
    parts = parts_of(request)
    backend = parts.recommender.backend
    chosen = _chosen(asked, form)
    return render(
        request,
        "marketer.html",
        status=problem.status if problem else 200,
        advertiser=advertiser,
        fields=_fields(parts, chosen),
        sha256=asked.sha256 if asked else "",
        shown=show(answer, backend) if answer else None,
        problem=problem,
        catalogue=catalogue or _catalogue(parts, "", "", -1),
        history=_history(parts, advertiser, before),
        accepted=ACCEPTED,
        max_mb=parts.settings.max_upload_mb,
    )


def _advertiser(identity: Identity, given: str) -> str:
    """Return whose page it is: a key's advertiser, else what is given.

    Raises:
        NotFound: another's is given.
    """
    if identity.advertiser is not None:
        identity.check(given or identity.advertiser)
        return identity.advertiser
    return given.strip() or DEFAULT_ADVERTISER


def _check_name(advertiser: str) -> None:
    if len(advertiser) > NAME or not re.fullmatch(PRINTABLE, advertiser):
        raise BadRequest(
            "the advertiser does not fit",
            expected=f"a name of at most {NAME} characters",
            got=advertiser,
        )


def _field(form: FormData, name: str) -> str:
    """Return a field of a form; empty if it was left out.

    Raises:
        BadRequest: it is a file, or too long.
    """
    value = form.get(name, "")
    if not isinstance(value, str) or len(value) > MAX_FIELD:
        raise BadRequest(f"the field {name[:40]!r} does not fit", expected="a short text")
    return value


def _options(form: FormData) -> RecommendOptions:
    context = {
        name.removeprefix(CONTEXT): value
        for name in form
        if name.startswith(CONTEXT) and (value := _field(form, name))
    }
    return read_options({"target": _field(form, "target") or None, "context": context})


def _image(parts: Parts, form: FormData) -> bytes | SentBefore | OfCatalogue:
    """Return what was picked last: an image of the catalogue, a file, or the one before.

    Raises:
        RequestError: nothing was, or the file is too large.
    """
    if path := _field(form, "catalogue"):
        return OfCatalogue(path)
    upload = form.get("image")
    if isinstance(upload, UploadFile) and upload.filename:
        read = read_upload(upload, parts.limits.size_bytes)
        if isinstance(read, RequestError):
            raise read
        return read
    sha256 = _field(form, "sha256")
    if re.fullmatch(SHA256, sha256):
        return SentBefore(sha256)
    raise BadRequest(
        "there is no picture",
        expected="a file, or a picture of the catalogue",
        got="none",
        remedy="Drop a picture into the field, or choose one.",
    )


def _chosen(asked: Question | None, form: FormData | None) -> dict[str, str]:
    """Return what is selected in the drop-downs, by the name of the field."""
    if asked is not None:
        context = asked.options["context"]
        values = {f"{CONTEXT}{name}": str(value) for name, value in context.items()}
        return {"target": asked.options["target"], **values}
    return {name: value for name, value in (form or {}).items() if isinstance(value, str)}


def _fields(parts: Parts, chosen: dict[str, str]) -> list[dict[str, Any]]:
    """Return the drop-downs and fields of the form."""
    choices = RecommendChoices.of(parts.recommender.backend)
    fields: list[dict[str, Any]] = [
        {
            "name": "target",
            "label": "Target",
            "values": [(target.name, spaced(target.name)) for target in choices.targets],
            "none": None,
        }
    ]
    for column in choices.context:
        fields.append(
            {
                "name": f"{CONTEXT}{column.name}",
                "label": spaced(column.name).capitalize(),
                "values": [(value, spaced(value)) for value in column.values],
                "none": None if column.required else "not stated",
                "number": (column.low, column.high) if column.kind == "numeric" else None,
            }
        )
    if choices.product_types and PRODUCT_TYPE not in {column.name for column in choices.context}:
        fields.append(
            {
                "name": f"{CONTEXT}{PRODUCT_TYPE}",
                "label": "Product type",
                "values": [(value, spaced(value)) for value in choices.product_types],
                "none": "of the picture, or any",
            }
        )
    for field in fields:
        field["id"] = field["name"].removeprefix(CONTEXT).replace("_", "-")
        field.setdefault("number", None)
        field["chosen"] = chosen.get(field["name"], "")
    return fields


def _catalogue(parts: Parts, search: str, product_type: str, after: int) -> dict[str, Any]:
    """Return the part of the catalogue that is shown."""
    backend = parts.recommender.backend
    page = backend.catalogue.search(search, product_type, after, ON_PAGE)
    images = [
        {"path": image.path, "name": stem(image.path), "url": thumbnail_url(backend, image.path)}
        for image in page.images
    ]
    more = ""
    if page.next_after is not None:
        query = {"search": search, "product_type": product_type, "after": page.next_after}
        more = f"/?{urlencode(query)}#catalogue"
    return {
        "images": images,
        "count": len(backend.catalogue.images),
        "found": page.found,
        "search": search,
        "more": more,
        "is_open": bool(search or after >= 0),
    }


def _history(parts: Parts, advertiser: str, before: str = "") -> dict[str, Any]:
    """Return the questions that the advertiser asked last, or before another one, by its token.

    Raises:
        NotFound: there is no such question of this advertiser.
    """
    backend = parts.recommender.backend
    with parts.database.reads() as session:
        found = history(session, advertiser, before or None, IN_HISTORY + 1)
        rows = [QuestionRow.of(row) for row in found[:IN_HISTORY]]
    original = backend.augmentations.names[0]
    questions = [
        {
            "token": row.token,
            "picture": preview_url(backend, advertiser, row.sha256, original),
            "target": spaced(row.target),
            "conditions": ", ".join(str(value) for value in row.context.values()),
            "who": row.who,
            "at": row.at,
        }
        for row in rows
    ]
    query = {"advertiser": advertiser}
    older = {**query, "before": rows[-1].token} if len(found) > IN_HISTORY else None
    return {
        "questions": questions,
        "older": f"/?{urlencode(older)}#history" if older else "",
        "newest": f"/?{urlencode(query)}#history" if before else "",
    }
