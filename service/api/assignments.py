"""Hand out candidates, and show what was handed out."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from augrank.errors import BadRequest
from augrank.models.targets import Direction
from service.answers.recommend import OfCatalogue, RecommendRequest, SentBefore
from service.api import examples
from service.api.common import ERRORS, SHA256, AdvertiserQuery, Corrector, Name, Reader, Url
from service.api.outcomes import OutcomeRow
from service.api.recommend import EXAMPLE_CONTEXT, MAX_JSON, read_context, read_options
from service.database.tables import KEY, Assignment
from service.errors import ImageExpired
from service.outcomes.assignments import Wish, add_assignment, assignment_of, replay
from service.outcomes.policies import DEFAULT_FLOOR, MAX_FLOOR, SEEDS, Policy, PolicyName
from service.outcomes.reports import outcomes_of
from service.parts import parts_of

router = APIRouter(prefix="/v1/assignments", responses=ERRORS)


class AssignedCandidate(BaseModel):
    """A candidate, what was believed of it, and how likely it was drawn."""

    name: str
    parameters: list[dict[str, Any]] = Field(description="The augmentation's steps, exactly.")
    probability: float
    interval: tuple[float, float]
    difference: float
    difference_interval: tuple[float, float]
    propensity: float


class AssignmentRow(BaseModel):
    """A candidate that was handed out, with all that is needed to draw it again."""

    id: str = Field(description="Name it when you report what came of it.")
    advertiser: str
    sha256: str = Field(description="Of the unchanged image.")
    model_digest: str
    target: str
    direction: Direction
    context: dict[str, Any]
    policy: PolicyName
    floor: float
    version: int = Field(description="Of the policies.")
    seed: int
    candidates: list[AssignedCandidate]
    recommended: str = Field(description="The verdict's choice.")
    choice: str = Field(description="The candidate to show.")
    propensity: float = Field(description="Exactly the probability with which it was drawn.")
    unit: str | None
    who: str
    at: datetime

    @classmethod
    def of(cls, row: Assignment) -> "AssignmentRow":
        """Return a row of the database."""
        same = set(cls.model_fields) - {"id", "model_digest"}
        given = {name: getattr(row, name) for name in same}
        return cls(id=row.key, model_digest=row.model, **given)


class ReplayResult(BaseModel):
    """The draw, made again from the log."""

    same: bool = Field(description="Choice and propensities are what was logged, bit for bit.")
    choice: str
    propensities: list[float]


class AssignmentHistory(BaseModel):
    """An assignment, its draw made again, and what came of it."""

    assignment: AssignmentRow
    replay: ReplayResult
    outcomes: list[OutcomeRow]


@router.get("", summary="Get a candidate to show")
def assign(  # noqa: PLR0913 - the fields of a query
    request: Request,
    response: Response,
    identity: Corrector,
    advertiser: AdvertiserQuery,
    sha256: Annotated[
        str | None,
        Query(
            pattern=SHA256,
            description="Of an image that was sent before.",
            examples=[examples.SHA256],
        ),
    ] = None,
    catalogue: Annotated[
        Url | None,
        Query(description="Path of an image of it.", examples=[examples.CATALOGUE_PATH]),
    ] = None,
    target: Annotated[
        Name | None,
        Query(description="Optional with a single one.", examples=[examples.TARGET]),
    ] = None,
    context: Annotated[
        str | None,
        Query(
            max_length=MAX_JSON, description=f"JSON: {EXAMPLE_CONTEXT}", examples=[EXAMPLE_CONTEXT]
        ),
    ] = None,
    policy: PolicyName = "thompson",
    floor: Annotated[
        float, Query(ge=0, le=MAX_FLOOR, description="Least propensity of thompson.")
    ] = DEFAULT_FLOOR,
    seed: Annotated[int | None, Query(ge=0, lt=SEEDS, description="Random by default.")] = None,
    unit: Annotated[
        Name | None,
        Query(
            description="Recipient or campaign that gets the same one again.", examples=["list 7"]
        ),
    ] = None,
) -> AssignmentRow:
    """Draw a candidate of an image by a policy, and keep the draw with its exact propensity.

    `best` is the verdict's choice, `uniform` any of them, `thompson` each as often as it is the
    best one under the answer's own uncertainty, but none less often than `floor`.
    A `unit` gets the candidate of its first time, whatever has changed since then.
    An advertiser may have so many assignments without outcomes; beyond that the answer is 429.
    """
    identity.check(advertiser)
    parts = parts_of(request)
    options = read_options({"target": target, "context": read_context(context), "alternates": 0})
    image = _image(sha256, catalogue)
    asked = RecommendRequest(advertiser, image, options, identity.who, noted=False)
    answer = parts.recommender(asked)
    wish = Wish(Policy(policy, floor), identity.who, unit, seed)
    with parts.database.writes() as session:
        added = add_assignment(session, answer, wish, parts.open_assignments)
        if not parts.images.keep(answer.sha256):  # training will need it
            raise ImageExpired.of(answer.sha256)
        row = AssignmentRow.of(added)
    response.headers["Cache-Control"] = "no-store"  # every draw is another one
    return row


@router.get("/{key}", summary="What was handed out, and what came of it")
def show(
    request: Request,
    identity: Reader,
    key: Annotated[str, Path(pattern=f"^[0-9a-f]{{{KEY}}}$", examples=[examples.ASSIGNMENT])],
    advertiser: AdvertiserQuery,
) -> AssignmentHistory:
    """Return an assignment with its outcomes, and draw it again from what was logged."""
    identity.check(advertiser)
    with parts_of(request).database.reads() as session:
        row = assignment_of(session, advertiser, key)
        again = replay(row)
        return AssignmentHistory(
            assignment=AssignmentRow.of(row),
            replay=ReplayResult(
                same=again.same, choice=again.choice, propensities=list(again.propensities)
            ),
            outcomes=[OutcomeRow.of(each, key) for each in outcomes_of(session, row)],
        )


def _image(sha256: str | None, catalogue: str | None) -> SentBefore | OfCatalogue:
    if sha256 is not None and catalogue is None:
        return SentBefore(sha256)
    if catalogue is not None and sha256 is None:
        return OfCatalogue(catalogue)
    raise BadRequest(
        "an assignment is for one image",
        expected="sha256 or catalogue",
        got="both" if sha256 else "none",
    )
