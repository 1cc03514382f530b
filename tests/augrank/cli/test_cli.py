import json
import shutil

import pytest
from PIL import Image
from typer.testing import CliRunner

from augrank.cli.app import app

CONTEXT = ["--campaign-type", "Newsletter", "--industry", "Retail"]


@pytest.fixture
def run():
    def invoke(*arguments):
        return CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(a) for a in arguments])

    return invoke


@pytest.fixture
def image(tiny_run):
    return tiny_run.images / "image_004.png"


def test_recommend_prints_tables(run, tiny_export, image):
    result = run("recommend", tiny_export.bundle, image, "--target", "open_rate", *CONTEXT)
    assert result.exit_code == 0, result.output
    for word in (
        "brighter",
        "original",
        "Alternates",
        "90 % interval",
        "recommended",
        "would raise",
    ):
        assert word in result.output


def test_recommend_prints_json_from_an_archive(run, tiny_export, image):
    result = run(
        "recommend", tiny_export.archive, image, "--target", "unsubscribe_rate", "--json",
        "--alternates", 2, "--context", "campaign_type=Newsletter", "--context", "industry=Retail",
    )  # fmt: skip
    answer = json.loads(result.output)
    assert answer["direction"] == "minimize"
    assert len(answer["alternates"]) == 2
    assert answer["context"] == {"campaign_type": "Newsletter", "industry": "Retail"}


def test_a_contact_sheet_is_drawn(run, tiny_export, image, tmp_path):
    sheet = tmp_path / "sheet.png"
    result = run(
        "recommend", tiny_export.bundle, image, "--target", "open_rate", *CONTEXT,
        "--contact-sheet", sheet,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    drawn = Image.open(sheet)
    assert drawn.width == 16 + 6 * 240
    assert len(drawn.convert("RGB").getcolors(1 << 24)) > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "open_rat", *CONTEXT], "did you mean open_rate?"),
        (["--target", "open_rate", "--industry", "Retail"], "'campaign_type' is missing"),
        (["--target", "open_rate", *CONTEXT, "--context", "x"], "expected NAME=VALUE"),
        (
            ["--target", "open_rate", *CONTEXT, "--precision", "int8"],
            "Train with --graphs fp32,int8",
        ),
    ],
)
def test_wrong_arguments_are_explained(run, tiny_export, image, arguments, message):
    result = run("recommend", tiny_export.bundle, image, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_wrong_files_are_explained(run, tiny_export, image, tmp_path):
    assert "cannot be read" in run("recommend", tiny_export.bundle, tmp_path / "none").output
    assert "is not a bundle" in run("inspect", tmp_path).output
    assert "cannot be opened: expected a bundle" in run("inspect", tmp_path / "x.mar").output
    place = tmp_path / "none" / "sheet.png"
    result = run("recommend", tiny_export.bundle, image, "--target", "open_rate", *CONTEXT,
                 "--contact-sheet", place)  # fmt: skip
    assert result.exit_code == 2
    assert "cannot be written" in result.output


def test_inspect_shows_and_checks(run, tiny_export, tmp_path):
    result = run("inspect", tiny_export.archive)
    assert result.exit_code == 0
    words = ("tiny 1.0+", "resnet18, 48 px", "unsubscribe_rate", "24 images")
    for word in (*words, "pairs", "coverage", "0.770", "0.900", "0.880"):
        assert word in result.output
    bundle = shutil.copytree(tiny_export.bundle, tmp_path / "bundle")
    (bundle / "model_card.md").write_text("changed")
    assert "model_card.md is not the file" in run("inspect", bundle).output


def test_help_teaches(run):
    assert "augrank recommend dist/bundle car.jpg" in run("recommend", "--help").output
    assert "Ctrl-C" in run("serve", "--help").output
