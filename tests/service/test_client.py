"""The client that others copy: its types are those of the service, and it does what it says."""

import pytest

from service import client
from service.answers.effective import EffectiveAnswer, EffectiveLabel, FixNote
from service.answers.recommend import RecommendAnswer
from service.api import batches, recommend
from service.api.fixes import history
from service.client import ServiceClient, ServiceError
from tests.service.support.marketing import picture
from tests.service.support.pages import Caller, photo
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
        (client.BatchItem, batches.BatchItem),
        (client.Recommendation, RecommendAnswer),
        (client.QuestionRow, recommend.QuestionRow),
    ],
)
def test_types_are_those_of_the_service(typed, model):
    assert set(typed.__annotations__) == set(model.model_fields)


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
        done = service.wait(batch["id"], timeout_s=30)
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
