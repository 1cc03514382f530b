"""The command ``download``: its help, its report, its errors."""

import functools
from pathlib import Path

import pytest
from typer.testing import CliRunner

import training.download.run as job
from tests.training.download.site import LOOPBACK, file_of, reply
from training.cli.app import app


@pytest.fixture
def cli(monkeypatch):
    """Return a function that runs the command, with loopback allowed on request."""

    def run(*arguments, loopback=False):
        if loopback:
            allowed = functools.partial(job.download, guard=LOOPBACK)
            monkeypatch.setattr(job, "download", allowed)
        return CliRunner().invoke(app, ["download", *map(str, arguments)], env={"COLUMNS": "120"})

    return run


def test_the_help_says_what_is_not_done(cli):
    result = cli("--help")
    assert result.exit_code == 0
    output = " ".join(result.output.split())  # a line may break anywhere
    for words in ("robots.txt is not read", "Proxies of the environment", "--retry-broken"):
        assert words in output


def test_the_command_reports_the_download_and_the_next_command(site, cli, tmp_path):
    site.answer("/busy", lambda h, _: reply(h, 500))
    lines = [site.image("/a", 1), site.root + "/missing", site.root + "/busy"]
    (tmp_path / "urls.txt").write_text("\n".join(lines))
    out = tmp_path / "shop"
    result = cli(tmp_path / "urls.txt", "--out", out, "--per-host", 99, "--tries", 1, loopback=True)
    assert result.exit_code == 0, result.output
    assert f"{out}/manifest.csv: 1 rows of 1 images\n" in result.output
    assert (
        f"Left out 2 rows without an image: {out}/broken.csv says why; "
        "the same command retries 1 of them"
    ) in result.output
    assert f"python -m training fit --manifest {out}/manifest.csv --out runs/shop" in result.output
    assert [file.name for file in out.glob("images/*")] == [Path(file_of(lines[0])).name]


@pytest.mark.parametrize(
    ("content", "arguments", "why"),
    [
        (None, [], "there is no file"),
        ("# nothing\n", [], "contains no URL"),
        ("http://127.0.0.1:1/a.jpg", [], "127.0.0.1 is not a public"),
        ("http://127.0.0.1:1/a.jpg", ["--contact", "zoë"], "--contact is not valid"),
    ],
)
def test_mistakes_in_a_download_are_short_messages(content, arguments, why, cli, tmp_path):
    source = tmp_path / "urls.txt"
    if content is not None:
        source.write_text(content)
    result = cli(source, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert why in result.output
    assert "Traceback" not in result.output
    made = content is not None and not arguments and "//" in content
    assert (tmp_path / "out").exists() == made


def test_a_missing_url_column_is_reported_with_its_option(cli, tmp_path):
    source = tmp_path / "urls.csv"
    source.write_text("image_url,open_rate\nhttp://127.0.0.1:1/a.jpg,1\n")
    result = cli(source, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "has no column 'url'" in result.output
    assert "image_url" in result.output
    assert "--url-column" in result.output
