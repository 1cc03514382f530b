"""The container's recipe: what it copies, installs and sets. No image is built."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from service.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "service" / "container"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
# Imports what the image has, and nothing else: the packages of a lock, and some folders.
WITHIN = """
import importlib.metadata, os, re, sys
lock, folder, *copied = sys.argv[1:]
normal = lambda name: re.sub(r"[-_.]+", "-", name).lower()
pinned = set(re.findall(r"^([a-z0-9-]+)==", open(lock).read(), re.MULTILINE)) | {"augrank"}
missing = {
    module
    for module, owners in importlib.metadata.packages_distributions().items()
    if not pinned & {normal(each) for each in owners}
}
# Folders of the clone are there only if copied.
missing |= {"benchmarks", "examples", "export", "handlers", "simulation", "tests", "training"}
missing -= {"pip", "setuptools", "pkg_resources", *copied}


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)


sys.meta_path.insert(0, Absent())
os.environ["AUGRANK_SERVICE_FOLDER"] = folder
"""
START = """
import service.commands.serve
from starlette.testclient import TestClient
from service.app import create_app
from service.database.session import Database
from service.settings import read_settings
settings = read_settings(allowed_hosts=("testserver",))
database = Database(settings.database_url)
database.migrate()
with TestClient(create_app(settings, database)) as http:
    print(http.get("/healthz").status_code, http.get("/readyz").status_code)
database.close()
import service.backends.remote.connect, service.backends.remote.torchserve_promotion
"""
RETRAIN = """
import service.retraining.work, service.backends.remote.sagemaker_promotion
import export.tasks.classify, training.cli
"""


def stage(name: str) -> str:
    """Return the part of the Dockerfile that builds a stage."""
    found = re.search(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.M | re.S)
    assert found, name
    return found.group(1)


def copied(name: str) -> list[str]:
    """Return the folders that a stage copies from the clone."""
    return re.findall(r"^COPY (\w+) \1$", stage(name), re.MULTILINE)


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.M))


def test_what_is_copied_is_there():
    sources = re.findall(r"^COPY (?!--from|\. )(\S+) ", DOCKERFILE, re.MULTILINE)
    assert len(sources) >= 6
    for source in sources:
        assert (ROOT / source).exists(), source
    assert copied("service") == ["service"]
    assert copied("retrain") == ["handlers", "training", "export", "service"]


def test_nobody_is_root_and_what_is_set_is_a_setting():
    for name in ("service", "retrain"):
        assert stage(name).rstrip().endswith("USER augrank")
    given = re.findall(r"AUGRANK_SERVICE_([A-Z_]+)=", stage("base"))
    assert {name.lower() for name in given} <= set(ServiceSettings.model_fields)
    assert "/healthz" in stage("base")
    assert "VOLUME /data" in stage("base")
    assert "AUGRANK_SERVICE_FOLDER=/data" in stage("base")
    assert not re.search(r"https?://(?!127\.0\.0\.1)", DOCKERFILE), "it names a host"


@pytest.mark.parametrize("name", ["requirements.lock", "retrain.lock"])
def test_the_image_pins_what_was_tested(name):
    tested, image = pins(ROOT / "requirements.lock"), pins(FOLDER / name)
    assert {each: tested.get(each) for each in image} == image


def test_the_serving_image_has_no_torch_and_the_other_one_has():
    served, retrains = pins(FOLDER / "requirements.lock"), pins(FOLDER / "retrain.lock")
    assert not {"torch", "torchvision", "boto3", "sagemaker", "torchserve"} & set(served)
    assert {"torch", "torchvision", "boto3", "optuna", "torch-model-archiver"} <= set(retrains)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in extras["optional-dependencies"]["service"]:
        assert re.match(r"[a-z0-9-]+", line.lower()).group() in served


@pytest.mark.parametrize(
    ("name", "lock", "code", "expected"),
    [
        ("service", "requirements.lock", START, "200 200"),
        pytest.param("retrain", "retrain.lock", START + RETRAIN, "200 200", marks=pytest.mark.slow),
    ],
)
def test_the_service_starts_with_what_the_image_has(tmp_path, name, lock, code, expected):
    (tmp_path / "data").mkdir()
    for each in copied(name):
        (tmp_path / each).symlink_to(ROOT / each)
    done = subprocess.run(
        [sys.executable, "-c", WITHIN + code, FOLDER / lock, tmp_path / "data", *copied(name)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split("\n")[0] == expected
    assert (tmp_path / "data" / "service.db").is_file()
