"""``python -m service retrain`` says which retraining it is about, and drops no option silently."""

import pytest
from typer.testing import CliRunner

from service.commands.app import app
from service.jobs.queue import DONE, WAITING
from service.retraining import jobs
from service.retraining.jobs import RetrainOptions, cancel
from tests.service.retraining.support import corrected


@pytest.fixture
def ask(parts, caller):
    """Give the command with some options; at least one correction waits."""
    corrected(caller, 1)
    url = parts.database.engine.url.render_as_string(hide_password=False)
    place = ["--folder", str(parts.folder), "--database", url]

    def run(*words: str):
        return CliRunner().invoke(app, ["retrain", *words, *place])

    return run


def last(parts):
    with parts.database.reads() as session:
        return jobs.last_retraining(session)


def end(parts, state: str | None = None) -> None:
    """Let a person cancel the last retraining, or end it in a state."""
    with parts.database.writes() as session:
        job = jobs.last_retraining(session)
        if state is None:
            cancel(session, job, "eva")
        else:
            job.state = state


def text(result) -> str:
    return " ".join(result.output.split())


def test_other_options_than_those_of_one_that_failed_need_a_word(parts, ask):
    first = ask("--set", "epochs=500", "--candidates", "6")
    assert first.exit_code == 0, first.output
    assert "Retraining 1 is a new one, with --candidates 6, --set epochs=500" in text(first)
    end(parts)
    refused = ask("--set", "epochs=5")
    assert refused.exit_code == 2
    assert "expected --set epochs=500, got --set epochs=5." in text(refused)
    assert "--resume lets it go on with its own options; --new starts" in text(refused)
    assert last(parts).state == "failed"
    fewer = ask("--candidates", "4")  # what is usual was asked for, too
    assert "expected --candidates 6, got --candidates 4." in text(fewer)
    resumed = ask("--set", "epochs=5", "--resume")
    assert "Retraining 1 goes on where it failed (collect), with --candidates 6" in text(resumed)
    assert (last(parts).id, last(parts).state) == (1, WAITING)
    under_way = ask("--candidates", "4")
    assert "Retraining 1 is under way, with --candidates 6, --set epochs=500." in text(under_way)
    assert "under way" in text(refused := ask("--new"))
    assert refused.exit_code == 2
    end(parts)
    new = ask("--set", "epochs=5", "--new")
    assert "Retraining 2 is a new one, with --set epochs=5." in text(new)
    assert last(parts).options["given"]["settings"] == {"epochs": 5}


@pytest.mark.parametrize("words", [(), ("--set", "epochs=500"), ("--no-review", "--resume")])
def test_one_that_failed_goes_on_without_other_options(parts, ask, words):
    ask("--set", "epochs=500")
    end(parts)
    resumed = ask(*words)
    assert resumed.exit_code == 0, resumed.output
    assert "Retraining 1 goes on where it failed (collect), with --set epochs=500" in text(resumed)
    assert last(parts).options["given"] == RetrainOptions(settings={"epochs": 500}).model_dump()


def test_there_must_be_one_to_go_on_with(parts, ask):
    refused = ask("--resume")
    assert (refused.exit_code, last(parts)) == (2, None)
    assert "there is no retraining to go on with" in text(refused)
    assert "with the usual options." in text(ask())
    end(parts, DONE)
    assert "got 1, which is done. Leave --resume out." in text(ask("--resume"))
    assert "Retraining 2 is a new one" in text(ask())
