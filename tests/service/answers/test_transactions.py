"""A new image and what is answered about it are written together, or not at all."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from sqlalchemy import event, func, select

from augrank.errors import UnsupportedImage
from service.answers.classify import ClassifyRequest, ClassifyService
from service.answers.recommend import RecommendRequest, RecommendService
from service.backends.classify import ClassifyOptions
from service.backends.recommend import RecommendOptions
from service.database.session import Database
from service.database.tables import Picture, Question, Sighting, StoredAnswer, StoredImage
from service.images.store import ImageStore
from tests.service.support.fixed_model import FixedModel
from tests.service.support.pages import photo
from tests.service.support.recommender_stub import DrawnRecommender

TABLES = (Picture, StoredImage, Sighting, StoredAnswer)
Ask = Callable[[bytes], object]


class Broken(Exception):
    """What a model raises here."""


@pytest.fixture(params=["classify", "recommend"])
def model_and_ask(request, database: Database, tmp_path) -> tuple[object, Ask]:
    """A model, and what asks it about an image."""
    images = ImageStore(tmp_path, 10**6)
    if request.param == "classify":
        model = FixedModel(0)
        classify = ClassifyService(database, model, images)
        return model, lambda file: classify(ClassifyRequest("ada", (file,), ClassifyOptions(), {}))
    drawn = DrawnRecommender()
    recommend = RecommendService(database, drawn, images)
    return drawn, lambda file: recommend(RecommendRequest("ada", file, RecommendOptions()))


def counts(database: Database, *tables: type) -> list[int]:
    with database.reads() as session:
        return [session.scalar(select(func.count()).select_from(each)) or 0 for each in tables]


def test_a_new_image_takes_one_transaction(database: Database, model_and_ask):
    _, ask = model_and_ask
    commits = []
    event.listen(database.engine, "commit", commits.append)
    ask(photo(1))
    assert len(commits) == 1
    assert counts(database, *TABLES) == [1, 1, 1, 1]
    ask(photo(1, ".jpg"))  # another file of the picture
    assert len(commits) == 2
    assert counts(database, Picture, StoredImage, Sighting) == [1, 2, 2]


def test_nothing_is_written_of_an_image_that_the_model_failed_at(
    database: Database, model_and_ask, monkeypatch
):
    model, ask = model_and_ask

    def fail(*_: object) -> None:
        raise Broken

    name = "classify" if isinstance(model, FixedModel) else "recommend"
    with monkeypatch.context() as patch:
        patch.setattr(model, name, fail)
        with pytest.raises(Broken):
            ask(photo(1))
    assert counts(database, *TABLES, Question) == [0, 0, 0, 0, 0]
    ask(photo(1))
    assert counts(database, *TABLES) == [1, 1, 1, 1]


def test_an_image_that_cannot_be_read_is_asked_about_no_further(database: Database, model_and_ask):
    _, ask = model_and_ask
    with suppress(UnsupportedImage):  # or the answer has it
        ask(b"no image")
    assert counts(database, *TABLES, Question) == [0, 0, 0, 0, 0]
