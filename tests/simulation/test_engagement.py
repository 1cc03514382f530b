import numpy as np

from augrank.images.augmentations import augmentation_set
from augrank.models.context import normalize_category
from augrank.models.targets import TARGETS
from simulation.engagement import (
    CAMPAIGN_TYPES,
    INDUSTRIES,
    SimulationOptions,
    probability_table,
    simulate,
    winners,
)

NAMES = augmentation_set("seed").names


def test_seed_rule_is_literal_for_every_target():
    sent = simulate(500, NAMES, SimulationOptions(sends=2, seed=3))
    assert sent.targets == tuple(TARGETS)
    assert sent.probabilities.shape == (6000, 9)
    good = np.isin(np.array(NAMES)[sent.augmentation], ["brighter", "rotate"])
    assert (sent.probabilities[good] == 0.8).all()
    assert (sent.probabilities[~good] == 0.2).all()
    np.testing.assert_allclose(sent.ceiling, 0.8)
    rates = sent.outcomes[good].mean(axis=0)
    np.testing.assert_allclose(rates, 0.8, atol=4 * np.sqrt(0.16 / good.sum()))
    drawn = sent.outcomes[~good]
    correlation = np.corrcoef(drawn.T) - np.eye(9)
    assert np.abs(correlation).max() < 0.08  # independent draws
    assert set(sent.campaign_type) == set(range(len(CAMPAIGN_TYPES)))
    assert set(sent.industry) == set(range(len(INDUSTRIES)))


def test_campaigns_are_those_of_the_documents_in_their_order():
    assert CAMPAIGN_TYPES == (
        "Abandoned Cart", "Newsletter", "Promotional", "Survey", "Transactional", "Webinar",
        "Engagement", "Review_Request", "Product Announcement",
    )  # fmt: skip
    assert INDUSTRIES == (
        "Automotive", "Industrial", "Real Estate", "Transportation and Logistics",
        "Finance and Banking", "Professional and Business Services", "Manufacturing",
        "Film and Motion Picture", "Retail", "Software and Technology", "Hospitality",
        "Healthcare", "Academic and Education",
    )  # fmt: skip
    forms = {normalize_category(name) for name in (*CAMPAIGN_TYPES, *INDUSTRIES)}
    assert len(forms) == 22
    for other in ("review request", "REVIEW-REQUEST", "Review_Request", " Review  Request"):
        assert normalize_category(other) == normalize_category("Review_Request")


def test_simulation_is_deterministic_by_seed():
    one, again, other = (simulate(20, NAMES, SimulationOptions(seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.outcomes, again.outcomes)
    assert (one.outcomes != other.outcomes).any()


def test_context_rule_has_a_best_candidate_that_depends_on_the_campaign():
    table = probability_table(NAMES, "context", "maximize")
    best = table.mean(axis=1).argmax(axis=1)  # (campaign types,)
    assert len(set(best)) == len(NAMES)
    assert set(np.unique(table)) == {0.2, 0.5, 0.8}
    # Without the context, every candidate looks much alike.
    assert np.ptp(table.mean(axis=(0, 1))) < 0.15
    np.testing.assert_allclose(probability_table(NAMES, "context", "minimize"), 1 - table)


def test_winners_of_other_sets():
    assert winners(NAMES) == ("brighter", "rotate")
    assert winners(("original", "a", "b", "c", "d", "e", "f", "g")) == ("a", "d", "g")
