"""Run the README's blocks unchanged: ```bash in a shell, ```python in an interpreter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_blocks_run_in_order(tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    assert len(blocks("bash")) == len(blocks("python")) == 1
    commands = [
        ["bash", "-euc", blocks("bash")[0]],
        [sys.executable, "-c", blocks("python")[0]],
    ]
    for command in commands:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "original" in done.stdout
    assert (tmp_path / "build/readme/sheet.png").stat().st_size > 10_000


def test_every_link_leads_somewhere():
    links = set(re.findall(r"\]\(([^)#:]+)\)", README))
    assert len(links) >= 5
    assert [path for path in sorted(links) if not (ROOT / path).exists()] == []


def test_make_lists_its_targets():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("install", "format", "check", "test", "test-fast", "bench", "demo", "lock"):
        assert re.search(rf"^{target}\s+\S", done.stdout, re.MULTILINE)
