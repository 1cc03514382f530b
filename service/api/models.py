"""Routes of models: which there are, which is live, promotion, rollback, and the watch."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from augrank.errors import BundleError
from service.access.identity import Identity
from service.api.common import ERRORS, Admin, Id, JsonRoute, Name, Reader, Sha256, Why
from service.database.tables import Model, Promotion
from service.errors import Conflict, Forbidden, NotFound
from service.models.statistics import Interval
from service.models.visible import visible_gate, visible_metrics, visible_note
from service.models.watch import Tally, WatchReport, report_of
from service.parts import parts_of

Task = Annotated[Name, Query(description="Such as classify.")]
MAX_HISTORY = 500
router = APIRouter(prefix="/v1/models", responses=ERRORS, route_class=JsonRoute)


class ModelRow(BaseModel):
    """A model."""

    id: int
    task: str
    name: str
    digest: str = Field(description="sha256 of its bundle.json.")
    state: Literal["candidate", "live", "retired", "rejected"]
    answering: bool = Field(description="Whether it answers in the process that was asked.")
    kept: bool = Field(description="Whether its bundle is still there.")
    created_at: datetime
    parent: str | None = Field(description="Digest of the model that was live when it was trained.")
    dataset: str | None = Field(description="Digest of the dataset that it was trained on.")
    metrics: dict[str, Any]
    gate: dict[str, Any] | None = Field(description="What the gate says of it.")
    alarm_at: datetime | None = Field(description="When the watch raised its alarm.")

    @classmethod
    def of(cls, model: Model, identity: Identity, answering: Mapping[str, str]) -> "ModelRow":
        """Return a row, with what this caller may see."""
        return cls(
            **{
                name: getattr(model, name)
                for name in cls.model_fields
                if name not in ("answering", "kept", "metrics", "gate")
            },
            answering=answering.get(model.task) == model.digest,
            kept=bool(model.path),
            metrics=visible_metrics(model.metrics, identity.advertiser),
            gate=visible_gate(model.gate, identity.advertiser),
        )


class PromotionRow(BaseModel):
    """A row of the history of live models."""

    id: int
    task: str
    kind: Literal["promote", "rollback"]
    before: int | None = Field(description="The model until then; null: the first one.")
    after: int = Field(description="The model from then.")
    who: str = Field(description="Empty for keys of one advertiser.")
    why: str = Field(description="Empty for keys of one advertiser.")
    at: datetime
    gate: dict[str, Any] | None

    @classmethod
    def of(cls, row: Promotion, identity: Identity) -> "PromotionRow":
        """Return a row, with what this caller may see."""
        return cls(
            id=row.id,
            task=row.task,
            kind="rollback" if row.kind == "rollback" else "promote",
            before=row.before_id,
            after=row.after_id,
            who=visible_note(row.who, identity.advertiser),
            why=visible_note(row.why, identity.advertiser),
            at=row.at,
            gate=visible_gate(row.gate, identity.advertiser),
        )


class ModelList(BaseModel):
    """Models, the last ones first."""

    models: list[ModelRow]


class PromotionList(BaseModel):
    """Promotions and rollbacks, the last ones first."""

    promotions: list[PromotionRow]


class PromoteRequest(BaseModel):
    """Who promotes a model, and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"who": "ana", "why": "better on convertibles"}]},
    )

    who: Name | None = Field(None, description="Who says so; a key's holder is known without.")
    why: Why = ""
    force: bool = Field(False, description="Also a model that the gate has rejected.")
    expected: Sha256 | None = Field(
        None, description="Digest of the model that must be live, else 409; null: whichever is."
    )


class RollbackRequest(BaseModel):
    """Who rolls back, and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"task": "classify", "who": "ana", "why": "white vans"}]},
    )

    task: Name = "classify"
    who: Name | None = Field(None, description="Who says so; a key's holder is known without.")
    why: Why = ""
    expected: Sha256 | None = Field(
        None, description="Digest of the model that must be live, else 409; null: whichever is."
    )


class Share(BaseModel):
    """A share and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, interval: Interval) -> "Share":
        """Return a share."""
        return cls(value=interval.value, low=interval.low, high=interval.high)


class WatchTally(BaseModel):
    """What came of a model's answers."""

    answered: int = Field(description="Pictures, new to the advertiser, whose day is over.")
    fixed: int = Field(description="Those that were corrected within a day.")
    fix_rate: Share
    judged: int = Field(description="Labels that people have corrected or confirmed.")
    agreed: int = Field(description="Those that are what the model says.")
    agreement: Share

    @classmethod
    def of(cls, tally: Tally) -> "WatchTally":
        """Return a tally."""
        return cls(
            answered=tally.answered,
            fixed=tally.fixed,
            fix_rate=Share.of(tally.fix_rate),
            judged=tally.judged,
            agreed=tally.agreed,
            agreement=Share.of(tally.agreement),
        )


class WatchRow(BaseModel):
    """The live model beside the one before it: for an advertiser, or on a day."""

    name: str
    live: WatchTally
    before: WatchTally | None


class WatchEvidence(BaseModel):
    """What speaks for it that people correct the live model more often."""

    within_hours: float = Field(description="Of the answer, for a fix to count.")
    ratio: float = Field(description="Likelihood ratio of all advertisers together.")
    alarm_above: float
    worse: list[str] = Field(description="Advertisers for which it is worse.")


class WatchState(BaseModel):
    """How the live model does after its promotion."""

    task: str
    live: int
    before: int | None
    since: datetime
    alarm: bool
    alarm_at: datetime | None
    total: WatchRow
    advertisers: list[WatchRow]
    days: list[WatchRow]
    evidence: list[WatchEvidence]

    @classmethod
    def of(cls, report: WatchReport) -> "WatchState":
        """Return a report."""
        live, before = report.live.digest, report.before.digest if report.before else None

        def rows(own: Mapping[str, Tally], other: Mapping[str, Tally]) -> list[WatchRow]:
            names = sorted({*own, *other})
            return [_row(name, own.get(name), other.get(name), before) for name in names]

        return cls(
            task=report.task,
            live=report.live.id,
            before=report.before.id if report.before else None,
            since=report.since,
            alarm=report.alarm_at is not None,
            alarm_at=report.alarm_at,
            total=_row("all", report.total(live), report.total(before or ""), before),
            advertisers=rows(report.by_advertiser(live), report.by_advertiser(before or "")),
            days=rows(report.by_day(live), report.by_day(before or "")),
            evidence=[
                WatchEvidence(
                    within_hours=hours,
                    ratio=each.pooled,
                    alarm_above=each.pooled_bar,
                    worse=list(each.worse),
                )
                for hours, each in report.evidence.items()
            ],
        )


def _row(name: str, live: Tally | None, other: Tally | None, before: str | None) -> WatchRow:
    return WatchRow(
        name=name,
        live=WatchTally.of(live or Tally()),
        before=WatchTally.of(other or Tally()) if before else None,
    )


@router.get("", summary="Which models there are")
def models(
    request: Request, identity: Reader, task: Annotated[Name | None, Query()] = None
) -> ModelList:
    """List the models, the last ones first, with what the gate says of them."""
    found, answering = parts_of(request).models, parts_of(request).models.answering
    rows = found.registry.models(task)
    return ModelList(models=[ModelRow.of(row, identity, answering) for row in rows])


@router.get("/promotions", summary="Which model was live when")
def promotions(
    request: Request,
    identity: Reader,
    task: Annotated[Name | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_HISTORY)] = 100,
) -> PromotionList:
    """List promotions and rollbacks, the last ones first."""
    rows = parts_of(request).models.registry.history(task, limit)
    return PromotionList(promotions=[PromotionRow.of(row, identity) for row in rows])


@router.get("/watch", summary="How the live model does")
def watch(request: Request, identity: Reader, task: Task = "classify") -> WatchState:
    """Compare the live model with the one before it: fixes and agreement, by advertiser and day.

    The alarm says that people correct it more often, with an error of 5 % however often one looks.
    """
    with parts_of(request).database.reads() as session:
        report = report_of(session, task)
        if report is None:
            raise NotFound("there is no live model", expected="a model of this task", got=task)
    return WatchState.of(report.only(identity.advertiser))


@router.post("/{model_id}/promote", status_code=201, summary="Promote a model")
def promote(request: Request, identity: Admin, model_id: Id, body: PromoteRequest) -> PromotionRow:
    """Make a model the live one.

    It is loaded beside the one that answers, and asked for its smoke request; then it takes the
    place of the other between two requests. None fails. Answers of the other one are kept, but
    not used any more.
    """
    _check_whole(identity)
    who, models = identity.named(body.who), parts_of(request).models
    promoter = models.promoter(models.registry.get(model_id).task)
    try:
        row = promoter.promote(model_id, who, body.why, force=body.force, expected=body.expected)
    except BundleError as error:
        raise _unusable(error) from error
    return PromotionRow.of(row, identity)


@router.post("/rollback", status_code=201, summary="Roll back to the model before")
def rollback(request: Request, identity: Admin, body: RollbackRequest) -> PromotionRow:
    """Make the model that was live before the live one answer again.

    Name the live one in ``expected``: then a repeated request does not go back one model further.
    """
    _check_whole(identity)
    who = identity.named(body.who)
    try:
        promoter = parts_of(request).models.promoter(body.task)
        row = promoter.rollback(who, body.why, expected=body.expected)
    except BundleError as error:
        raise _unusable(error) from error
    return PromotionRow.of(row, identity)


def _check_whole(identity: Identity) -> None:
    """Check that a key is for all advertisers: a model answers all of them.

    Raises:
        Forbidden: it is for one.
    """
    if identity.advertiser is not None:
        raise Forbidden(
            "a model answers all advertisers",
            expected="a key for all of them",
            got=f"one for {identity.advertiser}",
        )


def _unusable(error: BundleError) -> Conflict:
    return Conflict(
        f"the bundle cannot be used: {error.problem}",
        expected=error.expected,
        got=error.got,
        remedy=error.remedy or "The live model answers on.",
    )
