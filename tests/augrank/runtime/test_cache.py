import numpy as np
import pytest

from augrank import Recommender
from augrank.errors import BadRequest, BrokenImage, UnknownTarget
from augrank.runtime.batching import CachedTask, answer_batch
from augrank.runtime.cache import BYTES_PER_JSON_BYTE, AnswerCache
from augrank.tasks.recommend.request import Request

CONTEXT = {"campaign_type": "Newsletter", "industry": "Retail"}


@pytest.fixture(scope="module")
def loaded(tiny_export):
    """A recommender whose parts a test may replace."""
    return Recommender.load(tiny_export.bundle, threads=1)


@pytest.fixture
def caching(loaded):
    return CachedTask(loaded, 1_000_000)


def ask(task, *requests):
    return answer_batch(task, requests)


def stripped(answer) -> dict:
    content = answer.model_dump()
    del content["cached"], content["timings_ms"]
    return content


def test_the_same_question_is_answered_from_the_cache(caching, image, monkeypatch):
    (first,) = ask(caching, Request(image, "open_rate", CONTEXT))
    monkeypatch.setattr(caching.task.backbone, "embed", None)  # would fail
    (again,) = ask(caching, Request(image, "open_rate", dict(reversed(CONTEXT.items()))))
    assert (first.cached, again.cached) == (False, True)
    assert stripped(first) == stripped(again)
    assert again.timings_ms.embed == 0
    assert again.timings_ms.total > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "unsubscribe_rate"},
        {"context": {**CONTEXT, "industry": "Automotive"}},
        {"candidates": ("rotate",)},
        {"alternates": 2},
        {"thumbnails": True},
        {"image": np.full((8, 4, 3), 7, np.uint8)},
        {"image": np.full((4, 8, 3), 7, np.uint8)},
    ],
)
def test_any_other_question_is_computed(caching, image, changes):
    fields = {"image": image, "target": "open_rate", "context": CONTEXT}
    ask(caching, Request(**fields))
    (answer,) = ask(caching, Request(**{**fields, **changes}))
    assert not answer.cached


def test_faults_are_not_kept(caching, image):
    broken = Request(image[: len(image) // 2], "open_rate", CONTEXT)
    for _ in range(2):
        (answer,) = ask(caching, broken)
        assert isinstance(answer, BrokenImage)


def test_it_is_bounded_and_evicts_the_least_recently_used(recommender, image):
    answer = recommender.recommend(image, "open_rate", CONTEXT)
    size = BYTES_PER_JSON_BYTE * len(answer.model_dump_json())
    cache = AnswerCache(3 * size + 10)
    for number in range(3):
        cache.put((number,), answer)
    assert cache.get((0,)) is answer
    cache.put((3,), answer)
    assert cache.get((1,)) is None
    assert [cache.get((n,)) is not None for n in (0, 2, 3)] == [True] * 3
    assert cache.used_bytes == 3 * size
    cache.put((3,), answer)
    assert cache.used_bytes == 3 * size
    tiny = AnswerCache(size - 1)
    tiny.put((0,), answer)
    assert tiny.get((0,)) is None
    assert tiny.used_bytes == 0


def test_a_batch_mixes_cached_answers_computed_ones_and_errors_in_order(caching, image):
    known = Request(image, "open_rate", CONTEXT)
    ask(caching, known)
    new = Request(image + b"\0", "open_rate", CONTEXT)
    refused = Request(image, "revenue", CONTEXT)
    earlier = BadRequest("could not be parsed")
    answers = ask(caching, new, refused, known, earlier, new)
    assert [getattr(answer, "cached", None) for answer in answers] == [
        False, None, True, None, False,
    ]  # fmt: skip
    assert isinstance(answers[1], UnknownTarget)
    assert answers[3] is earlier
    assert stripped(answers[0]) == stripped(answers[4])


def test_a_spelling_of_the_same_context_is_the_same_request(caching, image):
    ask(caching, Request(image, "open_rate", CONTEXT))
    loose = {"campaign_type": "newsletter", "industry": "RETAIL"}
    (answer,) = ask(caching, Request(image, "open_rate", loose))
    assert answer.cached
    assert answer.context == CONTEXT
