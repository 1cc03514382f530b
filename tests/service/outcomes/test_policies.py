"""Policies draw with the probabilities that they say, and say what the trust layer believes."""

import hashlib
import itertools
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augrank.trust.verdict import decide, interval
from service.outcomes.policies import TOTAL, Choices, Policy, draw, weights_of
from service.outcomes.posterior import Belief, Normals, best_probability, normals

ORIGINAL = "original"
THOMPSON = Policy("thompson", floor=0.0)


def beliefs(draws: np.ndarray) -> tuple[Belief, ...]:
    """Return what an answer says of draws of probabilities, (M, N), the original first."""
    differences = draws - draws[:, :1]
    ends, apart = np.stack(interval(draws)), np.stack(interval(differences))
    return tuple(
        Belief(
            f"version_{n}" if n else ORIGINAL,
            round(float(draws[:, n].mean()), 6),
            (round(float(ends[0, n]), 6), round(float(ends[1, n]), 6)),
            round(float(differences[:, n].mean()), 6),
            (round(float(apart[0, n]), 6), round(float(apart[1, n]), 6)),
        )
        for n in range(draws.shape[1])
    )


def posterior(rng, means, deviations, *, image: float, base: float, draws: int) -> np.ndarray:
    """Draw probabilities as the trust layer does: effects of the image and of its versions."""
    effect = image * rng.normal(size=(draws, 1))
    odds = base + means + effect + deviations * rng.normal(size=(draws, len(means)))
    return 1 / (1 + np.exp(-odds))


def belief(name: str, probability: float, width: float, original: float) -> Belief:
    gap, half = probability - original, 0.0 if name == ORIGINAL else width / 2
    inside = max(0.0, probability - width), min(1.0, probability + width)
    return Belief(name, probability, inside, gap, (gap - half, gap + half))


@st.composite
def choices(draw_from, most: int = 8) -> Choices:
    count = draw_from(st.integers(1, most))
    rate, width = st.floats(0.0, 1.0), st.floats(0.0, 0.4)
    original = draw_from(rate)
    found = [belief(ORIGINAL, original, draw_from(width), original)]
    found += [
        belief(f"v{n}", draw_from(rate), draw_from(width), original) for n in range(count - 1)
    ]
    order = draw_from(st.permutations(found))
    recommended = draw_from(st.sampled_from(order)).name
    return Choices(tuple(order), draw_from(st.sampled_from(["maximize", "minimize"])), recommended)


policies = st.builds(Policy, st.sampled_from(["best", "uniform", "thompson"]), st.floats(0.0, 0.5))


@given(choices(), policies, st.integers(0, 2**53 - 1))
def test_propensities_are_whole_shares_and_add_up_to_one(offered: Choices, policy: Policy, seed):
    drawn = draw(policy, offered, seed)
    assert drawn == draw(policy, offered, seed)
    assert abs(sum(drawn.propensities) - 1) <= 1e-12
    assert drawn.weights[drawn.choice] > 0  # what is drawn could be drawn
    assert all(weight >= 0 for weight in drawn.weights)
    if policy.name == "thompson":
        assert sum(drawn.weights) == TOTAL
        least = min(policy.floor, 0.5 / len(offered.candidates))
        assert min(drawn.propensities) >= least
        assert all(float(p * TOTAL).is_integer() for p in drawn.propensities)  # exact in float64
    if policy.name == "best":
        assert offered.names[drawn.choice] == offered.recommended
        assert drawn.propensities[drawn.choice] == 1
    if policy.name == "uniform":
        assert set(drawn.propensities) == {1 / len(offered.candidates)}


@given(choices(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(offered: Choices, random):
    shuffled = list(offered.candidates)
    random.shuffle(shuffled)
    other = Choices(tuple(shuffled), offered.direction, offered.recommended)
    one = dict(zip(offered.names, weights_of(THOMPSON, offered), strict=True))
    two = dict(zip(other.names, weights_of(THOMPSON, other), strict=True))
    assert all(abs(one[name] - two[name]) <= 2 + 1e-9 * TOTAL for name in one)


@given(choices(), st.floats(0.005, 0.2))
def test_a_better_candidate_is_shown_more_often(offered: Choices, gain: float):
    others = [each for each in offered.candidates if each.name != ORIGINAL]
    if not others or others[0].probability + gain > 0.99:
        return
    sign = 1 if offered.direction == "maximize" else -1
    name, width = others[0].name, others[0].difference_interval
    original = next(each for each in offered.candidates if each.name == ORIGINAL)
    raised = belief(name, others[0].probability + gain, width[1] - width[0], original.probability)

    def shown(candidate: Belief) -> float:
        listed = tuple(candidate if each.name == name else each for each in offered.candidates)
        believed = normals(listed, offered.names.index(ORIGINAL), offered.direction)
        if candidate is raised:  # the same certainty, another mean
            believed = Normals(believed.mean, before.deviation)
        place = offered.names.index(name)
        return float(best_probability(believed)[place])

    before = normals(offered.candidates, offered.names.index(ORIGINAL), offered.direction)
    first = float(best_probability(before)[offered.names.index(name)])
    assert sign * (shown(raised) - first) >= -1e-9


def test_what_is_certainly_best_is_nearly_always_shown():
    sure = tuple(
        belief(name, p, 0.002, 0.2) for name, p in [(ORIGINAL, 0.2), ("a", 0.3), ("b", 0.25)]
    )
    most = weights_of(THOMPSON, Choices(sure, "maximize", "a"))
    assert most[1] / TOTAL > 1 - 1e-9
    least = weights_of(THOMPSON, Choices(sure, "minimize", ORIGINAL))
    assert least[0] / TOTAL > 1 - 1e-9
    floored = weights_of(Policy("thompson", 0.02), Choices(sure, "maximize", "a"))
    assert [round(w / TOTAL, 6) for w in floored] == [0.02, 0.96, 0.02]


def test_equal_candidates_are_shown_equally_often():
    rng = np.random.default_rng(4)
    means, deviations = np.zeros(6), np.full(6, 0.2)
    draws = posterior(rng, means, deviations, image=0.5, base=-2, draws=100_000)
    shares = np.array(weights_of(THOMPSON, Choices(beliefs(draws), "maximize", ORIGINAL))) / TOTAL
    assert np.abs(shares - 1 / 6).max() < 0.01  # the original among them


@pytest.mark.parametrize("seed", range(6))
def test_propensities_are_those_of_many_draws_from_the_normals(seed: int):
    rng = np.random.default_rng(seed)
    count, draws = int(rng.integers(2, 12)), 200_000
    believed = Normals(rng.normal(0, 0.3, count), rng.uniform(0.05, 0.5, count))
    exact = best_probability(believed)
    best = (believed.mean + believed.deviation * rng.normal(size=(draws, count))).argmax(axis=1)
    seen = np.bincount(best, minlength=count) / draws
    error = np.sqrt(np.maximum(exact * (1 - exact), 1 / draws) / draws)
    assert (np.abs(seen - exact) <= 4 * error).all()


def test_the_integration_is_exact_for_two():
    from math import erf, sqrt

    for apart, one, two in itertools.product((0.0, 0.1, 1.0), (0.05, 0.3, 1.0), (0.05, 1.0)):
        found = best_probability(Normals(np.array([apart, 0.0]), np.array([one, two])))
        expected = (1 + erf(apart / sqrt(2 * (one**2 + two**2)))) / 2
        assert abs(found[0] - expected) < 1e-8


@pytest.mark.parametrize(
    ("image", "original", "base"), [(0.6, 0.15, -2), (0.1, 0.15, -2), (1.0, 0.1, -1), (0.3, 0, -2)]
)
def test_propensities_are_near_those_of_the_trust_layers_model(image, original, base):
    rng, near, naive = np.random.default_rng(7), [], []
    for _ in range(40):
        means = np.append(0, rng.normal(0, 0.15, 5))
        deviations = np.append(original, np.full(5, 0.15))

        def drawn(count: int, means=means, deviations=deviations) -> np.ndarray:
            return posterior(rng, means, deviations, image=image, base=base, draws=count)

        truth = np.bincount(drawn(20_000).argmax(axis=1), minlength=6) / 20_000
        told = beliefs(drawn(200))  # as many draws as a bundle holds
        shares = np.array(weights_of(THOMPSON, Choices(told, "maximize", ORIGINAL))) / TOTAL
        near.append(np.abs(shares - truth).sum() / 2)
        # The intervals of the probabilities alone, as if candidates were independent.
        odds = np.log([[p / (1 - p) for p in each.interval] for each in told])
        alone = best_probability(Normals(odds.mean(axis=1), np.ptp(odds, axis=1) / (2 * 1.645)))
        naive.append(np.abs(alone - truth).sum() / 2)
    assert np.mean(near) < 0.1
    assert np.mean(near) < 0.75 * np.mean(naive) or image == 0.1


def test_the_draw_can_be_made_again_in_any_language():
    offered = Choices(
        tuple(belief(name, 0.2, 0.1, 0.2) for name in (ORIGINAL, "a", "b")), "maximize", "a"
    )
    for seed in (0, 1, 7, 2**53 - 1):
        drawn = draw(Policy("thompson"), offered, seed)
        digest = hashlib.sha256(f"augrank assignment {seed} 0".encode()).digest()
        number = int.from_bytes(digest[:8], "big") % 2**32
        ends = np.cumsum(drawn.weights)
        assert drawn.choice == int(np.searchsorted(ends, number, side="right"))


def test_seeds_draw_as_often_as_the_propensities_say():
    offered = Choices(
        tuple(belief(n, p, 0.1, 0.2) for n, p in [(ORIGINAL, 0.2), ("a", 0.22), ("b", 0.19)]),
        "maximize",
        "a",
    )
    for policy in (Policy("thompson"), Policy("uniform")):
        count = 20_000
        weights = np.array(weights_of(policy, offered))
        seen = Counter(draw_from(weights, seed) for seed in range(count))
        expected = weights / weights.sum()
        for place, share in enumerate(expected):
            error = np.sqrt(share * (1 - share) / count)
            assert abs(seen[place] / count - share) < 4 * error


def draw_from(weights: np.ndarray, seed: int) -> int:
    """Draw with weights that are known, as ``draw`` does."""
    from service.outcomes.policies import _number

    return int(np.searchsorted(np.cumsum(weights), _number(seed, int(weights.sum())), "right"))


@pytest.mark.parametrize("name", ["uniform", "thompson"])
def test_weighting_by_inverse_propensities_finds_the_true_rates(name):
    """Each campaign's estimate may be off; over many, the mean error is within its interval."""
    rng, truth = np.random.default_rng(11), np.array([0.20, 0.24, 0.17, 0.22])
    campaigns, sends = 300, 200
    errors = np.zeros((campaigns, len(truth)))
    for campaign in range(campaigns):
        # What is believed differs from the truth, and from campaign to campaign.
        means = rng.normal(0, 0.1, len(truth))
        told = beliefs(
            posterior(rng, means, np.full(len(truth), 0.2), image=0.3, base=-1.4, draws=200)
        )
        weights = np.array(weights_of(Policy(name), Choices(told, "maximize", ORIGINAL)))
        propensities = weights / weights.sum()
        chosen = np.array([draw_from(weights, campaign * sends + n) for n in range(sends)])
        opened = rng.random(sends) < truth[chosen]
        for arm in range(len(truth)):
            estimate = (opened * (chosen == arm) / propensities[arm]).mean()
            errors[campaign, arm] = estimate - truth[arm]
    spread = errors.std(axis=0, ddof=1) / np.sqrt(campaigns)
    assert (np.abs(errors.mean(axis=0)) < 3.3 * spread).all()
    assert (spread < 0.01).all()  # a test that could fail


def test_thompson_costs_less_than_showing_all_alike():
    """Fifty campaigns; beliefs are updated by what was seen, as a retrained model's would be."""
    regret = {
        name: np.mean([campaign_regret(Policy(name), seed) for seed in range(50)])
        for name in ("uniform", "best", "thompson")
    }
    assert regret["thompson"] < 0.7 * regret["uniform"]
    # The verdict keeps the original until another is surely better, and so never learns of one.
    assert regret["thompson"] < regret["best"]


def campaign_regret(policy: Policy, seed: int, rounds: int = 10, sends: int = 300) -> float:
    """Return the regret a send: how much less than the best version's rate was shown."""
    rng = np.random.default_rng(seed)
    means = np.append(0, rng.normal(0, 0.25, 5))
    truth = 1 / (1 + np.exp(1.4 - means))
    wins, shown = np.zeros(6), np.zeros(6)
    lost = 0.0
    for _ in range(rounds):
        draws = rng.beta(4 + wins, 16 + shown - wins, size=(2000, 6))
        told = beliefs(draws)
        option = decide(draws[:, 1:], draws[:, 0], "maximize").option
        recommended = told[0 if option is None else option + 1].name
        weights = np.array(weights_of(policy, Choices(told, "maximize", recommended)))
        counts = rng.multinomial(sends, weights / weights.sum())
        wins += rng.binomial(counts, truth)
        shown += counts
        lost += float(counts @ (truth.max() - truth))
    return lost / (rounds * sends)


@pytest.mark.parametrize("count", [6, 100])
def test_a_draw_takes_milliseconds(count: int):
    rng = np.random.default_rng(count)
    draws = posterior(
        rng, rng.normal(0, 0.2, count), np.full(count, 0.2), image=0.5, base=-2, draws=200
    )
    offered = Choices(beliefs(draws), "maximize", ORIGINAL)
    draw(Policy("thompson"), offered, 1)
    times = []
    for seed in range(20):
        started = time.perf_counter()
        draw(Policy("thompson"), offered, seed)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.5
