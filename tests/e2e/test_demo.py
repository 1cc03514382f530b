"""The whole demo, shortened to one epoch on small images."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from augrank.tasks.recommend.response import Answer

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_demo_runs_and_then_uses_what_is_valid(tmp_path):
    command = [sys.executable, "-m", "examples.demo", "--out", str(tmp_path / "demo")]
    command += ["--epochs", "1", "--image-size", "32"]
    made = []
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        costly = (tmp_path / "demo" / name for name in ("run/backbone.pt", "dist/food.mar"))
        made.append([file.stat().st_mtime_ns for file in costly])
    assert "already complete" in done.stdout
    assert "reusing it" in done.stdout
    assert made[0] == made[1]
    content = json.loads((tmp_path / "demo/recommendation.json").read_text())
    answer = Answer.model_validate(content)
    assert answer.model == "food"
    assert len(answer.candidates) == 6
    assert len(answer.alternates) == 5
    assert Image.open(tmp_path / "demo/contact_sheet.png").width > 1000


@pytest.mark.slow
def test_a_day_of_photos_is_inspected_and_then_what_is_valid_is_used(tmp_path):
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "examples.demo_classify", "--out", str(out)]
    command += ["--photos", "300", "--day", "40", "--image-size", "64"]
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "already complete" in done.stdout
    assert "reusing it" in done.stdout
    assert "of 40 photos are of the class that was told" in done.stdout
    rows = pq.read_table(out / "inspected.parquet").to_pylist()
    assert len(rows) == 40
    assert {row["review_kind"] for row in rows} == {"Style Review", "Product Review"}
    assert {row["decision"] for row in rows} <= {"accept", "reject", "ask"}
    assert Image.open(out / "contact_sheet.png").width > 1000
