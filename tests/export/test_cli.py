from typer.testing import CliRunner

from export.cli import app


def test_the_command_line_says_what_is_wrong(tmp_path):
    result = CliRunner().invoke(app, ["build", str(tmp_path), "--out", str(tmp_path / "d")])
    assert result.exit_code == 2
    assert "not a finished run" in result.output
    assert "Traceback" not in result.output
