import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from augrank import reporting
from augrank.cli.reporter import RichReporter
from augrank.reporting import LogReporter, NullReporter, Table

TABLE = Table("Heads", ("target", "AUC", "inputs"), [("open_rate", "0.81", "features [x]"),
                                                    ("refunds", "-", "logits")],
              left_aligned=("inputs",))  # fmt: skip


def use_every_method(reporter: reporting.Reporter) -> list[int]:
    reporter.say("started [1]", style="heading")
    reporter.table(TABLE)
    with reporter.status() as step:
        step("waiting")
    with reporter.bar("Embedding", 4, "images") as advance:
        advance(2, "half")
    return list(reporter.track(range(3), "Heads", 3, "targets"))


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    """Nothing takes time."""
    monkeypatch.setattr(reporting, "time", SimpleNamespace(monotonic=lambda: 100.0))


def test_a_null_reporter_prints_nothing(capfd):
    assert use_every_method(NullReporter()) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")


def test_a_log_has_plain_lines_and_aligned_tables(capfd, monkeypatch):
    monkeypatch.setattr(reporting, "LINE_EVERY_S", 0.0)
    assert use_every_method(LogReporter()) == [0, 1, 2]
    out, err = capfd.readouterr()
    assert err == "waiting\n"
    assert out.splitlines()[:5] == [
        "started [1]",
        "Heads",
        "target      AUC  inputs",
        "open_rate  0.81  features [x]",
        "refunds       -  logits",
    ]
    assert "Embedding: 2/4 images, 0 s left, half" in out
    assert out.endswith("Heads: 1/3 targets, 0 s left\nHeads: 2/3 targets, 0 s left\n")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_console_shows_the_same(capfd, is_terminal):
    console = Console(file=io.StringIO(), width=80, force_terminal=is_terminal)
    assert use_every_method(RichReporter(console)) == [0, 1, 2]
    shown = console.file.getvalue()
    for text in ("started [1]", "open_rate", "features [x]", "0.81"):
        assert text in shown
    assert ("Embedding" in shown) == is_terminal  # a log has no line for what takes no time
    assert capfd.readouterr().err == ("" if is_terminal else "waiting\n")
