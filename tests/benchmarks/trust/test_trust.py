"""``python -m benchmarks trust`` at tiny scale: it resumes, and writes its section."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from augrank.files import read_json
from benchmarks.cli.app import app
from benchmarks.common.sections import section_of, with_section
from benchmarks.trust import run
from benchmarks.trust.document import HEADING
from benchmarks.trust.measure import HistoryFigures, measure_history
from benchmarks.trust.store import HistoryStore
from benchmarks.trust.targets import TARGETS
from benchmarks.trust.worlds import World

WORLDS = (
    World("tiny", "two versions convert", 20, "seed"),
    World("none", "nothing helps", 20),
)
CONFIG = run.TrustConfig(histories=2, worlds=WORLDS, quick=True)
SUMMARY = {
    "coverage",
    "coverage_chosen",
    "false_switch_rate",
    "power",
    "true_over_claimed",
    "ece",
    "added_ms",
    "added_bytes",
}


def ask(*words: str):
    return CliRunner().invoke(app, ["trust", "--quick", *words])


@pytest.mark.slow
def test_the_command_measures_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "QUICK", CONFIG)
    document = tmp_path / "results.md"
    document.write_text("# Results\n\n## Rendered\n\nKept.\n")
    words = ("--out", str(tmp_path / "out"), "--document", str(document))
    done = ask(*words)
    assert done.exit_code == 0, done.output
    last = json.loads(done.stdout.splitlines()[-1])
    assert last.keys() >= SUMMARY | {"overall"}
    for name in SUMMARY:
        assert last[name].keys() == {"tiny", "none", "overall"}
    assert last["power"]["none"] is None
    assert last["power"]["tiny"] > 0.5
    assert 0 <= last["coverage"]["tiny"] <= 1
    assert 10_000 < last["added_bytes"]["tiny"] < 200_000
    assert last["overall"].keys() >= {"nothing_helps", "coverage_worst", "ample_power"}
    results = read_json(tmp_path / "out" / "results.json")
    assert [world["name"] for world in results["worlds"]] == ["tiny", "none"]
    assert list(results["worlds"][0]["methods"]) == ["augrank", "best of k", "ensemble"]
    text = document.read_text()
    assert text.startswith("# Results\n\n## Rendered\n\nKept.\n\n" + HEADING)
    assert "| `none`: nothing helps |" in text

    # Interrupted while the last history of a world was written: only that one is measured again.
    file = tmp_path / "out" / "histories" / "none.jsonl"
    content = file.read_text()
    file.write_text(content[:-20])
    again = ask(*words)
    assert again.exit_code == 0, again.output
    assert "3 of 4 histories are already measured" in again.output
    repeated = json.loads(again.stdout.splitlines()[-1])
    for name in SUMMARY - {"added_ms"}:
        assert repeated[name] == last[name]
    assert document.read_text().count(HEADING) == 1


def figures(seed: int) -> HistoryFigures:
    return HistoryFigures(seed, {"augrank": {"coverage": (0.9, 1.0)}}, 1.5)


def test_histories_are_kept_under_the_same_conditions_only(tmp_path):
    store = HistoryStore(tmp_path, {"sources": "a"})
    assert store.open(WORLDS[0]) == {}
    store.add(WORLDS[0], figures(0))
    store.add(WORLDS[0], figures(3))
    assert HistoryStore(tmp_path, {"sources": "a"}).open(WORLDS[0]) == {
        0: figures(0),
        3: figures(3),
    }
    assert HistoryStore(tmp_path, {"sources": "b"}).open(WORLDS[0]) == {}
    store = HistoryStore(tmp_path, {"sources": "a"})
    assert store.open(WORLDS[0]) == {}  # dropped


def test_a_torn_line_is_dropped_and_the_next_one_is_whole(tmp_path):
    store = HistoryStore(tmp_path, {})
    store.open(WORLDS[0])
    store.add(WORLDS[0], figures(0))
    with (tmp_path / "tiny.jsonl").open("a") as stream:
        stream.write('{"seed":1,"meth')
    assert store.open(WORLDS[0]) == {0: figures(0)}
    store.add(WORLDS[0], figures(1))
    assert store.open(WORLDS[0]).keys() == {0, 1}


@pytest.mark.slow
def test_a_history_is_the_same_each_time_and_others_differ():
    one, again, other = (measure_history(WORLDS[0], seed) for seed in (1, 1, 2))
    assert "ensemble" not in one.methods
    for name in ("coverage", "true_over_claimed", "ece"):
        assert one.methods["augrank"][name] == again.methods["augrank"][name]
    assert one.methods["augrank"]["ece"] != other.methods["augrank"]["ece"]


def test_the_section_is_added_or_replaced_and_nothing_else():
    section = f"{HEADING}\n\nNew."
    assert with_section("", section) == f"{section}\n"
    assert with_section("# R\n\n## A\n\nx\n", section) == f"# R\n\n## A\n\nx\n\n{section}\n"
    between = f"# R\n\n{HEADING}\n\nOld.\n\n| a |\n\n## B\n\ny\n"
    assert with_section(between, section) == f"# R\n\n{section}\n\n## B\n\ny\n"
    assert section_of(between, HEADING) == f"{HEADING}\n\nOld.\n\n| a |"
    assert section_of("# R\n", HEADING) == ""


def test_targets_have_a_range_and_a_verdict():
    by_name = {target.name: target for target in TARGETS}

    def row(name: str, value: float | None) -> list[str]:
        figure = value if value is None else dict.fromkeys(("value", "low", "high"), value)
        return by_name[name].row({name: figure})[1:]

    assert row("coverage", 0.9) == ["0.9", "0.88 to 0.92", "0.89 to 0.91", "aim reached"]
    assert row("coverage", 0.885)[-1] == "met"
    assert row("coverage", 0.95)[-1].startswith("missed. Too wide in worlds")
    assert row("ample_power", 0.85) == ["0.85", "≥ 0.8", "≥ 0.9", "met"]
    assert row("nothing_helps", 0.06) == ["0.06", "≤ 0.05", "≤ 0.03", "missed"]
    assert row("added_bytes", 611908.0)[:2] == ["611,908 bytes", "≤ 2,000,000 bytes"]
    assert row("coverage_chosen", None)[-1] == "nothing was counted"


def test_a_bundle_needs_its_run(tmp_path):
    done = ask("--out", str(tmp_path), "--bundle", str(tmp_path))
    assert done.exit_code == 2
    assert "--run is missing" in done.output
    assert not Path(tmp_path / "results.json").exists()
