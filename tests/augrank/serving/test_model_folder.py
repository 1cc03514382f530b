"""The folder that is packed into archives: its contents and its imports."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from augrank.errors import ServerError
from augrank.serving import model_folder
from augrank.serving.model_folder import PACKED, ModelConfig, handler_name, lay_out

OUTSIDE = ("torch", "boto3", "httpx", "typer", "rich", "matplotlib", "sklearn", "pyarrow", "pandas")
# Loads the handler of the working directory with a stand-in for TorchServe's context, answers a
# request, and prints what is imported.
SCRIPT = """
import json, sys
from types import SimpleNamespace
import recommend_handler
context = SimpleNamespace(
    system_properties={"model_dir": "."},
    model_yaml_config={},
    get_all_request_header=lambda index: {"X-Augrank-Fields": sys.argv[2]},
    set_response_content_type=lambda index, value: None,
    set_response_status=lambda **status: None,
    metrics=SimpleNamespace(add_time=lambda name, value: None),
)
handler = recommend_handler.RecommendHandler()
handler.initialize(context)
(body,) = handler.handle([{"body": open(sys.argv[1], "rb").read()}], context)
files = {name: getattr(sys.modules[name], "__file__", None) for name in sys.modules}
print(json.dumps({"answer": json.loads(body), "files": files}))
"""


@pytest.fixture(scope="module")
def folder(tiny_export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "tiny"
    lay_out(tiny_export.bundle, folder, "tiny")
    return folder


def test_model_config_is_torchserves():
    content = yaml.safe_load(ModelConfig(minWorkers=2, maxWorkers=2).to_yaml())
    assert content["minWorkers"] == 2
    assert content["batchSize"] == 1


def test_a_worker_needs_nothing_but_what_is_packed(folder, tiny_run):
    fields = json.dumps(
        {"target": "open_rate", "campaign_type": "Newsletter", "industry": "Retail"}
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    image = tiny_run.images / "image_004.png"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(image), fields],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["answer"]["best_candidate"]["name"] == "brighter"
    imported = seen["files"]
    assert [name for name in OUTSIDE if name in imported] == []
    ours = {name: file for name, file in imported.items() if name.split(".")[0] == "augrank"}
    assert {file.split("/tiny/")[0] for file in ours.values() if file} == {str(folder.parent)}
    top = {name.split(".")[1] for name in ours if "." in name}
    packed = {part.removesuffix(".py") for part in PACKED}
    assert top - packed == set()
    assert {"tasks", "runtime", "bundle", "models", "images", "contracts"} <= top


def test_the_folder_holds_the_packed_list_the_bundle_and_its_tasks_handler(folder):
    assert sorted(path.name for path in (folder / "augrank").iterdir()) == sorted(PACKED)
    assert sorted(path.name for path in folder.iterdir()) == [
        "MAR-INF", "augrank", "bundle", "model-config.yaml", "recommend_handler.py",
    ]  # fmt: skip
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    assert manifest["model"]["handler"] == handler_name(folder) == "recommend_handler.py"
    assert not list(folder.rglob("__pycache__"))


def test_a_task_without_a_handler_is_refused(tiny_export, tmp_path, monkeypatch):
    monkeypatch.setattr(model_folder, "handler_name", lambda folder: "segment_handler.py")
    with pytest.raises(ServerError, match=r"segment_handler.py is missing.*Install augrank"):
        lay_out(tiny_export.bundle, tmp_path / "served", "tiny")
