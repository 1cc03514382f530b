"""What is given wins over the environment, and the environment over defaults."""

import socket

import pytest
from typer.testing import CliRunner

from augrank.errors import DataError
from service.commands.app import app
from service.settings import read_settings


def test_the_environment_is_read_unless_an_option_is_given(monkeypatch, tmp_path):
    monkeypatch.setenv("AUGRANK_SERVICE_DATABASE", "postgresql+psycopg://db/service")
    monkeypatch.setenv("AUGRANK_SERVICE_PORT", "9000")
    settings = read_settings(database=None, folder=tmp_path, port=None)
    assert settings.database_url == "postgresql+psycopg://db/service"
    assert (settings.port, settings.host) == (9000, "127.0.0.1")
    assert read_settings(port=9001).port == 9001


def test_a_setting_that_does_not_fit_is_named(monkeypatch):
    monkeypatch.setenv("AUGRANK_SERVICE_PORT", "many")
    with pytest.raises(DataError, match=r"setting port .*AUGRANK_SERVICE_PORT"):
        read_settings()


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(
            app, ["bundle", "--folder", str(tmp_path / "new"), "--port", port]
        )
    assert done.exit_code == 2
    assert "another --port" in " ".join(done.output.split())
    assert not (tmp_path / "new").exists()
