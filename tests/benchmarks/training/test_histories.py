"""The benchmark of training on long histories."""

import json
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from augrank.errors import ServerError
from benchmarks.cli.app import app
from benchmarks.training import histories
from benchmarks.training.histories import HistoryRun, histories_section, measure_histories
from tests.support.messages import Messages

RUN = HistoryRun(1_000_000, 1_000_494, 1, 47.2, 1.23, {"backbone": 3.0, "heads": 20.1})


@pytest.mark.slow
def test_a_short_history_is_trained_on_and_documented(tmp_path):
    out, document = tmp_path / "out", tmp_path / "performance.md"
    done = CliRunner().invoke(app, ["histories", "--rows", "1000", "--out", str(out)])
    assert done.exit_code == 0, done.output
    run, every = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert (run["asked"], run["rows"]) == (every["asked"], every["rows"]) == (1000, 219 * 6)
    assert (run["targets"], every["targets"]) == (1, 9)
    assert run["s"] > sum(run["stages_s"].values()) > 0
    assert 0.2 < run["gb"] < 4
    assert [each.name for each in (out / "work").glob("history-*")] == ["history-1000.csv"]
    done = CliRunner().invoke(app, ["document", str(out / "results.json"), "--out", str(document)])
    assert done.exit_code == 0, done.output
    assert "## Training on long histories" in document.read_text(encoding="utf-8")


def test_rows_and_stages_are_in_the_tables():
    machine = {"processor": "some", "cores": 2, "libraries": {}}
    content = {"machine": machine, "command": "command", "size": 32, "epochs": 1}
    ten = HistoryRun(10_000_000, 10_000_854, 1, 250, 9.2, RUN.stages_s)
    nine = HistoryRun(1_000_000, 1_000_494, 9, 147.2, 1.5, RUN.stages_s)
    runs = [asdict(each) for each in (RUN, ten, nine)]
    section = histories_section({**content, "runs": runs})
    assert section.count("| 1,000,000 rows, s |") == 1
    assert "| 1,000,000 rows, s | 47 | ≤ 60 | ≤ 40 | met |" in section
    assert "| 1,000,000 rows, GB | 1.23 | ≤ 1.5 | ≤ 1 | met |" in section
    assert "| 10,000,000 rows, GB | 9.20 | ≤ 8 | ≤ 4 | missed by 15.0%. |" in section
    assert "| 1,000,494 | 1 | 47 | 3.0 | 20.1 | 24.1 | 1.23 |" in section


def test_a_failure_has_the_command_and_its_message(tmp_path):
    (tmp_path / "history-5.csv").write_text("name\nsome\n", encoding="utf-8")
    with pytest.raises(ServerError, match=r"training fit failed.*no column relative_im_path"):
        measure_histories([5], tmp_path, Messages())


@pytest.mark.parametrize("text", ["", "a", "1,0", "-5", "1.5"])
def test_rows_are_whole_numbers(tmp_path, text):
    done = CliRunner().invoke(app, ["histories", "--rows", text, "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "--rows does not fit" in done.output


def test_few_rows_come_first_and_all_targets_last(tmp_path, monkeypatch):
    asked = []

    def fit(rows, history, out, given):
        asked.append((rows, history.name, *given.values()))
        return RUN

    monkeypatch.setattr(histories, "_simulate", lambda history, sends: None)
    monkeypatch.setattr(histories, "_fit", fit)
    measure_histories([20_000, 30_000], tmp_path, Messages())
    assert asked == [
        (10_000, "history-10000.csv", "conversion_rate"),
        (20_000, "history-20000.csv", "conversion_rate"),
        (30_000, "history-30000.csv", "conversion_rate"),
        (20_000, "history-20000.csv"),
    ]
