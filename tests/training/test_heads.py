from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augrank.heads import Calibration, Head
from augrank.targets import Target
from training.baselines import LOGISTIC, MAJORITY, SKLEARN_BOOSTING, compare
from training.embeddings import EmbeddingTable
from training.heads import Matrices, Trial, choose, fit_calibration, fit_head, input_sets
from training.outcomes import Inputs, OutcomeRows

TARGET = Target(name="open_rate", direction="maximize")
AUGMENTATIONS, ORIGINALS, WIDTH = 6, 150, 16


def make_inputs(contexts: np.ndarray) -> Inputs:
    """Embeddings whose logits tell the augmentation, and features that are noise."""
    rng = np.random.default_rng(0)
    label = np.tile(np.arange(AUGMENTATIONS), ORIGINALS)
    logits = (np.eye(AUGMENTATIONS)[label] * 6 + rng.normal(size=(len(label), 6))).astype("f4")
    features = rng.normal(size=(len(label), WIDTH)).astype("f4")
    return Inputs(EmbeddingTable(features, logits, np.arange(len(label))), contexts)


def make_parts(probability, contexts: int, seed: int = 1, sends: int = 3):
    """Outcomes by split; ``probability(augmentation, context)`` is the truth."""
    rng = np.random.default_rng(seed)
    parts = {}
    for split, (low, high) in {
        "train": (0, 90),
        "validation": (90, 115),
        "test": (115, 150),
    }.items():
        embedding = np.repeat(np.arange(low * AUGMENTATIONS, high * AUGMENTATIONS), sends)
        context = rng.integers(contexts, size=len(embedding))
        truth = probability(embedding % AUGMENTATIONS, context).astype(float)
        label = (rng.random(len(truth)) < truth).astype(float)
        original = embedding // AUGMENTATIONS
        parts[split] = OutcomeRows(embedding, context, original, label, np.ones(len(label)), truth)
    return parts


def fit(parts, inputs, threads: int = 1):
    return fit_head(
        TARGET, parts, inputs, matrices=Matrices(inputs, threads), seed=0, threads=threads
    )


def seed_rule(augmentation, context):
    return np.where(np.isin(augmentation, [1, 3]), 0.8, 0.2)


def test_a_known_rule_is_recovered_to_its_ceiling():
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    parts = make_parts(seed_rule, 1)
    head = fit(parts, inputs)
    figures = head.spec.metrics
    assert head.spec.inputs == ("recognition",)  # the features are noise: the simplest is enough
    assert figures["accuracy"] == pytest.approx(figures["ceiling"]["accuracy"], abs=0.015)
    assert figures["leak"] is False
    assert figures["majority_accuracy"] == pytest.approx(0.6, abs=0.05)
    assert figures["ece"] < 0.06
    assert np.abs(head.test_probability - parts["test"].truth).mean() < 0.06
    assert set(head.validation_log_loss) == {"recognition", "features", "recognition+features"}


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


def test_many_outcomes_of_few_pictures_do_not_choose_richer_inputs():
    """A gain on one of four originals is one observation, however often it was sent."""
    original = np.repeat(np.arange(4), 500)
    zeros = np.zeros(len(original))
    rows = OutcomeRows(original, original, original, zeros, zeros + 1, None)
    simple = Trial(("recognition",), None, zeros.astype("f4"), 0.0, 0.0)
    gain = np.choose(original, [-1.0, 0.2, 0.0, 0.0])  # lower margin, lower loss: label 0
    rich = Trial(("features",), None, gain.astype("f4"), -1.0, 0.0)
    assert choose([simple, rich], rows) is simple
    everywhere = replace(rich, margin=(gain * 0 - 1).astype("f4"))
    assert choose([simple, everywhere], rows) is everywhere
    independent = replace(rows, original=np.arange(len(original)))
    assert choose([simple, rich], independent) is rich


def test_the_saved_head_predicts_the_same_and_fits_the_runtime(tmp_path: Path):
    inputs = make_inputs(np.eye(3, dtype=np.float32))
    parts = make_parts(lambda a, c: np.where(a == c, 0.9, 0.1), 3)
    head = fit(parts, inputs)
    (tmp_path / "heads").mkdir()
    head.booster.save_model(tmp_path / head.spec.file)
    loaded = Head.load(head.spec, tmp_path)
    test = parts["test"]
    probability = loaded.predict(
        logits=inputs.table.logits[test.embedding],
        features=inputs.table.features[test.embedding],
        context=inputs.contexts[test.context],
    )
    np.testing.assert_array_equal(probability, head.test_probability)


def test_heads_are_deterministic_and_matrices_are_reused_rightly():
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    matrices = Matrices(inputs, 2)
    parts = [make_parts(seed_rule, 1, seed=seed) for seed in (1, 2)]
    shared = [fit_head(TARGET, p, inputs, matrices=matrices, seed=0, threads=2) for p in parts]
    alone = [fit(p, inputs) for p in parts]
    for one, other in zip(shared, alone, strict=True):
        assert one.booster.save_raw("ubj") == other.booster.save_raw("ubj")
        assert one.spec == other.spec


def test_pairs_give_the_model_of_their_single_outcomes():
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    single = make_parts(seed_rule, 1)
    pairs = {}
    for split, rows in single.items():
        keys, weight = np.unique(np.stack([rows.embedding, rows.label]), axis=1, return_counts=True)
        embedding = keys[0].astype(np.int64)
        context, truth = np.zeros(len(embedding), np.int64), seed_rule(embedding % 6, None)
        original = embedding // AUGMENTATIONS
        pairs[split] = OutcomeRows(
            embedding, context, original, keys[1], weight.astype(float), truth
        )
    one, other = fit(single, inputs).spec.metrics, fit(pairs, inputs).spec.metrics
    assert one["outcomes"] == other["outcomes"]
    assert one["share_of_ones"] == pytest.approx(other["share_of_ones"])
    assert one["ceiling"]["brier"] == pytest.approx(other["ceiling"]["brier"])
    assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.02)


def test_calibration_recovers_a_distorted_margin_and_leaves_a_true_one():
    rng = np.random.default_rng(0)
    margin = rng.normal(size=20_000)
    label = (rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * margin + 0.3)))).astype(float)
    found = fit_calibration(margin, label, np.ones(20_000))
    assert found.scale == pytest.approx(0.5, abs=0.05)
    assert found.shift == pytest.approx(0.3, abs=0.05)
    true = (rng.random(20_000) < 1 / (1 + np.exp(-margin))).astype(float)
    assert fit_calibration(margin, true, np.ones(20_000)) == Calibration()


def test_calibration_never_turns_the_order_round_and_survives_separable_labels():
    rng = np.random.default_rng(0)
    margin = rng.normal(size=500)
    assert fit_calibration(margin, (margin < 0).astype(float), np.ones(500)).scale > 0
    perfect = fit_calibration(margin, (margin > 0).astype(float), np.ones(500))
    assert np.isfinite([perfect.scale, perfect.shift]).all()


def test_without_context_no_input_set_names_it():
    assert input_sets(0) == (("recognition",), ("features",), ("recognition", "features"))
    assert all("context" in names for names in input_sets(3))


def test_baselines_are_scored_on_the_same_rows():
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    parts = make_parts(seed_rule, 1)
    rows = compare(("recognition",), parts["train"], parts["test"], inputs, seed=0, threads=1)
    share = parts["train"].share_of_ones
    assert rows[MAJORITY]["accuracy"] == pytest.approx(1 - parts["test"].share_of_ones)
    assert rows[MAJORITY]["brier"] == pytest.approx(np.mean((parts["test"].label - share) ** 2))
    for name in (LOGISTIC, SKLEARN_BOOSTING):
        assert rows[name]["accuracy"] > 0.74
        assert rows[name]["fit_seconds"] > 0
