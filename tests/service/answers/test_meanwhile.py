"""What others do while a model thinks about a new image."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from service.answers.classify import ClassifyRequest, ClassifyService
from service.answers.recommend import RecommendRequest, RecommendService
from service.backends import recommend as recommend_backend
from service.backends.classify import ClassifyOptions
from service.backends.recommend import RecommendBundle, RecommendOptions
from service.database.session import Database
from service.database.tables import Picture, QueueEntry, Sighting, StoredImage
from service.fixes import history
from service.images.forget import ForgottenPictures
from service.images.store import ImageStore
from tests.service.images.test_forget import grow_old
from tests.service.support.fixed_model import FixedModel
from tests.service.support.marketing import CONTEXT, picture
from tests.service.support.pages import photo, sha256
from tests.service.support.recommender_stub import DrawnRecommender

PNG, JPEG = photo(1), photo(1, ".jpg")


class Interrupted(FixedModel):
    """A classifier, during whose first call something else happens."""

    def __init__(self) -> None:
        super().__init__(0)
        self.meanwhile: Callable[[], object] | None = None
        self.asked: list[int] = []

    def classify(self, images, options):
        self.asked.append(len(images))
        if meanwhile := self.meanwhile:
            self.meanwhile = None
            meanwhile()
        return super().classify(images, options)


@pytest.fixture
def model() -> Interrupted:
    return Interrupted()


@pytest.fixture
def service(database: Database, model: Interrupted, tmp_path) -> ClassifyService:
    return ClassifyService(database, model, ImageStore(tmp_path, 10**7))


@pytest.fixture
def recommender(database: Database, tmp_path) -> RecommendService:
    return RecommendService(database, DrawnRecommender(), ImageStore(tmp_path, 10**7))


def classify(service: ClassifyService, *images: bytes | str, advertiser: str = "ada"):
    return service(ClassifyRequest(advertiser, images, ClassifyOptions(), {}))


def count(database: Database, table: type) -> int:
    with database.reads() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.mark.parametrize("other", [PNG, JPEG])
@pytest.mark.parametrize("advertiser", ["ada", "bob"])
def test_the_picture_is_one_and_each_advertiser_sees_what_it_has_sent(
    database, service, model, other, advertiser
):
    model.meanwhile = lambda: classify(service, other, advertiser=advertiser)
    told = []
    service.on_answers = lambda advertiser, pictures: told.extend(pictures)
    (answer,) = classify(service, PNG)
    assert (answer.sha256, answer.labels["colour"].value) == (sha256(PNG), "blue")
    assert count(database, Picture) == 1
    assert count(database, StoredImage) == len({PNG, other})
    assert count(database, Sighting) == len({(PNG, "ada"), (other, advertiser)})
    with database.reads() as session:
        (number,) = session.scalars(select(Picture.id))
        seen = set(session.scalars(select(QueueEntry.advertiser)))
    assert set(told) == {number}
    assert seen == {"ada", advertiser}


def test_a_fix_is_in_the_answer(database, service, model):
    def meanwhile() -> None:
        classify(service, JPEG)
        correction = history.Correction("ada", sha256(JPEG), "colour", "red", None, "eve")
        with database.writes() as session:
            history.correct(session, correction)

    model.meanwhile = meanwhile
    (answer,) = classify(service, PNG)
    assert (answer.labels["colour"].value, answer.labels["colour"].source) == ("red", "fixed")


def test_a_file_that_comes_twice_at_once_is_told_with_its_own_properties(service, monkeypatch):
    classify(service, PNG)
    store, add = service._images, service._images.add

    def interrupted(digest: str, data: bytes) -> None:
        monkeypatch.setattr(store, "add", add)
        add(digest, data)
        classify(service, JPEG)

    monkeypatch.setattr(store, "add", interrupted)
    (answer,) = classify(service, JPEG)
    assert (answer.sha256, answer.format) == (sha256(JPEG), "JPEG")


def test_a_question_that_comes_twice_at_once_is_answered(recommender, monkeypatch):
    store, add = recommender._images, recommender._images.add
    request = RecommendRequest("ada", PNG, RecommendOptions(), noted=False)
    first = []

    def interrupted(digest: str, data: bytes) -> None:
        monkeypatch.setattr(store, "add", add)
        add(digest, data)
        first.append(recommender(request))

    monkeypatch.setattr(store, "add", interrupted)
    answer = recommender(request)
    assert (answer.sha256, answer.image.format) == (sha256(PNG), "PNG")
    assert answer.candidates == first[0].candidates


@pytest.mark.parametrize("task", ["classify", "recommend"])
def test_the_picture_that_another_file_shows_is_forgotten(
    database, service, model, recommender, monkeypatch, task
):
    classify(service, PNG, photo(2))
    grow_old(database)
    forgotten = ForgottenPictures(database, timedelta(days=30))
    if task == "classify":
        model.meanwhile = forgotten.step
        (answer,) = classify(service, JPEG)
        assert answer.error is None
    else:
        ask = recommender.backend.recommend

        def slow(image, options):
            monkeypatch.setattr(recommender.backend, "recommend", ask)
            assert forgotten.step() == 1
            return ask(image, options)

        monkeypatch.setattr(recommender.backend, "recommend", slow)
        assert recommender(RecommendRequest("ada", JPEG, RecommendOptions())).image.format == "JPEG"
    with database.reads() as session:
        image = session.get(StoredImage, sha256(JPEG))
        assert image.picture_id == session.scalar(select(func.max(Picture.id))) == 3


def test_two_files_of_a_new_picture_are_asked_about_once(service, model):
    answers = classify(service, PNG, JPEG, PNG)
    assert model.asked == [1]
    assert [answer.sha256 for answer in answers] == [sha256(PNG), sha256(JPEG), sha256(PNG)]
    assert [answer.format for answer in answers] == ["PNG", "JPEG", "PNG"]


def test_a_digest_is_of_what_was_sent_before_the_request(service):
    file, digest = classify(service, PNG, sha256(PNG))
    assert file.error is None
    assert digest.error["code"] == "answer_expired"
    assert classify(service, sha256(PNG))[0].error is None


def test_a_recommender_takes_what_was_decoded_to_look_at(
    tiny_export, monkeypatch, database, tmp_path
):
    monkeypatch.setattr(recommend_backend, "LOOK_PX", 32)  # the model takes 48
    bundle = RecommendBundle(tiny_export.bundle)
    given, ask = [], bundle.recommend
    options = RecommendOptions("open_rate", CONTEXT)
    expected = ask(picture(0), options)
    bundle._recommender.embedding_cache.clear()

    def noted(image, options):
        given.append(image)
        return ask(image, options)

    monkeypatch.setattr(bundle, "recommend", noted)
    service = RecommendService(database, bundle, ImageStore(tmp_path, 10**7))
    answer = service(RecommendRequest("ada", picture(0), options))
    assert given[0].pixels.shape == (48, 48, 3)
    assert answer.image == expected.image
    told = [(each.name, round(each.probability, 6)) for each in answer.candidates]
    assert told == [(each.name, round(each.probability, 6)) for each in expected.candidates]
