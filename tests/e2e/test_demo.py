"""The whole demo, shortened to one epoch on small images."""

import json
import subprocess
import sys
from pathlib import Path

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
