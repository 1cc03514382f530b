"""Recommendations: kept by content and picture, asked again by digest, scoped by advertiser."""

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from augrank.errors import BadRequest
from service.app import create_app
from service.backends.bundles import open_bundles
from service.backends.catalogue import Catalogue
from service.backends.recommend import RecommendBundle, RecommendOptions
from service.database.tables import Question, Sighting, StoredAnswer
from service.settings import ServiceSettings
from tests.service.support.marketing import CONTEXT, Marketer, picture
from tests.service.support.pages import sha256

OF_IMAGE = ("image", "timings_ms", "cached")


@pytest.fixture
def asked(recommend_backend, monkeypatch) -> list[bytes]:
    """The images that the model was asked about."""
    images, ask = [], recommend_backend.recommend

    def noted(image, options):
        images.append(image)
        return ask(image, options)

    monkeypatch.setattr(recommend_backend, "recommend", noted)
    return images


def count(marketer: Marketer, table: type) -> int:
    with marketer.http.app.state.parts.database.reads() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_an_answer_is_the_models_and_is_kept(marketer, recommend_backend, asked):
    image = picture(0)
    first = marketer.ask(image)
    options = RecommendOptions("open_rate", CONTEXT)
    expected = recommend_backend.recommend(image, options).model_dump(mode="json")
    assert {name: first[name] for name in expected if name not in OF_IMAGE} == {
        name: value for name, value in expected.items() if name not in OF_IMAGE
    }
    assert first["image"] == expected["image"]
    assert (first["sha256"], first["advertiser"]) == (sha256(image), "ada")
    assert first["model_digest"] == recommend_backend.model
    assert len(first["candidates"]) == 6
    assert not first["cached"]
    before = len(asked)
    second = marketer.ask(image)
    assert len(asked) == before
    assert second["cached"]
    assert second["candidates"] == first["candidates"]
    assert second["question"] == first["question"]
    assert count(marketer, StoredAnswer) == 1


def test_the_same_shot_in_another_encoding_is_known(marketer, asked):
    png, jpeg = picture(1, side=160), picture(1, "JPEG", side=160, quality=90)
    first, other = marketer.ask(png), marketer.ask(jpeg)
    assert len(asked) == 1
    assert other["cached"]
    assert other["image"] == {
        "sha256": sha256(jpeg), "width": 160, "height": 160, "format": "JPEG",
    }  # fmt: skip
    assert other["candidates"] == first["candidates"]
    assert other["question"] != first["question"]


def test_another_question_about_an_image_needs_its_digest_only(marketer):
    first = marketer.ask(picture(2))
    other = {"campaign_type": "Promotional", "industry": "Automotive"}
    second = marketer.ask(sha256=first["sha256"], target="unsubscribe_rate", context=other)
    assert (second["target"], second["direction"]) == ("unsubscribe_rate", "minimize")
    assert second["context"] == other
    assert second["cached"]
    assert second["timings_ms"]["decode"] == 0  # the embedding cache had it
    assert second["timings_ms"]["embed"] == 0
    assert second["probability"] != first["probability"]


def test_equal_questions_are_one_however_they_are_spelled(marketer):
    first = marketer.ask(picture(3))
    spelled = {"campaign_type": "newsletter", "industry": "RETAIL"}
    names = ",".join(score["name"] for score in first["candidates"])
    again = marketer.ask(sha256=first["sha256"], context=spelled, candidates=names)
    assert again["question"] == first["question"]
    assert again["context"] == CONTEXT
    assert count(marketer, StoredAnswer) == 1
    fewer = marketer.ask(sha256=first["sha256"], candidates="sketch", alternates=2)
    assert {score["name"] for score in fewer["candidates"]} == {"original", "sketch"}
    assert len(fewer["alternates"]) == 2
    assert fewer["question"] != first["question"]


def test_what_others_sent_is_nobodys_business(marketer, asked):
    answer = marketer.ask(picture(4))
    refused = marketer.post(advertiser="bob", sha256=answer["sha256"])
    assert refused.status_code == 404
    assert "this advertiser has sent no such image" in refused.json()["error"]["message"]
    unknown = marketer.post(advertiser="bob", sha256="0" * 64)
    assert (
        unknown.json()["error"]["message"].partition(", got")[0]
        == (refused.json()["error"]["message"].partition(", got")[0])
    )
    own = marketer.ask(picture(4), advertiser="bob")
    assert len(asked) == 1  # the layer below is shared
    assert not own["cached"]
    assert own["question"] != answer["question"]
    assert [row["token"] for row in marketer.questions("bob")] == [own["question"]]


def test_a_picture_of_the_catalogue_is_asked_about_by_its_path(marketer, recommend_backend):
    answer = marketer.ask(catalogue="image_004.png")
    file = recommend_backend.catalogue.file("image_004.png")
    assert answer["sha256"] == sha256(file)
    assert answer["image"]["width"] == 96
    assert "image_004.png" not in {each["path"] for each in answer["alternates"]}
    assert {each["attributes"]["product_type"] for each in answer["alternates"]} == {"car"}
    again = marketer.ask(sha256=answer["sha256"])  # it is as if the advertiser had sent it
    assert again["cached"]
    assert again["question"] == answer["question"]
    assert marketer.post(catalogue="nothing.png").status_code == 404
    assert marketer.post(catalogue="../image_004.png").status_code == 404


def test_more_is_known_of_a_file_of_the_catalogue_than_of_its_copy(marketer, recommend_backend):
    file = recommend_backend.catalogue.file("image_010.png")
    copy = file + b"\0"  # the same picture, with other bytes
    known, stranger = marketer.ask(file), marketer.ask(copy)
    assert stranger["cached"]  # the same picture
    assert "image_010.png" not in {each["path"] for each in known["alternates"]}
    assert count(marketer, StoredAnswer) == 2


def test_without_the_catalogues_folder_its_thumbnail_is_asked_about(recommend_backend):
    recommender = recommend_backend._recommender
    bare = Catalogue.of(recommender.alternates, None)
    assert bare.best("image_004.png") == bare.preview("image_004.png")
    with pytest.raises(Exception, match="--catalogue FOLDER"):
        bare.file("image_004.png")


def test_a_file_that_is_not_the_catalogues_is_not_taken_for_it(recommend_backend, tmp_path):
    (tmp_path / "image_004.png").write_bytes(picture(5))
    other = Catalogue.of(recommend_backend._recommender.alternates, tmp_path)
    with pytest.raises(Exception, match="not at hand"):
        other.file("image_004.png")


def test_the_catalogue_is_searched_in_pages(marketer):
    query = {"search": "IMAGE van", "limit": 5}
    first = marketer.http.get("/v1/catalogue", params=query).json()
    assert first["found"] == 12
    assert [row["path"] for row in first["images"]][:2] == ["image_001.png", "image_003.png"]
    paths, after = [], -1
    while after is not None:
        page = marketer.http.get("/v1/catalogue", params={**query, "after": after}).json()
        paths += [row["path"] for row in page["images"]]
        after = page["next_after"]
    assert len(paths) == len(set(paths)) == 12
    cars = marketer.http.get("/v1/catalogue", params={"product_type": "car"}).json()
    assert cars["found"] == 12
    assert marketer.http.get("/v1/catalogue", params={"search": "zebra"}).json()["images"] == []
    shown = marketer.http.get("/v1/catalogue/thumbnail", params={"path": "image_001.png"})
    assert shown.headers["content-type"] == "image/jpeg"
    assert shown.content[:3] == b"\xff\xd8\xff"
    file = marketer.http.get("/v1/catalogue/image", params={"path": "image_001.png"})
    assert file.content[:4] == b"\x89PNG"
    assert file.headers["content-disposition"] == 'attachment; filename="image_001.png"'


def test_what_may_be_asked_is_listed(marketer, recommend_backend):
    told = marketer.http.get("/v1/recommend/options").json()
    assert told["targets"] == [
        {"name": "open_rate", "direction": "maximize"},
        {"name": "unsubscribe_rate", "direction": "minimize"},
    ]
    assert [column["name"] for column in told["context"]] == ["campaign_type", "industry"]
    assert told["context"][0]["values"] == ["Newsletter", "Promotional"]
    assert told["context"][0]["required"]
    assert told["product_types"] == ["car", "van"]
    assert told["candidates"] == list(recommend_backend.augmentations.names)
    assert told["catalogue"] == 24


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"target": "open"}, 422, "did you mean open_rate?"),
        ({"target": ""}, 422, "target"),
        ({"context": {"campaign_type": "Newsletter"}}, 422, "'industry' is missing"),
        ({"context": {**CONTEXT, "industry": "Zoo"}}, 422, "not trained on"),
        ({"context": {**CONTEXT, "product_type": "ship"}}, 422, "car, van"),
        ({"context": "Newsletter"}, 400, "context is no JSON"),
        ({"context": "[1]"}, 400, "context does not fit"),
        ({"context": "[" * 20_000}, 400, "context is no JSON"),
        ({"context": '{"industry": []}'}, 400, "text or a number"),
        ({"candidates": "blue"}, 400, "candidate is not known"),
        ({"alternates": "101"}, 400, "less than or equal to 100"),
        ({"min_lift": "-1"}, 400, "greater than or equal to 0"),
        ({"min_lift": "nan"}, 400, "min_lift"),
        ({"advertiser": ""}, 422, "advertiser"),
        ({"advertiser": "a\x00b"}, 422, "advertiser"),
    ],
)
def test_bad_fields_say_what_is_expected(marketer, asked, fields, status, words):
    answer = marketer.post(picture(6), **fields)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]
    assert asked == []
    assert count(marketer, Question) == 0


@pytest.mark.parametrize(
    ("image", "status"), [(b"hello", 415), (picture(7)[:80], 422), (bytes(2**20 + 1), 413)]
)
def test_a_bad_image_is_refused_and_nothing_is_noted(marketer, image, status):
    answer = marketer.post(image)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["remedy"]
    assert count(marketer, Sighting) == 0


def test_one_image_is_asked_about(marketer):
    for fields in ({}, {"sha256": "0" * 64, "catalogue": "image_001.png"}):
        answer = marketer.post(**fields)
        assert answer.status_code == 400
        assert "one of image, url, sha256, catalogue" in answer.json()["error"]["message"]
    assert marketer.post(sha256="xyz").status_code == 422


def test_an_image_is_downloaded_from_public_addresses_only(marketer, site):
    image = picture(8)
    answer = marketer.ask(url=site.answer("/a.png", image))
    assert answer["sha256"] == sha256(image)
    refused = marketer.post(url="http://10.0.0.1/a.png")
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "image_not_fetched"
    assert "public" in refused.json()["error"]["message"]
    assert marketer.post(url=site.root + "/gone.png").status_code == 422


def test_nothing_is_downloaded_for_options_that_do_not_fit(marketer, site):
    url = site.answer("/a.png", picture(8))
    assert marketer.post(url=url, target="open").status_code == 422
    assert site.count("/a.png") == 0


def test_thumbnails_come_on_request(marketer):
    image = picture(9)
    assert marketer.ask(image)["candidates"][0]["thumbnail"] is None
    shown = marketer.ask(image, thumbnails="true")
    for each in (*shown["candidates"], *shown["alternates"]):
        assert base64.b64decode(each["thumbnail"])[:3] == b"\xff\xd8\xff"
    with marketer.http.app.state.parts.database.reads() as session:
        (kept,) = session.scalars(select(StoredAnswer.content))
    assert {each["thumbnail"] for each in kept["candidates"]} == {None}  # answers stay small


def test_questions_are_listed_last_first_and_asked_again_move_up(marketer):
    answers = [marketer.ask(picture(20 + n)) for n in range(3)]
    tokens = [answer["question"] for answer in answers]
    assert [row["token"] for row in marketer.questions()] == tokens[::-1]
    before = {row["token"]: row["at"] for row in marketer.questions()}
    marketer.ask(sha256=answers[0]["sha256"])
    rows = marketer.questions()
    assert [row["token"] for row in rows] == [tokens[0], tokens[2], tokens[1]]
    assert rows[0]["at"] > before[tokens[0]]
    assert rows[0]["at"].endswith(("Z", "+00:00"))
    assert rows[0]["context"] == CONTEXT
    assert rows[0]["sha256"] == answers[0]["sha256"]
    first = marketer.questions(limit=2)
    rest = marketer.questions(limit=2, before=first[-1]["token"])
    assert [row["token"] for row in (*first, *rest)] == [row["token"] for row in rows]
    own = marketer.ask(picture(29), "bob")["question"]
    assert [row["token"] for row in marketer.questions("bob")] == [own]
    foreign = {"advertiser": "bob", "before": tokens[0]}
    assert marketer.http.get("/v1/questions", params=foreign).status_code == 404


def test_questions_asked_at_the_same_time_are_listed_once(marketer):
    for number in range(5):
        marketer.ask(picture(30 + number))
    with marketer.http.app.state.parts.database.writes() as session:
        rows = session.scalars(select(Question)).all()
        for row in rows:
            row.at = rows[0].at + timedelta(0)
    tokens, before = [], None
    for _ in range(3):
        page = marketer.questions(limit=2, **({"before": before} if before else {}))
        tokens += [row["token"] for row in page]
        before = tokens[-1]
    assert len(tokens) == len(set(tokens)) == 5


def test_an_image_that_is_not_kept_any_more_is_asked_for(marketer):
    first = marketer.ask(picture(40))
    images = marketer.http.app.state.parts.images
    images.path(first["sha256"]).unlink()
    assert marketer.ask(sha256=first["sha256"])["cached"]  # the answer is kept
    expired = marketer.post(sha256=first["sha256"], target="unsubscribe_rate")
    assert (expired.status_code, expired.json()["error"]["code"]) == (410, "image_expired")
    assert "Send the file itself again" in expired.json()["error"]["message"]
    marketer.ask(picture(40))
    assert images.path(first["sha256"]) is not None


class OtherModel:
    """A bundle under another digest."""

    def __init__(self, backend: RecommendBundle) -> None:
        self._backend, self.model = backend, "f" * 64

    def __getattr__(self, name: str):
        return getattr(self._backend, name)


def test_answers_are_bound_to_the_model(marketer, recommend_backend, asked):
    image = picture(41)
    marketer.ask(image)
    live = marketer.http.app.state.parts.recommend.live
    live.replace(OtherModel(recommend_backend))
    answer = marketer.ask(image)
    assert len(asked) == 2
    assert answer["model_digest"] == "f" * 64
    live.replace(recommend_backend)
    assert marketer.ask(image)["model_digest"] == recommend_backend.model
    assert len(asked) == 2  # of the model before, they are still there


def test_the_least_recently_used_answers_go_first(marketer, asked):
    service = marketer.http.app.state.parts.recommend
    service._max_answers, service._trim_every = 4, 1
    for number in range(50, 56):
        marketer.ask(picture(number))
    assert count(marketer, StoredAnswer) <= 4
    before = len(asked)
    marketer.ask(picture(55))
    assert len(asked) == before
    marketer.ask(picture(50))
    assert len(asked) == before + 1


def test_a_question_that_comes_many_times_at_once_is_one(marketer):
    images = [picture(60, side=160), picture(60, "JPEG", side=160, quality=90)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: marketer.ask(images[n % 2]), range(16)))
    assert len({answer["question"] for answer in answers}) == 2
    assert len({str(answer["candidates"]) for answer in answers}) == 1
    assert count(marketer, Question) == 2
    assert count(marketer, StoredAnswer) in (1, 2)  # of one file or both: the first one counts


def test_a_service_without_a_recommender_says_how_to_start_one(database, tmp_path):
    app = create_app(ServiceSettings(folder=tmp_path), database)
    with TestClient(app) as http:
        answer = Marketer(http).post(picture(0))
    assert answer.status_code == 404
    assert "python -m service BUNDLE" in answer.json()["error"]["message"]


def test_two_bundles_of_a_task_are_refused(tiny_export):
    with open_bundles([tiny_export.bundle]) as opened:
        assert {task: bundle.spec.name for task, bundle in opened.items()} == {"recommend": "tiny"}
    with (
        pytest.raises(BadRequest, match=r"two bundles are of the task recommend.*--port"),
        open_bundles([tiny_export.bundle, tiny_export.bundle]),
    ):
        pass
