"""The handler, called in this process with TorchServe's Context class."""

import base64
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from augrank.errors import BundleError
from augrank.models.backbone import CPU_ROWS_PER_CALL, MAX_BATCH
from augrank.runtime import worker
from augrank.runtime.worker import METRICS_INTERVAL_S, Worker
from handlers.recommend_handler import RecommendHandler
from tests.support.image_files import noise_jpeg, png_bomb
from tests.support.pools import own_threads
from tests.support.worker import make_context

FIELDS = {"target": "open_rate", "campaign_type": "Newsletter", "industry": "Retail"}


def raw(image: bytes, content_type: str = "image/png", **changes):
    """Return a request of a raw image, with its fields in the header."""
    fields = json.dumps({**FIELDS, **changes})
    return {"body": bytearray(image)}, {"Content-Type": content_type, "X-Augrank-Fields": fields}


@pytest.fixture(scope="module")
def model_dir(tiny_export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    shutil.copytree(tiny_export.bundle, folder / "bundle")
    return folder


@pytest.fixture(scope="module")
def handler(model_dir):
    made = RecommendHandler()
    made.initialize(make_context(model_dir, []))
    with own_threads(made.task.stages):
        yield made


def test_a_worker_loads_neither_xgboost_nor_what_comes_with_it(model_dir):
    """Importing them takes longer than everything else that a worker loads."""
    code = (
        "import sys\n"
        "from handlers.recommend_handler import RecommendHandler\n"
        "from tests.support.worker import make_context\n"
        "assert 'sklearn' not in sys.modules\n"
        f"RecommendHandler().initialize(make_context({str(model_dir)!r}, []))\n"
        "print([name for name in ('xgboost', 'sklearn', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


@pytest.fixture
def ask(handler, model_dir):
    handler.task.embedding_cache.clear()

    """Send a batch of (fields, headers); return each (status, body), and the context."""

    def send(*requests):
        context = make_context(model_dir, [headers for _, headers in requests])
        bodies = handler.handle([fields for fields, _ in requests], context)
        statuses = [context.get_response_status(index)[0] for index in range(len(requests))]
        return [(s, json.loads(b)) for s, b in zip(statuses, bodies, strict=True)], context

    return send


@pytest.mark.parametrize(
    ("rows_per_call", "calls"),
    [(CPU_ROWS_PER_CALL, 5 * [6]), (MAX_BATCH, [5 * 6]), (7, [12, 12, 6])],
)
def test_eight_requests_with_three_bad_images(
    ask, image, monkeypatch, handler, rows_per_call, calls
):
    """A CPU embeds each request's candidates as soon as they are ready, a GPU the whole batch."""
    backbone, made = handler.task.backbone, []
    embed = backbone.embed
    monkeypatch.setattr(backbone, "embed", lambda batch: made.append(len(batch)) or embed(batch))
    monkeypatch.setattr(backbone, "rows_per_call", rows_per_call)
    good = [raw(image + bytes(number)) for number in range(5)]  # alike, but not the same file
    truncated = raw(noise_jpeg()[:2000], "image/jpeg")
    text, bomb = raw(b"not an image"), raw(png_bomb(20_000, 20_000))
    answers, context = ask(good[0], truncated, good[1], text, good[2], bomb, *good[3:])
    assert [status for status, _ in answers] == [200, 422, 200, 415, 200, 413, 200, 200]
    assert made == calls
    assert len({json.dumps(answers[index][1]["candidates"]) for index in (0, 2, 4, 6, 7)}) == 1
    for index, word in ((1, "truncated"), (3, "not an image"), (5, "too many pixels")):
        error = answers[index][1]["error"]
        assert word in error["message"]
        assert "Traceback" not in json.dumps(error)
        assert error["remedy"]
    assert context.get_response_content_type(1) == "application/json"


def test_an_image_under_several_targets_is_embedded_once(
    ask, image, monkeypatch, handler, tiny_export
):
    backbone, made = handler.task.backbone, []
    embed = backbone.embed
    monkeypatch.setattr(backbone, "embed", lambda batch: made.append(len(batch)) or embed(batch))
    targets = [head.target.name for head in tiny_export.spec.heads]
    requests = [raw(image, target=target) for target in targets]
    fewer = raw(image, candidates=["brighter"])
    answers, _ = ask(*requests, fewer, raw(image[:99]), raw(image[:99]))
    assert [status for status, _ in answers] == [200] * (len(targets) + 1) + [422, 422]
    assert made == [6, 2]
    assert [answer["target"] for _, answer in answers[: len(targets)]] == targets
    alone = [ask(request)[0][0][1] for request in requests]
    for (_, together), one in zip(answers, alone, strict=False):
        assert together["candidates"] == one["candidates"]


def test_instances_are_answered_in_kind(ask, image):
    """In the form of KServe and TensorFlow Serving; one bad instance is named."""
    encoded = base64.b64encode(image).decode()
    context = {"campaign_type": "Newsletter", "industry": "Retail"}
    one = {"image": {"b64": encoded}, "target": "open_rate", "context": context}
    other = {**one, "target": "unsubscribe_rate"}
    headers = {"Content-Type": "application/json"}
    several = {"body": json.dumps({"instances": [one, other]}).encode()}
    broken = {"body": {"instances": [one, {**one, "context": {}}]}}
    single = {"body": one}
    answers, _ = ask((several, headers), (broken, headers), (single, headers))
    assert [status for status, _ in answers] == [200, 422, 200]
    predictions = answers[0][1]["predictions"]
    assert [each["target"] for each in predictions] == ["open_rate", "unsubscribe_rate"]
    assert predictions[0]["candidates"] == answers[2][1]["candidates"]
    assert answers[1][1]["error"]["message"].startswith("instances[1]: context 'campaign_type'")


def test_every_way_of_asking_gives_the_same_answer(ask, image):
    body = {
        "image": base64.b64encode(image).decode(),
        "target": "open_rate",
        "context": {"campaign_type": "Newsletter", "industry": "Retail"},
    }
    answers, _ = ask(
        raw(image),
        (
            {"image": bytearray(image), **FIELDS},
            {"Content-Type": "multipart/form-data; boundary=x", "image": {"content-type": "x"}},
        ),
        ({"body": body}, {"Content-Type": "application/json"}),
        (
            {"body": bytearray(image)},
            {
                "CONTENT-TYPE": "image/png",
                "X-Amzn-SageMaker-Custom-Attributes": json.dumps(FIELDS),
            },
        ),
    )
    assert {status for status, _ in answers} == {200}
    for _, answer in answers:
        answer.pop("timings_ms")
    assert all(answer == answers[0] for answer in answers)


def test_text_is_no_image(ask):
    ((status, body),), _ = ask(raw(b"a,b\n1,2\n", "text/csv"))
    assert (status, body["error"]["code"]) == (415, "unsupported_image")
    assert "image/jpeg" in body["error"]["expected"]


@pytest.mark.parametrize(
    ("change", "content_type", "status", "word"),
    [
        ({"target": "open_rat"}, "image/png", 422, "one of open_rate, unsubscribe_rate"),
        ({"target": ""}, "image/png", 422, "target is missing"),
        ({"campaign_type": "Newsletters"}, "image/png", 422, "one of Newsletter, Promotional"),
        ({"campaign_type": "nan"}, "image/png", 422, "one of Newsletter, Promotional"),
        ({"weather": "fine"}, "image/png", 422, "one of campaign_type, industry"),
        ({"candidates": "upside_down"}, "image/png", 400, "one of original, brighter"),
        ({"alternates": "-1"}, "image/png", 400, "alternates"),
    ],
)
def test_wrong_requests_name_what_is_allowed(ask, image, change, content_type, status, word):
    ((got, body),), _ = ask(raw(image, content_type, **change))
    assert got == status
    assert word in body["error"]["message"]


def test_an_empty_body(ask):
    ((status, body),), _ = ask(raw(b""))
    assert status == 400
    assert "no image" in body["error"]["message"]


def test_nan_in_json_context(ask, image):
    body = {
        "image": base64.b64encode(image).decode(),
        "target": "open_rate",
        "context": {"campaign_type": float("nan"), "industry": "Retail"},
    }
    ((status, answer),), _ = ask(({"body": body}, {"Content-Type": "application/json"}))
    assert status == 422
    assert "one of Newsletter, Promotional" in answer["error"]["message"]


def test_timings_are_metrics_at_most_once_a_second(ask, image, handler, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(handler, "_reported_at", now[0] - METRICS_INTERVAL_S)
    _, context = ask(raw(image), raw(image))
    assert sorted(name for name, *_ in context.metrics.times) == sorted(
        f"Augrank{stage}Time" for stage in ("Decode", "Augment", "Embed", "Score", "Rank", "Total")
    )
    now[0] += METRICS_INTERVAL_S - 0.125
    _, context = ask(raw(image))
    assert context.metrics.times == []
    now[0] += 0.125
    _, context = ask(raw(image))
    assert len(context.metrics.times) == 6


def test_fields_and_statuses_of_batch_transform(model_dir, image, monkeypatch):
    monkeypatch.setenv("AUGRANK_FIELDS", json.dumps(FIELDS))
    monkeypatch.setenv("AUGRANK_ERRORS_AS_200", "1")
    handler = RecommendHandler()
    handler.initialize(make_context(model_dir, []))
    context = make_context(model_dir, [{"Content-Type": "application/octet-stream"}] * 2)
    bodies = handler.handle([{"body": image}, {"body": b"broken"}], context)
    good, bad = (json.loads(body) for body in bodies)
    assert good["target"] == "open_rate"
    assert good["context"]["industry"] == "Retail"
    assert bad["error"]["status"] == 415
    assert [context.get_response_status(index)[0] for index in range(2)] == [200, 200]


def test_a_bundle_of_another_task_is_refused(model_dir):
    class ClassifyHandler(Worker):
        task_name = "classify"

    with pytest.raises(BundleError, match="expected task classify, got task recommend"):
        ClassifyHandler().initialize(make_context(model_dir, []))


def test_answers_are_cached_where_the_environment_gives_memory(model_dir, image, monkeypatch):
    monkeypatch.setenv("AUGRANK_CACHE_MB", "8")
    handler = RecommendHandler()
    handler.initialize(make_context(model_dir, []))
    cached = []
    for _ in range(2):
        fields, headers = raw(image)
        (body,) = handler.handle([fields], make_context(model_dir, [headers]))
        cached.append(json.loads(body)["cached"])
    assert cached == [False, True]
