"""Run the README's blocks unchanged: ```bash in a shell, ```python in an interpreter.

And every link of every document leads to a file and a heading that are there.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted((ROOT / "service").rglob("*.md")),
]


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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    links = set(re.findall(r"\]\(([^):]+)\)", document.read_text(encoding="utf-8")))
    assert [link for link in sorted(links) if not leads_somewhere(document, link)] == []


def test_the_documents_have_links():
    assert len(re.findall(r"\]\(([^):]+)\)", README)) >= 5
    assert len(DOCUMENTS) >= 20


def leads_somewhere(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    if not target.exists():
        return False
    return not anchor or anchor in anchors(target.read_text(encoding="utf-8"))


def anchors(text: str) -> set[str]:
    """Return the anchors of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_make_lists_its_targets():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("install", "format", "check", "test", "test-fast", "bench", "demo", "lock"):
        assert re.search(rf"^{target}\s+\S", done.stdout, re.MULTILINE)
