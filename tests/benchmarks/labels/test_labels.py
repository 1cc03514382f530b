"""How answers for new images are compared with what was rendered."""

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from augrank.errors import BadRequest
from benchmarks.cli.app import app
from benchmarks.labels.compare import image_rates, macro_f1_difference
from benchmarks.labels.document import HEADINGS, labels_section
from benchmarks.labels.measure import Experiment, decision_figures, label_figures
from benchmarks.labels.ranks import difference_of_pairs, expected_classes, rank_figures
from benchmarks.labels.systems import SYSTEMS

GROUP = np.arange(4)


def told(kind: str, probability: float = 0.9, **more):
    return {"kind": kind, "kind_probability": probability, "kind_set": [kind], **more}


def test_label_figures_count_what_was_told():
    truth = [{"kind": kind} for kind in ("a", "a", "b", "")]
    answers = [told("a"), told("b"), told("b"), told("a")]
    figures = label_figures("kind", truth, answers, GROUP)
    assert figures["images"] == 3  # the last one has no label
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert (figures["worst_class"], figures["worst_recall"]) == ("a", 0.5)
    stranger = label_figures("kind", truth[:2], [told("a"), told("z")], GROUP[:2])
    assert stranger["accuracy"] == 0.5  # "z" is no class of the new images
    assert figures["covered"] == pytest.approx(2 / 3)


def test_ranks_are_compared_with_what_can_be_known():
    likes, appeal = (5, 9, 20, 10), (1, 0, 3, 2.5)
    truth = [
        {"likes": str(n), "appeal": str(known)} for n, known in zip(likes, appeal, strict=True)
    ]
    answers = [{"likes_score": score} for score in (0.0, 1.0, 0.5, 0.7)]
    figures = rank_figures("likes", "appeal", truth, answers, np.array([0, 0, 1, 1]))
    assert (figures["pairs"], figures["attainable"]) == (2, 0.5)
    assert figures["pair_accuracy"] == 0.5
    assert figures["share_of_attainable"] == 1
    low, high = figures["share_of_attainable_interval_95"]
    assert low < 1 < high


def test_decisions_are_right_if_the_image_earns_what_was_decided():
    truth = [{"kind": kind} for kind in ("full", "full", "half", "half")]
    decisions = ("accept", "reject", "reject", "ask")
    answers = [{"review_kind": "Style", "decision": each} for each in decisions]
    figures = decision_figures({"Style": "full"}, truth, answers, GROUP)
    assert figures["decided"] == 0.75
    assert figures["right"] == pytest.approx(2 / 3)
    assert figures["right_at_least"] < 0.2
    together = decision_figures({"Style": "full"}, truth, answers, np.zeros(4, int))
    assert together["groups"] == 1  # all are of one uploader
    nothing = decision_figures({"Style": "full"}, truth, [{"decision": "ask"}] * 4, GROUP)
    assert (nothing["decided"], nothing["right"]) == (0, 0)


def test_credit_is_decided_at_the_precision_of_the_bar():
    system = SYSTEMS["review"]
    rules = yaml.safe_load(system.rules.read_text(encoding="utf-8"))
    assert (rules["precision"], rules["confidence"]) == (0.99, 0.95)
    assert rules["credit"] == {kind: [earns] for kind, earns in system.credit}


CLASSES = {"accuracy": 0.44, "accuracy_interval_95": (0.42, 0.46), "majority": 0.35,
           "p_value": 1e-9, "macro_f1": 0.43, "log_loss": 1.04, "shortfalls": []}  # fmt: skip
RANKED = {"pair_accuracy": 0.76, "pair_accuracy_interval_95": (0.74, 0.77), "attainable": 0.84,
          "share_above_chance": 0.76, "p_value": 0, "pair_accuracy_of_classes": 0.75}  # fmt: skip


ALONE = {**RANKED, "share_of_attainable": 0.9,
         "ranks_tell_more": {"median": 0.02, "low": 0.01, "high": 0.03}}  # fmt: skip


def section(system: str, fresh: dict, test: dict) -> str:
    row = {"graph": "fp32", "graphs": {"fp32": CLASSES}, "heads": {}, "test": test, "fresh": fresh,
           "classes_alone": {"likes": ALONE},
           "images_per_s": {"median": 9.0, "low": 8.0, "high": 10.0}}  # fmt: skip
    return section_of(system, {"resnet18": row})


def section_of(system: str, backbones: dict) -> str:
    machine = {"processor": "a processor", "cores": 2, "libraries": {"onnxruntime": "1.31"}}
    sizes = {"count": 240, "fresh": 60, "epochs": (1,), "image_size": 64, "weights": ("none",)}
    content = {"system": system, "command": "a command", "machine": machine, "baselines": {}}
    return labels_section({**content, **sizes, "backbones": backbones})


def test_a_network_is_compared_with_the_first():
    label = np.tile([0, 1], 50)
    first, told = label.copy(), label.copy()
    told[:10] = 1 - told[:10]
    same = macro_f1_difference(label, first, first, np.arange(100))
    assert same == {"median": 0, "low": 0, "high": 0}
    less = macro_f1_difference(label, told, first, np.arange(100))
    assert less["median"] == pytest.approx(-0.1)
    assert -0.2 < less["low"] < -0.1 < less["high"] < 0
    whole = macro_f1_difference(label, told, first, np.arange(100) // 50)  # two uploaders
    assert (whole["low"], whole["high"]) == pytest.approx((-0.2, 0.0))


def test_networks_are_timed_in_turns(classify_export, image):
    bundles = dict.fromkeys(("one", "other"), classify_export.bundle)
    rates = image_rates(bundles, [image] * 4)
    assert set(rates["one"]) == {"images_per_s"}
    assert rates["one"]["images_per_s"]["low"] > 0
    assert 0.2 < rates["other"]["speed_ratio"]["median"] < 5  # the same network


def test_backbones_have_weights_of_their_own():
    names = ("resnet18", "efficientnet_lite0")
    same, own = (Experiment("review", names, each) for each in (("none",), ("none", "imagenet")))
    assert [same.weights_of(name) for name in names] == ["none", "none"]
    assert [own.weights_of(name) for name in names] == ["none", "imagenet"]
    assert Experiment("review", names, epochs=(10, 5)).epochs_of("efficientnet_lite0") == 5
    for wrong in ({"weights": ("none",) * 3}, {"epochs": ()}):
        with pytest.raises(BadRequest, match=r"one value, or one for each backbone \(2\)"):
            Experiment("review", names, **wrong)
    with pytest.raises(BadRequest, match=r"unknown backbone: .* resnet18, .*got 'resnet19'"):
        Experiment("review", ("resnet19",))


def test_epochs_that_are_none_are_refused(tmp_path):
    done = CliRunner().invoke(app, ["labels", "review", "--epochs", "3,0", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "expected whole numbers from 1, with commas, got 3,0" in " ".join(done.output.split())


def test_a_section_compares_networks():
    figures = {"macro_f1": 0.985, "macro_f1_interval_95": (0.981, 0.99), **dict.fromkeys(
        ("accuracy", "majority", "p_value", "worst_recall", "covered"), 0.9),
        "accuracy_interval_95": (0.8, 0.9), "worst_class": "box", "per_class": {}}  # fmt: skip
    more = {"median": -0.012, "low": -0.016, "high": -0.008}
    decided = {"decided": 0.88, "right": 0.997, "right_at_least": 0.992}
    rate = {"median": 9.0, "low": 8.0, "high": 10.0}
    row = {"graph": "fp32", "graphs": {"fp32": CLASSES}, "heads": {"kind": "last layer"},
           "test": {}, "weights": "none", "images_per_s": rate}  # fmt: skip
    first = {**row, "fresh": {"kind": figures, "decisions": decided}}
    beside = {"kind": {**figures, "macro_f1_more": more}, "decisions": decided}
    ratio = {"median": 2.2, "low": 2.1, "high": 2.3}
    second = {**row, "speed_ratio": ratio, "fresh": beside}
    text = section_of("review", {"resnet18": first, "small": second})
    assert (
        "| resnet18: macro-F1 of kind | 0.985 (0.981 to 0.990) | 0.97 | 0.98 | aim reached |"
        in text
    )
    assert "| resnet18: decided without a person | 0.880 | 0.85 | 0.9 | met |" in text
    assert (
        "| small: macro-F1 of kind, less that of resnet18 | -0.0120 (-0.0160 to -0.0080) "
        "| -0.015 | -0.01 | met, but its interval is not beyond the bound. |"
    ) in text
    assert (
        "| small: images a second, times those of resnet18 | 2.200 (2.100 to 2.300) | 1.5 | 2 |"
        in text
    )


@pytest.mark.parametrize(
    ("low", "verdict"),
    [(0.95, "aim reached"), (0.93, "met"), (0.883, "met, but its interval is not beyond")],
)
def test_a_section_says_whether_the_ranks_meet_their_bar(low, verdict):
    told = {**RANKED, "share_of_attainable": 0.96, "share_of_attainable_interval_95": (low, 0.97)}
    text = section("popularity", {"likes, rank": told}, {"likes": CLASSES, "likes, rank": RANKED})
    assert (
        "| resnet18: pairs told rightly, share of those that could be | "
        f"0.960 ({low:.3f} to 0.970) | 0.92 | 0.95 | {verdict}"
    ) in text


def test_classes_alone_are_beside_the_ranks():
    told = {**RANKED, "share_of_attainable": 0.96, "share_of_attainable_interval_95": (0.95, 0.97)}
    text = section("popularity", {"likes, rank": told}, {"likes": CLASSES, "likes, rank": RANKED})
    assert "trained on classes alone | 0.0200 (0.0100 to 0.0300) | 0 | 0.01 | aim reached |" in text
    assert "| resnet18 | 0.7600 (0.7400 to 0.7700) | 90.0% | 0.0200 (0.0100 to 0.0300) |" in text


def test_rankings_are_compared_by_pairs_of_one_uploader():
    rng = np.random.default_rng(0)
    score, group = rng.permutation(400).astype(np.float64), np.arange(400) // 4
    same = difference_of_pairs(score, score, score, group)
    assert same == {"median": 0, "low": 0, "high": 0}
    wrong = np.where(group < 25, -score, score)  # a quarter of all uploaders, turned
    more = difference_of_pairs(score, score, wrong, group)
    assert more["median"] == pytest.approx(0.25)
    assert 0.15 < more["low"] < 0.25 < more["high"] < 0.35
    less = difference_of_pairs(score, wrong, score, group)
    assert less["median"] == pytest.approx(-0.25)


@pytest.mark.slow
@pytest.mark.parametrize("system", ["popularity", "inventory"])
def test_the_command_repeats_a_system_and_writes_its_section(tmp_path, system):
    document, out = tmp_path / "results.md", tmp_path / "out"
    document.write_text("# Results\n\n## Other\n\nkept\n", encoding="utf-8")
    command = ["labels", system, "--out", str(out), "--document", str(document), "--count", "240",
               "--fresh", "60", "--epochs", "1", "--image-size", "64"]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout.splitlines()[-1])
    (row,) = content["backbones"].values()
    assert row["images_per_s"]["median"] > 0
    if system == "popularity":
        ranked = row["fresh"]["likes, rank"]
        assert 0.5 < ranked["attainable"] < 1
        assert ranked["share_of_attainable"] == pytest.approx(
            ranked["pair_accuracy"] / ranked["attainable"]
        )
        tested = row["test"]["likes, rank"]
        assert 0 <= tested["pair_accuracy_of_classes"] <= 1
        assert tested["images"] > 20  # those inside a tertile, too
        alone = row["classes_alone"]["likes"]
        assert alone["pairs"] == ranked["pairs"]
        more = ranked["pair_accuracy"] - alone["pair_accuracy"]
        assert alone["ranks_tell_more"]["median"] == pytest.approx(more)
        files = sorted((out / "fresh" / "images").iterdir())[:3]
        places = expected_classes(out / "dist/resnet18-classes/bundle", "likes", files)
        assert places.shape == (3,)
        assert 0 < places.min() <= places.max() < 2
    else:
        assert set(row["fresh"]) == {"type", "colour"}
        assert row["fresh"]["type"]["images"] == 60
        assert content["baselines"]["regression"]["accuracy"] > 2 / 12
    text = document.read_text(encoding="utf-8")
    assert "## Other\n\nkept" in text
    assert sum(heading in text for heading in HEADINGS) == 1
    assert f"| resnet18{'' if system == 'popularity' else ', type'} |" in text
