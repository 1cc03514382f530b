"""The folder that a model server loads, the same inside a ``.mar`` and unpacked.

MAR-INF/MANIFEST.json     which handler to run
model-config.yaml         workers, batching
recommend_handler.py      the adapter
augrank/                  this package, whole
bundle/                   what export wrote
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from augrank.errors import ServerError

HANDLER = "recommend_handler.py"
CONFIG = "model-config.yaml"
MANIFEST = "MAR-INF/MANIFEST.json"
ARCHIVER_VERSION = "0.12.0"


@dataclass(frozen=True)
class ModelConfig:
    """TorchServe's model-config.yaml. A lone request waits ``maxBatchDelay`` ms for company."""

    minWorkers: int = 1
    maxWorkers: int = 1
    batchSize: int = 1
    maxBatchDelay: int = 0
    responseTimeout: int = 60

    def to_yaml(self) -> str:
        """The file's text."""
        return yaml.safe_dump(asdict(self), sort_keys=False)


def lay_out(bundle: Path, folder: Path, name: str, config: ModelConfig = ModelConfig()) -> None:
    """Write a served folder.

    Args:
        bundle: the bundle directory.
        folder: where to; created, must not hold a served folder yet.
        name: the model's name in URLs.
        config: workers and batching.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(bundle, folder / "bundle")
    package = Path(__file__).parents[1]
    ignored = shutil.ignore_patterns("__pycache__", "_handlers")
    shutil.copytree(package, folder / "augrank", ignore=ignored)
    shutil.copyfile(handler_file(), folder / HANDLER)
    write_config(folder, config)
    manifest = folder / MANIFEST
    manifest.parent.mkdir()
    manifest.write_text(manifest_text(name), encoding="utf-8")


def link_served(source: Path, folder: Path) -> None:
    """A served folder of links to another one, which may be read-only; the config is left out."""
    folder.mkdir(parents=True)
    for part in source.iterdir():
        if part.name != CONFIG:
            (folder / part.name).symlink_to(part.resolve())


def write_config(folder: Path, config: ModelConfig) -> None:
    """(Re)write the folder's model-config.yaml."""
    (folder / CONFIG).write_text(config.to_yaml(), encoding="utf-8")


def manifest_text(name: str) -> str:
    """MAR-INF/MANIFEST.json as torch-model-archiver writes it, less the time of packing."""
    manifest = {
        "archiverVersion": ARCHIVER_VERSION,
        "model": {
            "configFile": CONFIG,
            "handler": HANDLER,
            "modelName": name,
            "modelVersion": "1.0",
        },
        "runtime": "python",
    }
    return json.dumps(manifest, indent=2, sort_keys=True) + "\n"


def handler_file() -> Path:
    """The adapter's source: inside an installed wheel, or beside this package in a clone."""
    package = Path(__file__).parents[1]
    for file in (package / "_handlers" / HANDLER, package.parent / "handlers" / HANDLER):
        if file.is_file():
            return file
    raise ServerError(
        f"{HANDLER} is missing",
        expected="it inside the installed augrank package, or in handlers/ of a clone",
        remedy="Install augrank again.",
    )
