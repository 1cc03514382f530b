from types import SimpleNamespace

from benchmarks.cli import reporter as reporters
from benchmarks.cli.reporter import TimedReporter


def test_messages_have_the_time_and_go_to_standard_error(capsys, monkeypatch):
    times = iter([100.0, 165.0])
    monkeypatch.setattr(reporters, "time", SimpleNamespace(monotonic=lambda: next(times)))
    TimedReporter().say("round 1 of 2 [not markup]")
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "1:05 round 1 of 2 [not markup]\n"
