"""The folder that a model server loads, the same inside a ``.mar`` and unpacked.

MAR-INF/MANIFEST.json     names the handler
model-config.yaml         workers, batching
<task>_handler.py         the adapter, from handlers/
augrank/                  the modules of this package that a worker needs: PACKED
bundle/                   written by export
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from augrank.errors import ServerError

CONFIG = "model-config.yaml"
MANIFEST = "MAR-INF/MANIFEST.json"
ARCHIVER_VERSION = "0.12.0"
# The modules that a worker imports, directly or not. Serving, batch scoring, AWS and the command
# line are left out, and with them pyarrow, boto3, typer and rich. aiohttp is imported by download
# alone, where AUGRANK_ALLOW_URLS asks for it.
PACKED = (
    "__init__.py",
    "py.typed",
    "arrays.py",
    "errors.py",
    "files.py",
    "reporting.py",
    "processes.py",
    "resources.py",
    "contracts",
    "images",
    "models",
    "trust",
    "bundle",
    "tasks",
    "download",
    "runtime",
)


@dataclass(frozen=True)
class ModelConfig:
    """TorchServe's model-config.yaml. A single request waits ``maxBatchDelay`` ms for others."""

    minWorkers: int = 1
    maxWorkers: int = 1
    batchSize: int = 1
    maxBatchDelay: int = 0
    responseTimeout: int = 60

    def to_yaml(self) -> str:
        """Return the file's text."""
        return yaml.safe_dump(asdict(self), sort_keys=False)


def lay_out(bundle: Path, folder: Path, name: str, config: ModelConfig = ModelConfig()) -> None:
    """Write a model folder.

    Args:
        bundle: the bundle directory.
        folder: the target; created, must not contain a model folder yet.
        name: the model's name in URLs.
        config: workers and batching.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(bundle, folder / "bundle")
    copy_package(folder / "augrank")
    handler = handler_name(folder)
    shutil.copyfile(_handler_file(handler), folder / handler)
    write_config(folder, config)
    manifest = folder / MANIFEST
    manifest.parent.mkdir()
    manifest.write_text(manifest_text(name, handler), encoding="utf-8")


def copy_package(target: Path) -> None:
    """Copy the modules of this package that a worker needs."""
    package = Path(__file__).parents[1]
    target.mkdir()
    for part in PACKED:
        if (package / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(package / part, target / part, ignore=ignored)
        else:
            shutil.copyfile(package / part, target / part)


def handler_name(folder: Path) -> str:
    """Return the handler file for the bundle in a model folder, by the bundle's task."""
    content = json.loads((folder / "bundle" / "bundle.json").read_text(encoding="utf-8"))
    return f"{content['task']}_handler.py"


def link_model_folder(source: Path, folder: Path) -> None:
    """Create a model folder of links to another one, which may be read-only, without its config."""
    folder.mkdir(parents=True)
    for part in source.iterdir():
        if part.name != CONFIG:
            (folder / part.name).symlink_to(part.resolve())


def write_config(folder: Path, config: ModelConfig) -> None:
    """Write the folder's model-config.yaml, replacing an existing one."""
    (folder / CONFIG).write_text(config.to_yaml(), encoding="utf-8")


def manifest_text(name: str, handler: str) -> str:
    """Return MAR-INF/MANIFEST.json as torch-model-archiver writes it, without the packing time."""
    manifest = {
        "archiverVersion": ARCHIVER_VERSION,
        "model": {
            "configFile": CONFIG,
            "handler": handler,
            "modelName": name,
            "modelVersion": "1.0",
        },
        "runtime": "python",
    }
    return json.dumps(manifest, indent=2, sort_keys=True) + "\n"


def _handler_file(name: str) -> Path:
    """Find a handler's source inside an installed wheel, or beside this package in a clone."""
    package = Path(__file__).parents[1]
    for file in (package / "_handlers" / name, package.parent / "handlers" / name):
        if file.is_file():
            return file
    raise ServerError(
        f"{name} is missing",
        expected="it inside the installed augrank package, or in handlers/ of a clone",
        remedy="Install augrank again.",
    )
