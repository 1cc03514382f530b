import signal

import pytest
import typer

from augrank.cli.command import command_errors, friendly_errors
from augrank.errors import DataError


def test_an_error_becomes_a_message_and_an_exit_code(capsys):
    @friendly_errors
    def fail(name: str) -> None:
        raise DataError(f"{name} does not fit", remedy="Give [another].")

    with pytest.raises(typer.Exit) as caught:
        fail("it")
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err == "Error: it does not fit. Give [another].\n"


def test_an_interrupt_says_how_to_resume_where_the_command_can(capsys):
    with pytest.raises(typer.Exit) as caught, command_errors(lambda: "Run it again."):
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130
    assert capsys.readouterr().err == "Run it again.\n"
    with pytest.raises(KeyboardInterrupt), command_errors():
        raise KeyboardInterrupt


def test_sigterm_is_an_interrupt_and_its_handler_comes_back(capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(typer.Exit) as caught, command_errors(lambda: "Run it again."):
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.exit_code == 130
    assert capsys.readouterr().err == "Run it again.\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("error", [DataError("it does not fit"), KeyboardInterrupt()])
def test_processes_of_torchrun_but_the_first_print_nothing(capsys, monkeypatch, error):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(typer.Exit), command_errors(lambda: "Run it again."):
        raise error
    assert capsys.readouterr().err == ""
