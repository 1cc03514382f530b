"""The client that others copy: its types are those of the service, and it does what it says."""

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_type_hints

import pytest

from service import client
from service.answers.effective import EffectiveAnswer, EffectiveLabel, FixNote
from service.answers.recommend import RecommendAnswer
from service.api import assignments, batches, models, outcomes, pictures, recommend, retraining
from service.api.fixes import configured, history, queue
from service.app import create_app
from service.client import ServiceClient, ServiceError
from service.database.session import Database
from service.database.tables import Model
from service.outcomes.reports import Report
from service.settings import ServiceSettings
from tests.service.support.fixed_model import FixedModel
from tests.service.support.keyed import Requests, client_of
from tests.service.support.marketing import picture
from tests.service.support.pages import Caller, photo
from tests.service.support.recommender_stub import DrawnRecommender
from tests.support.patience import PATIENCE_S
from tests.training.download.site import Site


@pytest.fixture
def service(caller: Caller) -> ServiceClient:
    made = ServiceClient("http://service", "ada", "ana")
    made.close()
    made._http = caller.http
    return made


@pytest.mark.parametrize(
    ("typed", "model"),
    [
        (client.FixNote, FixNote),
        (client.Label, EffectiveLabel),
        (client.ImageAnswer, EffectiveAnswer),
        (client.FixRow, history.FixRow),
        (client.BatchState, batches.BatchState),
        (client.ConfiguredValue, configured.ConfiguredRow),
        (client.BatchItem, batches.BatchItem),
        (client.Recommendation, RecommendAnswer),
        (client.QuestionRow, recommend.QuestionRow),
        (client.CatalogueRow, pictures.CatalogueRow),
        (client.HeldFix, queue.FixValue),
        (client.QueuePicture, queue.QueuePicture),
        (client.QueueProgress, queue.QueueProgress),
        (client.Confirmed, queue.Confirmed),
        (client.ReviewRow, queue.ReviewRow),
        (client.AssignedCandidate, assignments.AssignedCandidate),
        (client.Assignment, assignments.AssignmentRow),
        (client.AssignmentHistory, assignments.AssignmentHistory),
        (client.Report, Report),
        (client.Outcome, outcomes.OutcomeRow),
        (client.ReportResult, outcomes.ReportResult),
        (client.OutcomesImport, outcomes.ImportResult),
        (client.ModelRow, models.ModelRow),
        (client.PromotionRow, models.PromotionRow),
        (client.RetrainState, retraining.RetrainState),
        (client.Retraining, retraining.Retraining),
    ],
)
def test_types_are_those_of_the_service(typed, model):
    assert set(get_type_hints(typed)) == set(model.model_fields)


KNOWN = {"advertiser", "who"}  # of the client itself
PAGED = {"after", "before", "before_id", "limit"}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("method", "path", "of_client"),
    [
        ("post", "/v1/classify", ServiceClient.classify),
        ("post", "/v1/batches", ServiceClient.batch),
        ("post", "/v1/recommend", ServiceClient.recommend),
        ("get", "/v1/queue", ServiceClient.queue),
        ("get", "/v1/assignments", ServiceClient.assign),
        ("post", "/v1/fixes", ServiceClient.correct),
        ("post", "/v1/retraining", ServiceClient.retrain),
        ("post", "/v1/models/rollback", ServiceClient.rollback),
        ("post", "/v1/models/{model_id}/promote", ServiceClient.promote),
        ("get", "/v1/catalogue", ServiceClient.catalogue),
    ],
)
def test_a_method_takes_what_the_service_takes(
    database: Database, tmp_path, method: str, path: str, of_client: Callable[..., Any]
):
    app = create_app(ServiceSettings(folder=tmp_path), database, FixedModel(0), DrawnRecommender())
    taken = set(inspect.signature(of_client).parameters) - {"self"}
    left = KNOWN | (PAGED if method == "get" else set())
    assert taken == Requests(app).fields(method, path) - left


@pytest.fixture
def stubbed(database: Database, tmp_path) -> ServiceClient:
    """A client of a service whose models say what they like."""
    app = create_app(ServiceSettings(folder=tmp_path), database, FixedModel(0), DrawnRecommender())
    made = ServiceClient("http://service", "ada", "ana")
    made.close()
    made._http = client_of(app)
    return made


def test_files_and_urls_are_classified_with_all_options(stubbed: ServiceClient):
    url = "http://127.0.0.1:9/é.jpg"
    first, second = stubbed.classify(photo(0), urls=[url], coverage=0.8, top=2)
    assert first["labels"]["colour"]["value"] == "blue"
    assert "public" in second["error"]["message"]
    for wrong in ({"top": 0}, {"coverage": 1.0}, {"configured": {"colour": "red"}}):
        with pytest.raises(ServiceError, match=next(iter(wrong))):
            stubbed.classify(photo(0), **wrong)


def test_the_queue_is_looked_through(stubbed: ServiceClient):
    answers = stubbed.classify(*(photo(n) for n in range(60)))
    pictures = list(stubbed.queue("colour", most=0.95, state="open"))
    assert {each["sha256"] for each in pictures} == {each["sha256"] for each in answers}  # 2 pages
    assert list(stubbed.queue("colour", unsure=True)) == []
    first, second, *_ = pictures
    row = stubbed.correct(first["sha256"], "colour", "red", why="seen")
    with pytest.raises(ServiceError, match="changed in the meantime"):
        stubbed.correct(first["sha256"], "colour", "green")
    stubbed.correct(first["sha256"], "colour", "green", before=row["after"])
    right, refused = stubbed.confirm("colour", {second["sha256"]: "blue", "f" * 64: "blue"})
    assert (right["error"], refused["id"]) == (None, None)
    assert stubbed.progress("colour") == {"left": 58, "more": False, "done": 2}
    assert stubbed.undo_confirmation(right["id"])["undone_by"] == "ana"
    (fixed,) = stubbed.queue("colour", state="corrected")
    assert fixed["fix"]["value"] == "green"


def test_a_candidate_is_assigned_and_reported_in_a_file(stubbed: ServiceClient):
    asked = stubbed.recommend(picture(0), thumbnails=True, alternates=0)
    assert asked["candidates"][0]["thumbnail"]
    assert stubbed.version(asked["sha256"], "original", full=True) == picture(0)
    given = stubbed.assign(asked["sha256"], floor=0.01, seed=7)
    assert (given["floor"], given["seed"]) == (0.01, 7)
    file = f"assignment,successes,trials\n{given['id']},3,10\n{'f' * 32},1,2\n".encode()
    done = stubbed.report_csv(file)
    assert (done["added"], done["refused"], done["errors"][0]["line"]) == (1, 1, 3)
    told = stubbed.assignment(given["id"])
    assert told["replay"]["same"]
    assert [row["successes"] for row in told["outcomes"]] == [3]
    assert stubbed.outcomes().count(asked["sha256"]) == 1
    with pytest.raises(ServiceError, match="sha256 or catalogue"):
        stubbed.assign(asked["sha256"], catalogue="a.png")
    assert list(stubbed.catalogue("shoe")) == []


def test_models_and_retraining(stubbed: ServiceClient, database: Database):
    assert stubbed.models() == []
    assert stubbed.retraining() == {"last": None, "new_fixes": 0}
    with pytest.raises(ServiceError, match="no such model"):
        stubbed.promote(1)
    now = datetime.now(UTC)
    with database.writes() as session:
        session.add(Model(task="classify", name="m", digest="0" * 64, path="x", state="live",
                          created_at=now, metrics={}))  # fmt: skip
    (row,) = stubbed.models("classify")
    assert (row["id"], row["state"], row["answering"]) == (1, "live", True)
    with pytest.raises(ServiceError, match="is live already"):
        stubbed.promote(1, force=True)
    with pytest.raises(ServiceError, match="nothing to roll back to"):
        stubbed.rollback(expected="0" * 64)
    (answer,) = stubbed.classify(photo(0))
    stubbed.fix(answer, "colour", "red")
    state = stubbed.retrain(candidates=2, review=False)
    assert (state["state"], stubbed.retraining()["last"]) == ("waiting", state)


def test_an_image_is_classified_corrected_and_restored(service: ServiceClient):
    image = photo(0)
    (answer,) = service.classify(image)
    told = answer["labels"]["colour"]["value"]
    first, second = [name for name in ("blue", "green", "red") if name != told]
    service.fix(answer, "colour", first, why="seen")
    with pytest.raises(ServiceError, match="changed in the meantime") as refused:
        service.fix(answer, "colour", second)  # of an answer before the fix
    assert (refused.value.status, refused.value.code) == (409, "conflict")
    (fixed,) = service.classify(image)
    row = service.fix(fixed, "colour", second)
    assert (row["before"], row["after"]) == (first, second)
    service.undo(row["id"])
    assert service.classify(image)[0]["labels"]["colour"]["value"] == first
    assert [row["after"] for row in service.history(answer["sha256"])] == [first, second, first]


def test_a_broken_image_has_an_error_and_a_bad_request_is_one(service: ServiceClient):
    assert service.classify(b"nothing")[0]["error"]["status"] == 415
    with pytest.raises(ServiceError, match="Box Review"):
        service.classify(photo(1), review_kind="Hat Review")


def test_a_batch_is_waited_for(service: ServiceClient):
    site = Site()
    try:
        batch = service.batch([site.image("/a.png", 1)])
        done = service.wait(batch["id"], timeout_s=PATIENCE_S)
        assert (done["answered"], done["skipped"]) == (0, 1)  # loopback is no public address
        (item,) = service.results(batch["id"])
        assert "public" in item["answer"]["error"]["message"]
    finally:
        site.server.end()


def test_an_image_is_recommended_and_listed(marketer):
    service = ServiceClient("http://service", "ada", "ana")
    service.close()
    service._http = marketer.http
    context = {"campaign_type": "Newsletter", "industry": "Retail"}
    first = service.recommend(picture(0), target="open_rate", context=context)
    named = ("brighter", "sketch")
    second = service.recommend(
        sha256=first["sha256"], target="open_rate", context=context, candidates=named
    )
    assert {score["name"] for score in second["candidates"]} == {"original", *named}
    tokens = [row["token"] for row in service.questions()]
    assert tokens == [second["question"], first["question"]]
    with pytest.raises(ServiceError, match="did you mean open_rate"):
        service.recommend(picture(0), target="open", context=context)
