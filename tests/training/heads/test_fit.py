import json
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import xgboost

from augrank.trust.estimator import Estimator
from tests.training.heads.histories import (
    TARGET,
    fit,
    make_inputs,
    make_parts,
    seed_rule,
)
from training.heads import fit as fit_module
from training.heads.baselines import fit_baselines
from training.heads.dataset import OutcomeRows, TrainingRows
from training.heads.dmatrix import Matrices
from training.heads.fit import InputFit, fit_head, input_sets, select_inputs
from training.heads.scores import BoosterOptions
from training.run.report import LOGISTIC, MAJORITY, SKLEARN_BOOSTING


@pytest.fixture(autouse=True)
def _short_chains(request):
    if "recovered" not in request.node.name:
        request.getfixturevalue("short_chains")


def test_a_known_rule_is_recovered_to_its_ceiling():
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    parts = make_parts(seed_rule, 1)
    head = fit(parts, inputs)
    figures = head.spec.metrics
    assert head.spec.inputs == ("augmentation",)  # the features are noise: the simplest is enough
    assert figures["accuracy"] == pytest.approx(figures["ceiling"]["accuracy"], abs=0.015)
    assert figures["leak"] is False
    assert figures["majority_accuracy"] == pytest.approx(0.6, abs=0.05)
    assert figures["ece"] < 0.06
    low, high = figures["debiased_ece_interval_90"]
    assert low <= figures["debiased_ece"] <= high
    assert low < 0.02
    assert np.abs(head.test_probability - parts["test"].truth).mean() < 0.03
    assert figures["decision"]["regret"] < 0.01
    assert figures["decision"]["coverage"] > 0.85
    assert figures["decision"]["false_claims"] < 0.05
    assert set(head.validation_log_loss) == {
        "augmentation",
        "augmentation_probs",
        "augmentation+features",
        "augmentation+augmentation_probs+features",
    }
    assert set(head.calibration_log_loss) == {"none", "platt", "beta", "venn_abers"}


def test_without_the_augmentation_it_is_recognised():
    inputs = replace(make_inputs(np.zeros((1, 0), np.float32)), augmentation_known=False)
    parts = {
        split: replace(rows, augmentation=np.zeros_like(rows.augmentation))
        for split, rows in make_parts(seed_rule, 1).items()
    }
    head = fit(parts, inputs)
    assert not head.spec.augmentation_known
    assert "augmentation" not in head.spec.inputs
    assert set(head.validation_log_loss) == {
        "augmentation_probs",
        "features",
        "augmentation_probs+features",
    }
    figures = head.spec.metrics
    assert figures["accuracy"] == pytest.approx(figures["ceiling"]["accuracy"], abs=0.015)


def test_context_is_used_where_it_matters():
    contexts = np.eye(4, dtype=np.float32)
    inputs = make_inputs(contexts)
    parts = make_parts(lambda a, c: np.where(a == c, 0.9, 0.1), 4, sends=6)
    head = fit(parts, inputs)
    assert "context" in head.spec.inputs
    assert head.spec.width == 6 + 4
    figures = head.spec.metrics
    assert figures["accuracy"] == pytest.approx(figures["ceiling"]["accuracy"], abs=0.015)


def test_a_planted_leak_is_flagged():
    inputs = make_inputs(np.eye(2, dtype=np.float32))
    parts = make_parts(seed_rule, 2)
    leaking = {
        split: replace(rows, context=rows.label.astype(np.int64)) for split, rows in parts.items()
    }
    assert fit(leaking, inputs).spec.metrics["leak"] is True


def test_many_outcomes_of_few_images_do_not_choose_richer_inputs():
    """An effect on one of four originals is one observation, however many outcomes it has."""
    original = np.repeat(np.arange(4), 500)
    zeros = np.zeros(len(original))
    rows = OutcomeRows(original, original, original, original, zeros, zeros + 1, None)
    simple = InputFit(BoosterOptions(("augmentation",), {}, 1), zeros.astype("f4"), 0.0)
    gain = np.choose(original, [-1.0, 0.2, 0.0, 0.0])  # lower margin, lower loss: label 0
    rich = InputFit(BoosterOptions(("features",), {}, 1), gain.astype("f4"), -1.0)
    assert select_inputs([simple, rich], rows) is simple
    everywhere = replace(rich, margin=(gain * 0 - 1).astype("f4"))
    assert select_inputs([simple, everywhere], rows) is everywhere
    independent = replace(rows, original=np.arange(len(original)))
    assert select_inputs([simple, rich], independent) is rich


def test_the_saved_head_predicts_the_same_and_fits_the_runtime(tmp_path: Path):
    inputs = make_inputs(np.eye(3, dtype=np.float32))
    parts = make_parts(lambda a, c: np.where(a == c, 0.9, 0.1), 3)
    head = fit(parts, inputs)
    head.save(tmp_path)
    tested = head.spec.model_copy(update={"posterior": head.spec.tested_posterior})
    loaded = Estimator.load(tested, tmp_path)
    test = parts["test"]
    image_score = loaded.score(inputs.rows(inputs.unchanged_rows(test)))
    drawn = loaded.history(inputs.rows(test), test.original, test.embedding, image_score)
    probability = drawn.mean(axis=0)
    np.testing.assert_allclose(probability, head.test_probability, atol=1e-3)  # float16 on disk


def test_the_outcomes_of_the_test_split_reach_the_final_posterior_alone():
    inputs = make_inputs(np.eye(2, dtype=np.float32))
    parts = make_parts(seed_rule, 2)
    flipped = {**parts, "test": replace(parts["test"], label=1 - parts["test"].label)}
    one, other = fit(parts, inputs), fit(flipped, inputs)
    assert one.booster.save_raw("ubj") == other.booster.save_raw("ubj")
    assert one.spec.calibration == other.spec.calibration
    assert one.validation_log_loss == other.validation_log_loss
    assert one.calibration_log_loss == other.calibration_log_loss
    np.testing.assert_array_equal(one.test_probability, other.test_probability)
    for name in ("deviation", "image_slope", "factors"):
        tested = [getattr(head.tested_posterior, name) for head in (one, other)]
        np.testing.assert_array_equal(*tested)
    for head in (one, other):
        known = np.isfinite(head.tested_posterior.catalogue.deviation)
        assert known.tolist() == [True] * 115 + [False] * 35
        assert np.isfinite(head.posterior.catalogue.deviation).all()
        assert not head.posterior.catalogue.correction[115:].any()
    gains = [head.posterior.effects.augmentation.mean(axis=0)[1] for head in (one, other)]
    assert gains[0] > gains[1] + 0.3


@pytest.mark.filterwarnings("ignore:.*GPU")  # there is none
def test_heads_are_fitted_on_a_gpu_and_saved_for_the_cpu(tmp_path, monkeypatch):
    asked = []

    def train(parameters, *args, **kwargs):
        asked.append(parameters["device"])
        return real(parameters, *args, **kwargs)

    real = xgboost.train
    monkeypatch.setattr(xgboost, "train", train)
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    parts = make_parts(seed_rule, 1)
    gpu = {"device": "cuda", "gpu_memory_bytes": 2**40}
    on_gpu, on_cpu = fit(parts, inputs, **gpu), fit(parts, inputs)
    fits = 4 + 5 + 1  # the sets of inputs, the folds, the final one
    assert asked == ["cuda"] * fits + ["cpu"] * fits
    settings = json.loads(on_gpu.booster.save_config())["learner"]["generic_param"]
    assert settings["device"] == "cpu"
    accuracy = on_cpu.spec.metrics["accuracy"]
    assert on_gpu.spec.metrics["accuracy"] == pytest.approx(accuracy, abs=0.02)
    # XGBoost's GPU reads no pages of host arrays; and it may be too small.
    for limits in ({"memory_bytes": 0}, {"gpu_memory_bytes": 0}):
        with Matrices(inputs, 1, tmp_path / "heads", **(gpu | limits)) as matrices:
            head = fit_head(TARGET, parts, inputs, matrices=matrices, seed=0, threads=1)
        assert head.booster.save_raw("ubj") == on_cpu.booster.save_raw("ubj")
        assert matrices.on_disk == ("memory_bytes" in limits)
        assert matrices.exceeded_gpu == ("memory_bytes" not in limits)
    assert asked[2 * fits :] == ["cpu"] * 2 * fits


def test_outcomes_that_are_alike_give_one_model_to_the_last_digit():
    """Whether they come one by one, in any order, or counted, in two rows or in more."""
    inputs = make_inputs(np.eye(2, dtype=np.float32))
    single = make_parts(seed_rule, 2, sends=8)
    rng = np.random.default_rng(0)
    shuffled = {split: rows[rng.permutation(len(rows))] for split, rows in single.items()}
    counted = {split: rows.merged() for split, rows in shuffled.items()}
    for split, rows in counted.items():
        assert len(rows) < len(single[split]) / 2
        assert rows.weight.sum() == len(single[split])
        assert rows.weight @ rows.label == single[split].label.sum()
    halves = {
        split: replace(rows, weight=np.floor(rows.weight / 2)).joined(
            replace(rows, weight=np.ceil(rows.weight / 2))
        )
        for split, rows in counted.items()
    }
    forms = (single, shuffled, counted, halves)
    first, *others = (
        fit({split: rows.merged() for split, rows in parts.items()}, inputs) for parts in forms
    )
    for other in others:
        assert first.booster.save_raw("ubj") == other.booster.save_raw("ubj")
        assert first.spec == other.spec
        assert np.array_equal(first.test_probability, other.test_probability)
        for one, same in zip(
            astuple(first.posterior.effects), astuple(other.posterior.effects), strict=True
        ):
            assert np.array_equal(one, same)


def test_outcomes_of_different_true_probability_are_not_alike():
    rows = make_parts(seed_rule, 1, sends=4)["test"]
    rows = replace(rows, truth=np.arange(len(rows)) % 2 / 2)
    merged = rows.merged()
    assert set(merged.truth) == {0.0, 0.5}
    assert merged.weight @ merged.truth == rows.weight @ rows.truth


def test_inputs_are_compared_on_a_draw_of_a_long_history_and_heads_fitted_to_all(monkeypatch):
    inputs = make_inputs(np.eye(2, dtype=np.float32))
    parts = {split: rows.merged() for split, rows in make_parts(seed_rule, 2, sends=8).items()}
    of_all = fit(parts, inputs)
    monkeypatch.setattr(fit_module, "MOST_TO_COMPARE", 400)
    drawn = fit(parts, inputs)
    assert drawn.validation_log_loss != of_all.validation_log_loss
    assert drawn.spec == of_all.spec
    assert drawn.booster.save_raw("ubj") == of_all.booster.save_raw("ubj")


def _outcomes(rows: OutcomeRows) -> dict[tuple[int, int], float]:
    """Return the number of outcomes of each shown image, by embedding and context."""
    counts: dict[tuple[int, int], float] = {}
    for *shown, weight in zip(rows.embedding, rows.context, rows.weight, strict=True):
        counts[tuple(shown)] = counts.get(tuple(shown), 0) + weight
    return counts


def test_a_draw_has_all_outcomes_of_some_images_of_both_splits():
    parts = {split: rows.merged() for split, rows in make_parts(seed_rule, 2, sends=8).items()}
    training = TrainingRows.of(parts)
    assert training.draw(10_000, seed=0) is training
    drawn = training.draw(300, seed=0)
    assert len(drawn.rows.distinct().first) == pytest.approx(300, abs=2)
    for inside in (drawn.held_out, ~drawn.held_out):
        share = len(drawn.rows[inside].distinct().first) / 300
        assert share == pytest.approx(np.mean(inside), abs=0.03)
    assert _outcomes(drawn.rows).items() <= _outcomes(training.rows).items()
    again = training.draw(300, seed=0)
    assert np.array_equal(again.rows.embedding, drawn.rows.embedding)


def test_a_draw_without_a_single_conversion_is_not_used():
    parts = make_parts(seed_rule, 1)
    train = parts["train"]
    parts["train"] = replace(train, label=(np.arange(len(train)) == 0).astype(float))
    training = TrainingRows.of(parts)
    draws = [training.draw(20, seed) for seed in range(5)]
    shares = [drawn.rows[~drawn.held_out].label.mean() for drawn in draws]
    assert all(0 < share < 1 for share in shares)
    assert any(drawn is training for drawn in draws)


def test_without_context_no_input_set_names_it():
    bare = make_inputs(np.zeros((1, 0), np.float32))
    assert input_sets(bare) == (
        ("augmentation",),
        ("augmentation_probs",),
        ("augmentation", "features"),
        ("augmentation", "augmentation_probs", "features"),
    )
    assert all("context" in names for names in input_sets(make_inputs(np.eye(3, dtype="f4"))))


def test_baselines_are_scored_on_the_same_rows():
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    parts = make_parts(seed_rule, 1)
    rows = fit_baselines(
        ("augmentation_probs",), parts["train"], parts["test"], inputs, seed=0, threads=1
    )
    share = parts["train"].share_of_ones
    assert rows[MAJORITY]["accuracy"] == pytest.approx(1 - parts["test"].share_of_ones)
    assert rows[MAJORITY]["brier"] == pytest.approx(np.mean((parts["test"].label - share) ** 2))
    for name in (LOGISTIC, SKLEARN_BOOSTING):
        assert rows[name]["accuracy"] > 0.74
        assert rows[name]["fit_seconds"] > 0
