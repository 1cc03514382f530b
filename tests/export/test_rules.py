"""Rules are checked against the labels, and their thresholds keep their promise."""

import numpy as np
import pytest

from augrank.errors import BadRequest, DataError
from augrank.models.label_head import LabelHeadSpec
from augrank.models.rules import Rules
from export.rules import NEVER, fit_rules, read_rules

CLASSES = ("full-length", "half-length", "package", "product")
HEADS = (LabelHeadSpec(label="kind", classes=CLASSES, kind="linear", file="a.npz"),)
GOOD = """
label: kind
precision: 0.98
credit:
  Style Review: [full-length]
  Product Review: [product, package]
"""


def read(tmp_path, text: str) -> Rules:
    file = tmp_path / "rules.yaml"
    file.write_text(text, encoding="utf-8")
    return read_rules(file, HEADS)


def test_rules_are_read(tmp_path):
    rules = read(tmp_path, GOOD)
    assert (rules.label, rules.precision, rules.confidence) == ("kind", 0.98, 0.95)
    assert dict(rules.credit) == {
        "Style Review": ("full-length",),
        "Product Review": ("product", "package"),
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("full-length", "full length", r"rule 'Style Review' names a class that kind does not.*"
         r"expected one of full-length.*did you mean full-length"),
        ("label: kind", "label: kinds", "a label that the run does not have.*did you mean kind"),
        ("0.98", "98", "does not fit at precision"),
        ("precision", "precison", "does not fit at precison: expected no such field"),
        ("[full-length]", "[]", "does not divide the classes.*got none"),
        ("[full-length]", "[full-length, half-length, package, product]", "does not divide"),
        ("label: kind", "label: [kind", "cannot be read: expected YAML with label"),
        (GOOD, "just words", "does not fit at its top: expected YAML with label, precision"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path, old, new, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, GOOD.replace(old, new))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.yaml cannot be read"):
        read_rules(tmp_path / "none.yaml", HEADS)


def sample(count: int, rng: np.random.Generator, honest: float = 1.0):
    """Return probabilities (n, 4) and labels; below ``honest`` 1 they claim too much."""
    odds = rng.normal(0, 6, (count, 4))
    shares = np.exp(odds)
    shares /= shares.sum(axis=1, keepdims=True)
    label = (odds + rng.gumbel(size=odds.shape)).argmax(axis=1)
    claimed = np.exp(odds / honest)
    return claimed / claimed.sum(axis=1, keepdims=True), label


@pytest.mark.parametrize("honest", [1.0, 0.6])
def test_decisions_are_right_as_often_as_stated_with_the_stated_confidence(tmp_path, honest):
    """In at most 1 of 20 calibrations the true precision is below the wished one."""
    rng, rules = np.random.default_rng(0), read(tmp_path, GOOD)
    fresh, truth = sample(60_000, rng, honest)
    broken, decided, count = 0, [], 150
    for _ in range(count):
        fitted = fit_rules(rules, CLASSES, *sample(1500, rng, honest), np.arange(1500))
        rule = fitted.rules["Style Review"]
        earns = fresh[:, 0]
        accepted, rejected = earns >= rule.accept, 1 - earns >= rule.reject
        right = [
            np.mean(truth[accepted] == 0) if accepted.any() else 1.0,
            np.mean(truth[rejected] != 0) if rejected.any() else 1.0,
        ]
        broken += min(right) < rules.precision
        decided.append(np.mean(accepted | rejected))
    assert broken / count <= 0.05 + 0.03
    assert np.mean(decided) > 0.25  # and they decide something
    assert np.mean(decided) == pytest.approx(rule.decided, abs=0.25)


def test_of_few_images_nothing_can_be_promised(tmp_path):
    rules = read(tmp_path, GOOD)
    probability = np.tile([0.9997, 0.0001, 0.0001, 0.0001], (100, 1))
    fitted = fit_rules(rules, CLASSES, probability, np.zeros(100, int), np.arange(100))
    rule = fitted.rules["Style Review"]
    assert (rule.accept, rule.reject, rule.decided, rule.right) == (NEVER, NEVER, 0, None)
    twice = np.tile(probability, (2, 1))
    enough = fit_rules(rules, CLASSES, twice, np.zeros(200, int), np.arange(200))
    assert enough.rules["Style Review"].accept <= 0.9995


def test_kinds_are_found_whatever_their_spelling(tmp_path):
    probability, label = sample(1500, np.random.default_rng(1))
    fitted = fit_rules(read(tmp_path, GOOD), CLASSES, probability, label, np.arange(1500))
    assert fitted.find("style_review") == "Style Review"
    with pytest.raises(BadRequest, match="expected one of Style Review, Product Review"):
        fitted.find("Video Review")
    both = np.array([0.0, 0.0, 0.5, 0.5])
    assert fitted.decide("Product Review", CLASSES, both) == ("accept", pytest.approx(1.0))


def test_images_that_are_wrong_together_are_no_proof_of_each_other(tmp_path):
    """Groups of ten, all right or all wrong: of a hundred of them nothing can be promised."""
    rng, rules = np.random.default_rng(2), read(tmp_path, GOOD)
    fresh, truth = sample(60_000, rng)
    broken, count = 0, 100
    for _ in range(count):
        probability, label = (np.repeat(each, 10, axis=0) for each in sample(300, rng))
        fitted = fit_rules(rules, CLASSES, probability, label, np.repeat(np.arange(300), 10))
        rule = fitted.rules["Style Review"]
        assert (rule.images, rule.groups) == (3000, 300)
        accepted = fresh[:, 0] >= rule.accept
        rejected = 1 - fresh[:, 0] >= rule.reject
        right = [
            np.mean(truth[accepted] == 0) if accepted.any() else 1.0,
            np.mean(truth[rejected] != 0) if rejected.any() else 1.0,
        ]
        broken += min(right) < rules.precision
    assert broken / count <= 0.05 + 0.04


def test_a_sure_majority_is_decided_beside_a_doubtful_rest(tmp_path):
    rules = read(tmp_path, GOOD)
    sure = np.tile([0.99997, 0.00001, 0.00001, 0.00001], (230, 1))
    doubtful = np.tile([0.6, 0.4, 0, 0], (40, 1))
    label = np.array([0] * 230 + [0, 1] * 20)
    fitted = fit_rules(rules, CLASSES, np.vstack([sure, doubtful]), label, np.arange(270))
    assert fitted.rules["Style Review"].accept > 0.6
    assert fitted.rules["Style Review"].decided > 0.8


def test_two_kinds_of_one_name_are_refused(tmp_path):
    text = GOOD.replace("Product Review", "style-review")
    with pytest.raises(
        DataError, match=r"two review kinds have one name.*'Style Review' and 'styl"
    ):
        read(tmp_path, text)
