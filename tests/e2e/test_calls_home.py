"""Nothing calls home: without a network, no name is looked up, and no file written elsewhere."""

import os
import sys
from pathlib import Path

import pytest

from tests.support.isolation import NO_NAMESPACES, isolated

pytestmark = pytest.mark.slow

PREAMBLE = """
import sys
from pathlib import Path
bundle, image, scratch = map(Path, sys.argv[1:])
CONTEXT = {"campaign_type": "Newsletter", "industry": "Retail"}
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
    with loopback_client(headers=server.headers, timeout=60) as client:
        fields = {"target": "open_rate", **CONTEXT}
        answer = client.post(server.url, data=fields, files={"image": image.read_bytes()})
    assert answer.status_code == 200, answer.text
""",
    "score": """
import subprocess
fields = [word for item in CONTEXT.items() for word in ("--context", "=".join(item))]
command = [sys.executable, "-m", "augrank", "score", str(bundle), str(image.parent), *fields]
subprocess.run([*command, "--out", str(scratch / "answers.parquet")], check=True)
""",
    "import everything": """
import training.cli.app, export.cli, benchmarks.cli.app
import training.tasks.recommend, export.tasks.recommend
import albumentations, onnxruntime, optuna, ray, sagemaker.core, xgboost
from augrank.images.augmentations import augmentation_set
augmentation_set("email", 0)
""",
}


def test_the_name_server_notes_what_is_asked(tmp_path):
    """The check can fail: a program that looks a name up is found out."""
    log = tmp_path / "names.txt"
    done = isolated(
        log, [sys.executable, "-c", "import socket; socket.gethostbyname('home.example')"]
    )
    if done.returncode == NO_NAMESPACES:
        pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
    assert "home.example" in log.read_text()


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_calls_home(name, tiny_export, image, tmp_path):
    home, scratch, log = tmp_path / "home", tmp_path / "scratch", tmp_path / "names.txt"
    images = tmp_path / "images"
    for folder in (home, scratch, images):
        folder.mkdir()
    (images / "image.png").write_bytes(image)
    kept = {"PATH", "JAVA_HOME", "LANG", "LD_LIBRARY_PATH"}
    environment = {key: value for key, value in os.environ.items() if key in kept}
    environment |= {"HOME": str(home), "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    # A proxy that does not exist: requests to this machine must not look for it.
    environment |= dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://proxy.example")
    command = [sys.executable, "-c", PREAMBLE + PROGRAMS[name], str(tiny_export.bundle)]
    done = isolated(
        log,
        [*command, str(images / "image.png"), str(scratch)],
        env=environment,
        cwd=Path(__file__).parents[2],
        timeout=240,
    )
    if done.returncode == NO_NAMESPACES:
        pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert log.read_text() == ""
    # matplotlib keeps its list of fonts there, and nothing else.
    written = [path.relative_to(home) for path in home.rglob("*") if path.is_file()]
    assert [str(path) for path in written if path.parent.name != "matplotlib"] == []
