"""Histories whose effects are known, and their fitted model."""

from dataclasses import replace

import numpy as np

from augrank.models.context import CategoricalColumn
from training.heads.posterior.design import Design, History
from training.heads.posterior.mixed_effects import fit_effects
from training.heads.posterior.version_mean import ImageMeans

AUGMENTATIONS, CAMPAIGNS = 6, 5
COLUMNS = (CategoricalColumn(name="campaign", values=tuple("abcde")),)
CONTEXTS = np.eye(CAMPAIGNS, dtype=np.float32)


def simulate(odds, seed=0, originals=150, deviation=0.0, score=None, trials=1, of_versions=0.0):
    """Return a history of 24 rows for each original, its versions in turn."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(originals), 24)
    level = np.tile(np.arange(24) % AUGMENTATIONS, originals)
    context = rng.integers(CAMPAIGNS, size=len(image))
    effect = rng.normal(0, deviation, originals)
    scores = np.zeros(len(image)) if score is None else score(rng, image)
    embedding = image * AUGMENTATIONS + level
    version_effect = rng.normal(0, of_versions, originals * AUGMENTATIONS)[embedding]
    truth = 1 / (1 + np.exp(-(odds[level, context] + effect[image] + version_effect + scores)))
    successes = rng.binomial(trials, truth)
    zeros = np.zeros(len(image))
    parts = (embedding, level, context, image, scores, zeros, zeros)
    twice = [np.concatenate([part, part]) for part in parts]
    label = np.repeat([1.0, 0.0], len(image))
    weight = np.concatenate([successes, trials - successes]).astype(float)
    return History(*twice, label, weight)


def fit(history, seed=0, unchanged=None):
    design = Design.of(AUGMENTATIONS, COLUMNS, CONTEXTS)
    return fit_effects(design, CONTEXTS, history, np.random.default_rng(seed), unchanged)


def with_version_scores(history, image_score, version_score):
    """Return the history with scores, and with the mean of the versions' by image."""
    scores, changed = (image_score, version_score), history.level > 0
    means = ImageMeans.of(history.image, changed, history.weight, scores)
    return replace(
        history,
        image_score=image_score,
        version_score=version_score,
        version_mean=means.unusual(means.usual()),
    )


def posterior_of(fitted, catalogue=(), correction=0.0):
    nothing = np.zeros(fitted.effects.shape[1])
    corrections = np.full(len(fitted.images), correction)
    return fitted.posterior(nothing, corrections, np.array(catalogue, np.int64))


def cells(fitted):
    """Return draws of the log odds of every augmentation and campaign, (M, A, C)."""
    posterior = posterior_of(fitted)
    zeros = np.zeros(AUGMENTATIONS, np.float32)
    level = np.arange(AUGMENTATIONS)
    return np.stack(
        [posterior.log_odds(level, context, zeros, zeros) for context in CONTEXTS], axis=2
    )
