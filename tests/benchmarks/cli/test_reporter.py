from benchmarks.cli.reporter import TimedReporter


def test_messages_have_the_time_and_go_to_standard_error(capsys):
    TimedReporter().say("round 1 of 2 [not markup]")
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "0:00 round 1 of 2 [not markup]\n"
