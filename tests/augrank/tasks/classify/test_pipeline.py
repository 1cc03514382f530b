"""The classifier in process: what its answers hold, and what they refuse."""

import hashlib
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from augrank.errors import BadRequest, BrokenImage, BundleError, ImageTooLarge
from augrank.images.decode import DecodeLimits, decode
from augrank.images.preprocess import Normalizer
from augrank.runtime import json_images
from augrank.runtime.batching import CachedTask, answer_batch
from augrank.tasks.base import RequestBody
from augrank.tasks.classify import plan
from augrank.tasks.classify.pipeline import Classifier
from augrank.tasks.classify.request import Request
from export.run_reader import load_run
from export.tasks.base import ExportOptions
from export.tasks.classify import build
from tests.support.labelled_images import draw_labelled
from tests.support.pools import own_threads

BROKEN = b"\xff\xd8\xff\xe0 not a picture"


def photo(number: int) -> bytes:
    """Return a PNG that the classifier has not seen."""
    image, _, _ = draw_labelled(1000 + number)
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def answer_to(classifier: Classifier, *images, **options):
    (answer,) = classifier.classify_batch([Request(tuple(images), **options)])
    return answer


def test_an_answer_holds_every_label_with_its_probabilities(classifier):
    answer = classifier.classify(photo(0), top=3)
    assert list(answer.labels) == ["shape", "colour"]
    for head in classifier.heads.labels:
        told = answer.labels[head.spec.label]
        probabilities = [each.probability for each in told.top]
        assert {each.name for each in told.top} == set(head.spec.classes)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert probabilities == sorted(probabilities, reverse=True)
        assert (told.value, told.probability) == (told.top[0].name, told.top[0].probability)
        assert told.value == told.set[0]
    assert (answer.width, answer.height, answer.format) == (40, 40, "PNG")
    assert answer.decision is None
    assert len(classifier.classify(photo(0), top=1).labels["shape"].top) == 1


def test_probabilities_are_those_of_the_parts(classifier):
    spec = classifier.bundle.spec
    pixels = decode(photo(1), spec.image_size).pixels
    embedding = classifier.backbone.embed(Normalizer(spec.mean, spec.std).batch([pixels]))
    for head in classifier.heads.labels:
        expected = head.probabilities(embedding.features)[0]
        told = classifier.classify(photo(1), top=3).labels[head.spec.label]
        got = {each.name: each.probability for each in told.top}
        assert got == {
            name: round(float(p), 6) for name, p in zip(head.spec.classes, expected, strict=True)
        }


def test_a_batch_answers_as_alone_whatever_is_beside(classifier):
    photos = [photo(number) for number in range(20)]
    together = answer_to(classifier, *photos, BROKEN, photos[3])
    classifier.embedding_cache.clear()
    assert len(together.images) == 22
    for number, one in enumerate(photos):
        alone = classifier.classify(one)
        for label, told in together.images[number].labels.items():
            assert told.value == alone.labels[label].value
            assert told.probability == pytest.approx(alone.labels[label].probability, abs=1e-4)
        classifier.embedding_cache.clear()
    assert together.images[21] == together.images[3]
    skipped = together.images[20]
    assert skipped.labels == {}
    assert skipped.error["code"] == "broken_image"


def test_a_single_broken_image_fails_and_one_of_many_is_skipped(classifier):
    with pytest.raises(BrokenImage):
        classifier.classify(BROKEN)
    lost = BadRequest("image is not valid base64").at("images[1]")
    answer = answer_to(classifier, photo(0), lost, BROKEN)
    assert [each.error and each.error["code"] for each in answer.images] == [
        None,
        "bad_request",
        "broken_image",
    ]
    assert answer.images[1].sha256 is None


def test_the_same_image_again_needs_no_backbone(classifier, monkeypatch):
    classifier.embedding_cache.clear()
    rows = []
    embed = classifier.backbone.embed
    monkeypatch.setattr(
        classifier.backbone, "embed", lambda batch: rows.append(len(batch)) or embed(batch)
    )
    first = answer_to(classifier, photo(5), photo(5), photo(6))
    again = answer_to(classifier, photo(6), photo(5), coverage=0.95)
    assert sum(rows) == 2
    assert again.images[0].labels["shape"].value == first.images[2].labels["shape"].value


def test_sets_grow_with_the_coverage(classifier):
    photos = [photo(number) for number in range(40)]
    sizes = [
        [
            len(each.labels["shape"].set)
            for each in answer_to(classifier, *photos, coverage=c).images
        ]
        for c in (0.5, 0.9, 0.97)
    ]
    assert sum(sizes[0]) <= sum(sizes[1]) <= sum(sizes[2])
    assert sum(sizes[0]) < sum(sizes[2])
    everything = answer_to(classifier, photo(0), coverage=0.9999)  # too few images to know
    assert len(everything.images[0].labels["shape"].set) == 3


def test_rules_decide_by_review_kind(classifier):
    rules = classifier.heads.rules
    photos = [photo(number) for number in range(40)]
    answer = answer_to(classifier, *photos, review_kind="box_review", top=3)
    seen = set()
    for image in answer.images:
        decision, told = image.decision, image.labels["shape"]
        earns = sum(each.probability for each in told.top if each.name in ("box", "bar"))
        assert (decision.review_kind, decision.credit) == ("Box Review", ("box", "bar"))
        assert decision.probability == pytest.approx(earns, abs=1e-5)
        rule = rules.rules["Box Review"]
        expected = "accept" if decision.probability >= rule.accept else "ask"
        if 1 - decision.probability >= rule.reject:
            expected = "reject"
        assert decision.decision == expected
        assert f"{decision.probability:.1%}" in decision.text
        seen.add(decision.decision)
    assert "accept" in seen
    with pytest.raises(
        BadRequest, match=r"expected one of Shape Review, Box Review .*did you mean"
    ):
        classifier.classify(photo(0), review_kind="Bax Review")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(()), "the number of images does not fit: expected 1 to 100, got 0"),
        (Request((b"",) * 101), "expected 1 to 100, got 101. Send several requests"),
        (Request((b"",), coverage=1.0), "'coverage' does not fit"),
        (Request((b"",), top=0), "'top' does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(classifier, request_, message):
    (error,) = classifier.classify_batch([request_])
    assert isinstance(error, BadRequest)
    assert message in str(error)


def test_requests_are_read_from_json_and_fields(classifier):
    body = RequestBody(b"", {"coverage": "0.8"}, {"top": 2}, (b"a", b"b"))
    assert classifier.parse(body) == Request((b"a", b"b"), None, 0.8, 2, single=False)
    body = RequestBody(b"a", {"review_kind": "Box Review"}, {})
    assert classifier.parse(body) == Request((b"a",), "Box Review", single=True)
    with pytest.raises(BadRequest, match="the field 'kind' is not known"):
        classifier.parse(RequestBody(b"a", {"kind": "x"}, {}))


def test_equal_requests_have_equal_keys(classifier):
    keys = [
        classifier.plan(Request(images, **options)).cache_key
        for images, options in [
            ((b"a",), {}), ((b"a",), {}), ((b"b",), {}), ((b"a",), {"top": 2}),
            ((b"a",), {"coverage": 0.8}), ((b"a", b"b"), {}), ((b"b", b"a"), {}),
            ((b"a",), {"review_kind": "Box Review"}), ((b"a",), {"review_kind": "box review"}),
        ]
    ]  # fmt: skip
    assert keys[0] == keys[1]
    assert keys[7] == keys[8]
    assert len(set(keys)) == 7


def test_the_smoke_request_is_answered_as_at_export(classifier, monkeypatch):
    assert classifier.check_smoke_request() <= 1e-4
    classifier.warm_up()
    wrong = [
        type(head)(head.spec, lambda features: np.zeros((len(features), 3)), head.calibration)
        for head in classifier.heads.labels
    ]
    monkeypatch.setattr(classifier, "heads", replace(classifier.heads, labels=tuple(wrong)))
    with pytest.raises(BundleError, match=r"does not answer its smoke request.*numpy==.*train and"):
        classifier.check_smoke_request()


def test_an_image_ranks_where_its_head_puts_it(classifier):
    answer = answer_to(classifier, *(photo(number) for number in range(12)))
    ranks = [image.ranks["likes"] for image in answer.images]
    order = np.argsort([each.score for each in ranks])
    percentiles = np.array([each.percentile for each in ranks])
    assert (np.diff(percentiles[order]) >= 0).all()
    assert percentiles.min() < percentiles.max()
    for each in ranks:
        assert each.probability > 0.5 or each.percentile <= 51
    alone = classifier.classify(photo(3)).ranks["likes"]
    assert alone.score == pytest.approx(ranks[3].score, abs=1e-4)


def test_an_answer_is_plain_json(classifier):
    answer = answer_to(classifier, photo(0), BROKEN, review_kind="Shape Review")
    content = json.loads(answer.model_dump_json())
    assert content["schema_version"] == 1
    assert content["engine"].startswith("fp32 on onnxruntime")
    assert content["images"][0]["labels"]["colour"]["set"]
    assert content["images"][1]["error"]["message"]
    assert set(content["timings_ms"]) == {"decode", "embed", "score", "total"}
    assert plan.MAX_IMAGES == json_images.MAX_IMAGES == 100


def test_an_array_that_is_no_image_is_skipped_among_others(classifier):
    answer = answer_to(classifier, photo(0), np.zeros((4, 4), np.uint8), photo(1))
    assert [bool(each.error) for each in answer.images] == [False, True, False]
    assert answer.images[1].error["code"] == "bad_request"
    with pytest.raises(BadRequest, match="the image cannot be read"):
        classifier.classify("missing.jpg")


def test_a_fault_of_the_server_is_not_kept_as_an_answer(classifier, monkeypatch):
    task = CachedTask(classifier, 1_000_000)
    request = Request((photo(50), photo(51)))
    classifier.embedding_cache.clear()
    with monkeypatch.context() as broken:
        broken.setattr(classifier.backbone, "embed", lambda batch: 1 / 0)
        (failed,) = answer_batch(task, [request])
    assert {each.error["status"] for each in failed.images} == {500}
    (again,) = answer_batch(task, [request])
    assert not again.cached
    assert all(each.labels for each in again.images)
    (kept,) = answer_batch(task, [request])
    assert kept.cached


def test_what_could_not_be_read_is_not_taken_for_something_else(classifier):
    task = CachedTask(classifier, 1_000_000)
    for text in ("image is not valid base64", "image is a URL"):
        (answer,) = answer_batch(task, [Request((BadRequest(text),))])
        assert answer.images[0].error["message"].startswith(text)


@pytest.fixture(scope="module")
def tagger(classify_run, tmp_path_factory):
    """A classifier with tags and without rules."""
    folder = tmp_path_factory.mktemp("tags")
    (folder / "tags.yaml").write_text(
        "shape: {default: Unknown, least: 0.99}\ncolour: {only_for: {shape: [disc]}}\n"
    )
    options = ExportOptions("tagged", devices=("cpu",), int8=False, tags=folder / "tags.yaml")
    export = build(load_run(classify_run.run), folder / "dist", options)
    loaded = Classifier.load(export.bundle, threads=1, device="cpu")
    with own_threads(loaded.embedder):
        yield loaded


def test_tags_have_defaults_and_what_is_configured_wins(tagger):
    photos = tuple(photo(number) for number in range(40))
    (answer,) = tagger.classify_batch([Request(photos, configured={"colour": "Green"})])
    for image in answer.images:
        shape = image.labels["shape"]
        expected = shape.value if shape.probability >= 0.99 else "Unknown"
        assert image.tags["shape"].value == expected
        assert image.tags["colour"].value == "green"
        assert image.tags["colour"].source == "configured"
    plain = tagger.classify(photos[0])
    is_disc = plain.labels["shape"].value == "disc"
    assert (plain.tags["colour"].value is not None) == is_disc
    body = RequestBody(b"a", {"configured": '{"colour": "red"}'}, {})
    assert tagger.parse(body).configured == {"colour": "red"}
    with pytest.raises(BadRequest, match="expected JSON such as"):
        tagger.parse(RequestBody(b"a", {"configured": "red"}, {}))
    with pytest.raises(BadRequest, match="no rules"):
        tagger.classify(photos[0], review_kind="Box Review")


def test_files_that_were_decoded_before_are_answered_as_the_files(classifier):
    files = {hashlib.sha256(data).hexdigest(): data for data in (photo(50), BROKEN, photo(51))}
    first, broken, second = classifier.embedder.decode(files, DecodeLimits())
    assert isinstance(broken, BrokenImage)
    told = answer_to(classifier, first, second).images
    classifier.embedding_cache.clear()
    expected = answer_to(classifier, photo(50), photo(51)).images
    assert told == expected
    assert [each.sha256 for each in told] == [first.sha256, second.sha256]
    (small,) = classifier.embedder.decode({"s": photo(50)}, DecodeLimits(size_bytes=10))
    assert isinstance(small, ImageTooLarge)
    refused = answer_to(classifier, replace(first, sha256=""), single=True)
    assert isinstance(refused, BadRequest)
