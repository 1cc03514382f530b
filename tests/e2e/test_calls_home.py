"""Nothing calls home: without a network, no name is looked up, and no file written elsewhere."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from tests.support.isolation import NO_NAMESPACES, isolated
from tests.support.shapes import draw

pytestmark = pytest.mark.slow

PREAMBLE = """
import subprocess, sys
from pathlib import Path
bundle, image, scratch = map(Path, sys.argv[1:])
CONTEXT = {"campaign_type": "Newsletter", "industry": "Retail"}
FIELDS = [word for item in CONTEXT.items() for word in ("--context", "=".join(item))]

def run(*words):
    subprocess.run([sys.executable, "-m", *map(str, words)], check=True)
"""
PROGRAMS = {
    "infer": """
from augrank import Recommender
answer = Recommender.load(bundle).recommend(image, "open_rate", CONTEXT)
assert answer.candidates
""",
    "serve": """
from augrank.serving.server import ServerOptions, serve
from augrank.serving.torchserve import loopback_client
with serve(bundle, ServerOptions(port=0)) as server:
    with loopback_client(headers=server.headers, timeout=600) as client:
        fields = {"target": "open_rate", **CONTEXT}
        answer = client.post(server.url, data=fields, files={"image": image.read_bytes()})
    assert answer.status_code == 200, answer.text
""",
    "score": """
run("augrank", "score", bundle, image.parent, *FIELDS, "--out", scratch / "answers.parquet")
""",
    "score on Ray": """
run("augrank", "score", bundle, image.parent, *FIELDS, "--out", scratch / "answers.parquet",
    "--engine", "ray")
""",
    "train": """
history, out, study = scratch / "history.csv", scratch / "run", scratch / "study"
run("training", "simulate", "--manifest", image.parent, "--out", history, "--sends", "20")
tiny = {"image_size": 32, "epochs": 2, "batch_size": 32, "threads": 1, "targets": "open_rate"}
options = [f"--{name.replace('_', '-')}={value}" for name, value in tiny.items()]
run("training", "fit", "--manifest", history, "--images", image.parent, "--out", out, *options)
run("export", "build", out, "--out", scratch / "dist", "--sagemaker")
settings = [word for item in tiny.items() for word in ("--set", "{}={}".format(*item))]
run("training", "tune", "--manifest", history, "--images", image.parent, "--out", study,
    "--trials", "1", *settings)
""",
    "import everything": """
import training.cli.app, export.cli, benchmarks.cli.app
import training.tasks.recommend, export.tasks.recommend
import albumentations, onnxruntime, optuna, ray, sagemaker.core, xgboost
from augrank.images.augmentations import augmentation_set
augmentation_set("email", 0)
""",
}


# Ray asks the clouds' metadata services which of them it runs in, whatever it is told.
METADATA = {"score on Ray": {"metadata.google.internal"}}


def test_what_is_asked_and_written_is_noted(tmp_path):
    """The check can fail: a program that looks a name up, or writes a file, is found out."""
    notes, file = tmp_path / "notes", tmp_path / "file"
    notes.mkdir()
    program = (
        "import socket, sys, pathlib\n"
        "file = pathlib.Path(sys.argv[1]); file.write_text('x'); file.unlink()\n"
        "socket.gethostbyname('home.example')"
    )
    done = isolated(notes, [sys.executable, "-c", program, str(file)])
    if done.returncode == NO_NAMESPACES:
        pytest.skip(f"no namespaces here: {done.stderr.strip()}")
    assert "home.example" in done.names
    assert done.written == (file,)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Return a folder for all that a program writes; its path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="augrank-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_calls_home(name, tiny_export, image, tmp_path, scratch):
    home, images, notes = (tmp_path / n for n in ("home", "images", "notes"))
    for folder in (home, images, notes):
        folder.mkdir()
    (images / "image.png").write_bytes(image)
    for number in range(17):
        cv2.imwrite(str(images / f"{number:03d}.png"), draw(number))
    kept = {"PATH", "JAVA_HOME", "LANG", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"}
    environment = {key: value for key, value in os.environ.items() if key in kept}
    environment |= {"HOME": str(home), "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    # A proxy that does not exist: requests to this machine must not look for it.
    environment |= dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://proxy.example")
    environment["no_proxy"] = "169.254.169.254,metadata.google.internal"
    command = [sys.executable, "-c", PREAMBLE + PROGRAMS[name], str(tiny_export.bundle)]
    done = isolated(
        notes,
        [*command, str(images / "image.png"), str(scratch)],
        env=environment,
        cwd=Path(__file__).parents[2],
        timeout=3600,
    )
    if done.returncode == NO_NAMESPACES:
        pytest.skip(f"no namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(done.names) <= METADATA.get(name, set())
    elsewhere = [file for file in done.written if not file.is_relative_to(scratch)]
    # matplotlib keeps its list of fonts there, and nothing else.
    assert [file for file in elsewhere if file.parent != home / ".cache" / "matplotlib"] == []
