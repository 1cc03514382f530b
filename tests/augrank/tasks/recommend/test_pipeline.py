import base64
import io

import numpy as np
import pytest
from PIL import Image

from augrank import Answer, AugrankError, Recommender
from augrank.bundle.load import load_bundle
from augrank.errors import BadContext, BadRequest, BrokenImage, UnknownTarget
from augrank.images.decode import decode
from augrank.images.preprocess import Normalizer
from augrank.models.context import ContextEncoder
from augrank.models.head import HeadRows
from augrank.tasks.base import RequestBody
from augrank.tasks.recommend.request import Request, parse_request
from augrank.trust.posterior import ImageEffects
from augrank.trust.verdict import decide

CONTEXT = {"campaign_type": "Newsletter", "industry": "Retail"}


def test_an_answer_is_ranked_and_says_by_how_much(recommender, image):
    answer = recommender.recommend(image, "open_rate", CONTEXT)
    probabilities = [candidate.probability for candidate in answer.candidates]
    assert probabilities == sorted(probabilities, reverse=True)
    assert {c.name for c in answer.candidates} == set(recommender.bundle.spec.augmentations.names)
    original = next(c for c in answer.candidates if c.name == "original")
    assert original.probability == answer.probability
    assert (original.difference, original.lift) == (0, 0)
    for score in (*answer.candidates, *answer.alternates):
        assert score.difference == pytest.approx(score.probability - answer.probability, abs=2e-6)
        assert score.lift == pytest.approx(score.difference / answer.probability, abs=1e-3)
    assert answer.best_candidate.name == answer.candidates[0].name == "brighter"
    assert answer.best_candidate.parameters == [{"op": "brightness", "params": {"factor": 1.5}}]
    assert (answer.verdict.kind, answer.verdict.choice) == ("change", "brighter")
    assert answer.verdict.text.startswith(
        f"Change the picture to brighter: it would raise open_rate from {answer.probability:.1%} to"
    )
    assert (original.interval, original.difference_interval) == (answer.interval, (0, 0))
    for score in (*answer.candidates, *answer.alternates):
        assert score.interval[0] <= score.probability <= score.interval[1]
        low, high = score.difference_interval
        assert low <= score.difference <= high
        assert score.better <= (score.difference > 0)
    stages = answer.timings_ms
    parts = stages.decode + stages.augment + stages.embed + stages.score + stages.rank
    assert 0 < parts <= stages.total * 1.01


def test_probabilities_are_those_of_the_parts(recommender, image):
    """Compare the pipeline with its parts called one by one."""
    spec = recommender.bundle.spec
    pixels = decode(image, spec.image_size).pixels
    made = [augmentation.apply(pixels) for augmentation in spec.augmentations.augmentations]
    embedding = recommender.backbone.embed(Normalizer(spec.mean, spec.std).batch(made))
    encoded = ContextEncoder(spec.context).encode(CONTEXT)
    rows = HeadRows(np.arange(len(made)), embedding.logits, embedding.features, encoded)
    estimator = recommender._estimators["open_rate"]
    draws = estimator.candidates(rows, ImageEffects.unknown(1))
    want = draws.mean(axis=0)
    answer = recommender.recommend(image, "open_rate", CONTEXT)
    got = {c.name: c.probability for c in answer.candidates}
    assert got == {
        n: round(float(p), 6) for n, p in zip(spec.augmentations.names, want, strict=True)
    }
    decision = decide(draws[:, 1:], draws[:, 0], "maximize")
    assert answer.verdict.choice == spec.augmentations.names[1 + decision.option]
    surely = {c.name for c in answer.candidates if c.better}
    assert surely == {
        n for n, b in zip(spec.augmentations.names[1:], decision.better, strict=True) if b
    }


def test_a_minimize_target_ranks_the_other_way_round(recommender, image):
    answer = recommender.recommend(image, "unsubscribe_rate", CONTEXT)
    probabilities = [candidate.probability for candidate in answer.candidates]
    assert probabilities == sorted(probabilities)
    assert answer.direction == "minimize"
    alternates = [alternate.probability for alternate in answer.alternates]
    assert alternates == sorted(alternates)
    if answer.verdict.kind == "change":
        assert answer.best_candidate.probability == min(p for p in probabilities)
    else:
        assert answer.best_candidate.name == "original"


def test_when_nothing_beats_the_original_it_says_so(recommender, image):
    ranked = recommender.recommend(image, "open_rate", CONTEXT)
    worst = ranked.candidates[-1].name
    assert ranked.candidates[-1].probability < ranked.probability
    answer = recommender.recommend(image, "open_rate", CONTEXT, candidates=[worst])
    assert [c.name for c in answer.candidates] == ["original", worst]
    assert answer.keep_original
    assert answer.best_candidate.name == "original"
    assert answer.verdict.kind == "keep"
    assert answer.verdict.text == (
        "Keep the picture as it is: probably no version of it would raise open_rate by more than "
        "10%."
    )


def test_a_change_must_surely_exceed_the_minimum_lift(recommender, image):
    """brighter raises open_rate from 6 % to 93 %: a lift of 15, not of 100."""
    change = recommender.recommend(image, "open_rate", CONTEXT, min_lift=5.0)
    assert (change.verdict.kind, change.min_lift) == ("change", 5.0)
    keep = recommender.recommend(image, "open_rate", CONTEXT, candidates=["sketch"], min_lift=10.0)
    assert keep.keep_original
    assert not any(candidate.better for candidate in keep.candidates)
    with pytest.raises(BadRequest, match="'min_lift' does not fit"):
        parse_request(RequestBody(b"x", {"min_lift": "-1"}, {}))


def test_the_augmentation_of_the_request_is_the_originals_level(recommender, image):
    spec = recommender.bundle.spec
    plain = recommender.recommend(image, "open_rate", CONTEXT)
    sketched = recommender.recommend(image, "open_rate", CONTEXT, augmentation="sketch")
    assert (plain.augmentation, sketched.augmentation) == ("original", "sketch")
    pixels = decode(image, spec.image_size).pixels
    embedding = recommender.backbone.embed(Normalizer(spec.mean, spec.std).batch([pixels]))
    encoded = ContextEncoder(spec.context).encode(CONTEXT)
    level = np.array([spec.augmentations.names.index("sketch")])
    rows = HeadRows(level, embedding.logits, embedding.features, encoded)
    want = recommender._estimators["open_rate"].candidates(rows, ImageEffects.unknown(1)).mean()
    assert sketched.probability == pytest.approx(want, abs=2e-4)
    assert sketched.probability != plain.probability
    with pytest.raises(BadRequest, match=r"the augmentation is not known.*did you mean sketch"):
        recommender.recommend(image, "open_rate", CONTEXT, augmentation="sketsch")


def test_ties_go_to_the_original(recommender, image):
    only = recommender.recommend(image, "open_rate", CONTEXT, candidates=[])
    assert [c.name for c in only.candidates] == ["original"]
    assert only.keep_original


def test_alternates_are_of_the_images_own_type_and_never_itself(recommender, image):
    answer = recommender.recommend(image, "open_rate", CONTEXT, alternates=50)
    own = next(p for p in recommender.alternates.images if p.sha256 == answer.image.sha256)
    assert own.attributes["product_type"] == "car"
    assert len(answer.alternates) == 11
    assert {a.attributes["product_type"] for a in answer.alternates} == {"car"}
    assert own.path not in [a.path for a in answer.alternates]
    verdict = answer.alternate_verdict
    if verdict.kind == "change":
        assert answer.best_alternate.path == verdict.choice
    else:
        assert answer.best_alternate is None
    assert recommender.recommend(image, "open_rate", CONTEXT, alternates=0).alternates == ()


def test_an_image_unknown_to_the_catalogue_gets_alternates_of_any_type(recommender):
    grey = np.full((30, 60, 3), 90, np.uint8)
    answer = recommender.recommend(grey, "open_rate", CONTEXT, alternates=50)
    assert len(answer.alternates) == 24
    assert (answer.image.width, answer.image.height) == (60, 30)


def test_an_alternate_is_predicted_once_for_all_requests_of_a_context(recommender, image):
    first = recommender.recommend(image, "open_rate", CONTEXT, alternates=100)
    grey = np.full((64, 64, 3), 128, np.uint8)
    kind = first.alternates[0].attributes["product_type"]
    other = recommender.recommend(
        grey, "open_rate", CONTEXT | {"product_type": kind}, alternates=100
    )
    mine = {each.path: (each.probability, each.interval) for each in first.alternates}
    others = {each.path: (each.probability, each.interval) for each in other.alternates}
    assert len(others) == len(mine) + 1  # the image itself is no alternate to itself
    assert mine.items() <= others.items()
    plan = recommender.plan(Request(grey, "open_rate", CONTEXT | {"product_type": kind}))
    (_, draws), (_, again) = (recommender.alternates.predict(plan) for _ in range(2))
    assert draws is again
    with pytest.raises(ValueError, match="read-only"):
        draws[0, 0] = 0


def test_thumbnails_come_on_request_only(recommender, image):
    plain = recommender.recommend(image, "open_rate", CONTEXT)
    assert {s.thumbnail for s in (*plain.candidates, *plain.alternates)} == {None}
    rich = recommender.recommend(image, "open_rate", CONTEXT, thumbnails=True)
    for score in (*rich.candidates, *rich.alternates):
        small = Image.open(io.BytesIO(base64.b64decode(score.thumbnail)))
        assert small.format == "JPEG"


def test_a_batch_answers_each_as_if_alone_and_errors_stay_in_their_place(recommender, image):
    requests = [
        Request(image, "open_rate", CONTEXT),
        Request(image[: len(image) // 2], "open_rate", CONTEXT),
        Request(image, "unsubscribe_rate", CONTEXT, candidates=("rotate",)),
        Request(image, "open_rat", CONTEXT),
        Request(image, "open_rate", {"campaign_type": "Newsletter", "industry": float("nan")}),
        Request(image, "open_rate", CONTEXT, candidates=("rotated",)),
    ]
    answers = recommender.recommend_batch(requests)
    assert [type(answer) for answer in answers] == [
        Answer, BrokenImage, Answer, UnknownTarget, BadContext, BadRequest,
    ]  # fmt: skip
    for index in (0, 2):
        alone = recommender.recommend_batch([requests[index]])[0]
        for got, want in zip(answers[index].candidates, alone.candidates, strict=True):
            assert got.name == want.name
            assert got.probability == pytest.approx(want.probability, abs=1e-6)


def test_a_fault_of_ours_is_hidden_from_the_caller_and_logged(recommender, image, caplog):
    broken = Request(image, "open_rate", CONTEXT, alternates="many")  # type: ignore[arg-type]
    good = Request(image, "open_rate", CONTEXT)
    error, answer = recommender.recommend_batch([broken, good])
    assert isinstance(answer, Answer)
    assert type(error) is AugrankError
    assert error.status == 500
    assert "Traceback" in caplog.text
    assert "many" not in str(error)


def test_if_the_backbone_fails_refusals_keep_their_status(recommender, image, monkeypatch):
    def fail(_batch):
        raise RuntimeError("out of memory")

    recommender.embedding_cache.clear()
    monkeypatch.setattr(recommender.backbone, "embed", fail)
    good, bad = Request(image, "open_rate", CONTEXT), Request(b"x", "open_rate", CONTEXT)
    answers = recommender.recommend_batch([good, bad, good])
    assert [answer.status for answer in answers] == [500, 415, 500]
    assert "memory" not in str(answers[0])


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (np.zeros((0, 4, 3), np.uint8), {}),
        (np.zeros((4, 4), np.uint8), {}),
        (np.zeros((4, 4, 3), np.float32), {}),
        (np.zeros((4, 4, 3), np.uint8), {"alternates": -1}),
    ],
)
def test_what_is_no_image_or_no_number_of_alternates(recommender, image, options):
    with pytest.raises(BadRequest):
        recommender.recommend(image, "open_rate", CONTEXT, **options)


def test_a_bytearray_is_a_file(recommender, image):
    first, second = (
        recommender.recommend(kind(image), "open_rate", CONTEXT) for kind in (bytes, bytearray)
    )
    assert first.image == second.image


def test_recommend_raises_what_a_batch_returns(recommender, image, tmp_path):
    with pytest.raises(UnknownTarget, match="one of open_rate, unsubscribe_rate"):
        recommender.recommend(image, "revenue", CONTEXT)
    with pytest.raises(UnknownTarget, match="missing"):
        recommender.recommend(image, None, CONTEXT)
    file = tmp_path / "p.png"
    file.write_bytes(image)
    assert recommender.recommend(file, "open_rate", CONTEXT).image.format == "PNG"


def test_answers_repeat(tiny_export, image, recommender):
    other = Recommender(load_bundle(tiny_export.bundle), threads=1)
    first, second = (
        r.recommend(image, "open_rate", CONTEXT).model_dump(exclude={"timings_ms"})
        for r in (recommender, other)
    )
    assert first["bundle_version"] == second["bundle_version"]
    for got, want in zip(first["candidates"], second["candidates"], strict=True):
        assert got["name"] == want["name"]
        assert got["probability"] == pytest.approx(want["probability"], abs=1e-5)


def test_a_product_type_chooses_alternates_though_no_head_looks_at_it(recommender, image):
    plain = recommender.recommend(image, "open_rate", CONTEXT)
    vans = recommender.recommend(image, "open_rate", {**CONTEXT, "product_type": "van"})
    assert vans.candidates == plain.candidates
    assert {a.attributes["product_type"] for a in vans.alternates} == {"van"}
    with pytest.raises(BadContext, match="expected one of car, van"):
        recommender.recommend(image, "open_rate", {**CONTEXT, "product_type": "boat"})


def test_values_match_whatever_their_case_and_separators(recommender, image):
    exact = recommender.recommend(image, "open_rate", {**CONTEXT, "product_type": "van"})
    spelled = {"campaign_type": "NEWSLETTER", "industry": "retail_", "product_type": "Van"}
    loose = recommender.recommend(image, "open_rate", spelled)
    assert loose.context == exact.context
    assert (loose.candidates, loose.alternates) == (exact.candidates, exact.alternates)


def test_a_second_question_about_an_image_needs_no_decoding_and_no_backbone(
    recommender, image, monkeypatch
):
    recommender.embedding_cache.clear()
    want = {
        target: recommender.recommend(image + bytes(1), target, CONTEXT, thumbnails=True)
        for target in ("open_rate", "unsubscribe_rate")
    }
    recommender.embedding_cache.clear()
    recommender.recommend(image, "open_rate", CONTEXT, thumbnails=True)
    for part in (
        "augrank.tasks.recommend.stages.working_image",
        "augrank.models.backbone.Backbone.embed",
    ):
        monkeypatch.setattr(part, lambda *_: pytest.fail("asked again"))
    for target, expected in want.items():
        answer = recommender.recommend(image, target, CONTEXT, thumbnails=True)
        assert answer.candidates == expected.candidates
        assert (answer.image.width, answer.image.format) == (96, "PNG")
        assert answer.timings_ms.embed == answer.timings_ms.decode == 0
        fewer = recommender.recommend(image, target, CONTEXT, candidates=["rotate"])
        assert {score.name for score in fewer.candidates} == {"original", "rotate"}
