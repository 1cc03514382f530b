"""The world through real images, on the tiny bundle."""

import numpy as np
import pytest

from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.errors import BadRequest
from augrank.reporting import NullReporter
from benchmarks.trust.decision_figures import pool
from benchmarks.trust.real import ALTERNATES, CANDIDATES, RealInputs, Truth, measure_real

CONTEXT = {"campaign_type": "Newsletter", "industry": "Retail"}


@pytest.fixture(scope="module")
def bundle(tiny_export):
    return load_bundle(tiny_export.bundle, RecommendSpec)


def test_answers_are_compared_with_the_rule_of_the_simulation(recommender, image):
    truth = Truth(recommender.bundle)
    answer = recommender.recommend(image, "open_rate", CONTEXT, alternates=4)
    judged = truth.judge_candidates(answer)
    names = ["original", *(c.name for c in answer.candidates if c.name != "original")]
    assert judged.truth.tolist() == [0.8 if n in ("brighter", "rotate") else 0.2 for n in names]
    by_name = {each.name: each for each in answer.candidates}
    assert judged.probability.tolist() == [by_name[name].probability for name in names]
    assert judged.interval[:, 1].tolist() == list(by_name[names[1]].interval)
    assert judged.difference_interval[:, 0].tolist() == list(by_name[names[1]].difference_interval)
    assert judged.better.tolist() == [by_name[name].better for name in names[1:]]
    chosen = answer.best_candidate.name if answer.verdict.kind == "change" else "original"
    assert names[judged.chosen] == chosen

    alternates = truth.judge_alternates(answer)
    assert alternates.truth.tolist() == [0.2] * (1 + len(answer.alternates))
    assert not alternates.gain.any()


def test_what_is_to_be_minimised_is_mirrored(recommender, image):
    answer = recommender.recommend(image, "unsubscribe_rate", CONTEXT, alternates=0)
    judged = Truth(recommender.bundle).judge_candidates(answer)
    assert judged.gain.max() == 0  # brighter and rotate have more unsubscribers
    assert judged.gain.min() == pytest.approx(-0.6)
    assert judged.probability[0] == 1 - answer.probability
    assert np.all(judged.interval[0] <= judged.interval[1])
    assert np.all(judged.difference_interval[0] <= judged.difference_interval[1])


def test_every_held_out_image_is_sent_for_every_target(bundle, tiny_run):
    inputs = RealInputs(bundle, tiny_run.run, tiny_run.images)
    files = [file.name for file in inputs.held_out()]
    assert files[:3] == ["image_004.png", "image_005.png", "image_010.png"]
    found = measure_real(inputs, NullReporter())
    assert found.keys() == {CANDIDATES, ALTERNATES}
    for heads in found.values():
        assert len(heads) == len(bundle.spec.heads)
        coverage = pool(heads, "coverage")
        assert coverage is not None
        assert 0 <= coverage.value <= 1
        assert all(each["added_ms"][0] > 0 for each in heads)
    size = sum((bundle.directory / head.posterior).stat().st_size for head in bundle.spec.heads)
    assert found[CANDIDATES][0]["added_bytes"] == (size, 1)


def test_a_run_or_images_that_do_not_fit_are_refused(bundle, tiny_run, tmp_path):
    with pytest.raises(BadRequest, match=r"no catalogue\.csv"):
        RealInputs(bundle, tmp_path, tiny_run.images).held_out()
    with pytest.raises(BadRequest, match="8 of 8 images of the test split are missing"):
        RealInputs(bundle, tiny_run.run, tmp_path).held_out()
