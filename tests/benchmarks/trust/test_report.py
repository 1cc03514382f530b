"""The results of hand-made histories."""

import pytest

from augrank.errors import DataError
from benchmarks.performance import performance_document
from benchmarks.trust.decision_figures import Figures
from benchmarks.trust.document import HEADING, trust_section
from benchmarks.trust.measure import ENSEMBLE, NAIVE, OURS, HistoryFigures
from benchmarks.trust.real import ALTERNATES, CANDIDATES
from benchmarks.trust.report import last_line, result_json, tables
from benchmarks.trust.run import TrustConfig
from benchmarks.trust.worlds import World

WORLDS = (
    World("none", "nothing helps", 44),
    World("lifted", "one version helps", 44, "lift"),
    World("others", "alternates", 44, options="alternates"),
)
CONFIG = TrustConfig(histories=2, worlds=WORLDS)


def figures(coverage: float, *, change: float = 0.0, right: float = 0.0) -> Figures:
    return {
        "coverage": (coverage, 1.0),
        "stratum best": (coverage - 0.1, 1.0),
        "coverage_chosen": (change * coverage, change),
        "false_switch_rate": (change - right, 1.0),
        "power": (right, 1.0 if right else 0.0),
        "true_over_claimed": (0.2 * right, 0.25 * change),
        "ece": (0.01, 1.0),
        "added_ms": (0.5, 1.0),
        "added_bytes": (1000.0, 1.0),
        "regret": (0.0, 1.0),
        "error": (0.02, 1.0),
        "unsure": (1 - change, 1.0),
        "false_claims": (0.0, change),
    }


def history(seed: int, ours: Figures) -> HistoryFigures:
    naive = {"false_switch_rate": (0.8, 1.0), "power": (0.9, 1.0), "regret": (0.1, 1.0)}
    methods = {OURS: ours, NAIVE: naive} | ({} if seed else {ENSEMBLE: ours})
    return HistoryFigures(seed, methods, 1.0)


MEASURED = {
    "none": [history(0, figures(0.9)), history(1, figures(0.96, change=0.1))],
    "lifted": [history(seed, figures(0.9, change=0.8, right=0.8)) for seed in (0, 1)],
    "others": [history(seed, figures(0.5)) for seed in (0, 1)],
}


def test_figures_by_world_and_over_all_worlds():
    results = result_json(CONFIG, MEASURED, {}, "command")
    last = last_line(results)
    assert last["coverage"] == pytest.approx(
        {"none": 0.93, "lifted": 0.9, "others": 0.5, "overall": 4.66 / 6}, abs=1e-6
    )
    assert last["coverage_chosen"]["others"] is None
    assert last["false_switch_rate"] == pytest.approx(
        {"none": 0.05, "lifted": 0, "others": 0, "overall": 0.1 / 6}, abs=1e-6
    )
    assert last["power"] == {"none": None, "lifted": 0.8, "others": None, "overall": 0.8}
    assert last["true_over_claimed"]["lifted"] == pytest.approx(0.8)
    overall = last["overall"]
    assert overall["nothing_helps"] == pytest.approx(0.05)
    assert overall["ample_power"] == pytest.approx(0.8)
    assert overall["coverage_worst"] == pytest.approx(0.4)
    assert overall["added_ms"] == pytest.approx(1.0)  # candidates and alternates
    assert overall["added_bytes"] == 9000  # nine targets
    naive = results["overall"][NAIVE]
    assert naive["false_switch_rate"]["value"] == pytest.approx(0.8)
    assert naive["coverage"] is None
    assert [len(table.rows) for table in tables(results)] == [3, 3, 3]


def test_the_cost_is_that_of_the_bundle_if_one_is_given():
    candidates = {**figures(0.9, change=0.5, right=0.5), "added_bytes": (5000.0, 1.0)}
    real = {CANDIDATES: [candidates], ALTERNATES: [figures(0.9)]}
    results = result_json(CONFIG, MEASURED, real, "command")
    overall = last_line(results)["overall"]
    assert (overall["added_ms"], overall["added_bytes"]) == (1.0, 5000)
    assert overall["coverage"] == pytest.approx(4.66 / 6, abs=1e-6)  # of the simulated worlds
    assert last_line(results)["coverage"][CANDIDATES] == pytest.approx(0.9)


def test_the_section_has_targets_worlds_and_methods():
    results = result_json(CONFIG, MEASURED, {}, "command")
    text = trust_section(results)
    assert text.startswith(HEADING)
    assert "| nothing helps: a change recommended | 0.05 | ≤ 0.05 | ≤ 0.03 | met |" in text
    assert "| `lifted`: one version helps | 0.900 (0.900 to 0.900) | 0.800 | 0.900 |" in text
    assert "| `none` | 0.930 / - / 0.900 |" in text
    assert "real images" not in text
    real = {CANDIDATES: [figures(0.9, change=0.5, right=0.5)], ALTERNATES: [figures(0.9)]}
    text = trust_section(result_json(CONFIG, MEASURED, real, "command"))
    assert "| candidates: mean error | 0.02 | ≤ 0.05 | ≤ 0.03 | aim reached |" in text
    assert "every held-out image, for every target" in text


def test_it_has_no_section_in_the_document_of_speed():
    with pytest.raises(DataError, match="no section"):
        performance_document([result_json(CONFIG, MEASURED, {}, "command")])
