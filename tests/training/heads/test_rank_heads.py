"""The head of a rank: which candidate is kept, and whether its scores are log odds."""

import numpy as np
import pytest

from augrank.models.rank_head import RankHead
from augrank.models.scorers import Linear
from training.data.ranks import Rank
from training.data.splits import TEST, TRAIN, VALIDATION
from training.heads import rank_heads
from training.heads.candidates import LOGISTIC, NETWORK, XGBOOST
from training.heads.rank_heads import RankRows, best_scale, fit_rank_head

CALIBRATION, WIDTH, UPLOADS = 3, 6, 5
TRUE = np.random.default_rng(5).normal(0, 1.0, WIDTH)
SPLITS = (TRAIN, VALIDATION, CALIBRATION, TEST)


def linear_appeal(features: np.ndarray) -> np.ndarray:
    return features @ TRUE


def round_appeal(features: np.ndarray) -> np.ndarray:
    """What is near the middle is liked."""
    return 3.0 * ((features[:, :2] ** 2).sum(axis=1) < 1.4)


def world(appeal, within: str | None, train: int = 2000, held: int = 1000):
    """Return a rank, and its images by split: Gumbel noise makes differences log odds."""
    rng = np.random.default_rng(1)
    sizes = [train if split == TRAIN else held for split in SPLITS]
    features = rng.normal(size=(sum(sizes), WIDTH)).astype(np.float32)
    uploader = np.arange(len(features)) // UPLOADS
    followers = rng.normal(0, 4, len(features))[uploader] if within else 0
    score = appeal(features) + followers + rng.gumbel(size=len(features))
    owner = uploader if within else np.zeros(len(features), np.int64)
    rank = Rank.of("likes", within, score, owner)
    parts, start = {}, 0
    for split, size in zip(SPLITS, sizes, strict=True):
        file = np.arange(start, start + size)
        parts[split] = RankRows.of(features[file], rank, file, uploader[file], seed=0)
        start += size
    return rank, parts, features


def fit(rank, parts, last_layer):
    return fit_rank_head(
        rank, parts, last_layer, "heads/fp32/rank-0", calibration=CALIBRATION, seed=0, threads=1
    )


USELESS = Linear(np.zeros((1, WIDTH), np.float32), np.zeros(1, np.float32))
RIGHT = Linear(TRUE[None].astype(np.float32), np.zeros(1, np.float32))


@pytest.mark.parametrize(
    ("appeal", "last_layer", "kept", "within"),
    [
        (linear_appeal, RIGHT, NETWORK, "uploader"),
        (linear_appeal, USELESS, LOGISTIC, "uploader"),
        (linear_appeal, USELESS, LOGISTIC, None),
        (round_appeal, USELESS, XGBOOST, "uploader"),
        (round_appeal, USELESS, XGBOOST, None),
    ],
)
def test_the_candidate_that_validates_best_is_kept_and_read_back(
    tmp_path, appeal, last_layer, kept, within
):
    rank, parts, features = world(appeal, within, train=200 if kept == NETWORK else 2000)
    fitted = fit(rank, parts, last_layer)
    assert fitted.candidate.name == kept
    test = parts[TEST]
    attainable = test.pairs.correct(appeal(test.features)).mean()
    # Most of what can be known is learned, whatever the uploaders' followers are.
    assert fitted.figures.pair_accuracy >= 0.92 * attainable
    fitted.save(tmp_path)
    loaded = RankHead.load(fitted.head.spec, tmp_path)
    assert loaded.spec.within == within
    for rows in (features[:10], features[:300]):  # trees have a way of their own for a few rows
        assert loaded.scores(rows) == pytest.approx(fitted.head.scores(rows), abs=1e-5)


def test_differences_of_scores_are_log_odds():
    rank, parts, _ = world(linear_appeal, "uploader", train=4000, held=4000)
    fitted = fit(rank, parts, USELESS)
    test = parts[TEST]
    score = fitted.head.scores(test.features)
    margin = test.pairs.margin(score)
    told = 1 / (1 + np.exp(-np.abs(margin)))  # that the image with the higher score wins
    won = margin > 0
    for low, high in ((0.5, 0.7), (0.7, 0.85), (0.85, 1)):
        inside = (told >= low) & (told < high)
        assert inside.sum() > 500
        assert won[inside].mean() == pytest.approx(told[inside].mean(), abs=0.035)


def test_percentiles_are_among_the_calibration_images():
    rank, parts, _ = world(linear_appeal, "uploader")
    head = fit(rank, parts, USELESS).head
    held = head.scores(parts[CALIBRATION].features)
    percentiles = head.percentiles(held)
    assert percentiles.mean() == pytest.approx(50, abs=0.2)
    assert (np.diff(percentiles[np.argsort(held)]) >= 0).all()
    assert head.percentiles(np.array([-99.0, 99.0])).tolist() == [0, 100]
    above = head.probabilities(held)
    assert ((above > 0.5) == (percentiles > 50)).mean() > 0.995


def test_a_scale_recovers_the_odds_and_stays_finite():
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, 20_000)
    sign = np.where(rng.random(len(odds)) < 1 / (1 + np.exp(-odds)), 1, -1)
    assert best_scale(5 * odds * sign) == pytest.approx(5, rel=0.05)
    assert best_scale(np.ones(20)) > 1 / rank_heads.MAX_SCALE  # all right, and yet not certain


def test_a_sample_of_many_images_keeps_uploaders_whole(monkeypatch):
    monkeypatch.setattr(rank_heads, "MAX_TREE_ROWS", 100)
    _, parts, _ = world(linear_appeal, "uploader", train=400)
    order = rank_heads._by_owner(parts[TRAIN], seed=0)
    owner = parts[TRAIN].owner[order]
    assert len(order) == 100
    assert (np.diff(owner) >= 0).all()
    assert set(np.unique(owner, return_counts=True)[1].tolist()) == {UPLOADS}
    assert owner.max() > 60  # not the first ones only
