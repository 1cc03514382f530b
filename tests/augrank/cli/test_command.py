import pytest
import typer

from augrank.cli.command import friendly_errors, friendly_exit
from augrank.errors import DataError


def test_an_error_becomes_a_message_and_an_exit_code(capsys):
    @friendly_errors
    def fail(name: str) -> None:
        raise DataError(f"{name} does not fit", remedy="Give [another].")

    with pytest.raises(typer.Exit) as caught:
        fail("it")
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err == "error: it does not fit. Give [another].\n"


def test_an_interrupt_says_how_to_resume_where_the_command_can(capsys):
    with pytest.raises(typer.Exit) as caught, friendly_exit(on_interrupt=lambda: "Run it again."):
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130
    assert capsys.readouterr().err == "Run it again.\n"
    with pytest.raises(KeyboardInterrupt), friendly_exit():
        raise KeyboardInterrupt


def test_a_quiet_process_says_nothing(capsys):
    with pytest.raises(typer.Exit), friendly_exit(quiet=True):
        raise DataError("it does not fit")
    assert capsys.readouterr().err == ""
