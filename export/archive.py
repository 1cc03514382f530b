"""Packs a model folder as TorchServe's ``.mar`` and SageMaker's ``model.tar.gz``.

Both contain the same files, and the same contents give the same bytes.
"""

import gzip
import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from augrank.bundle.load import load_bundle
from augrank.errors import DataError
from augrank.serving.model_folder import CONFIG, MANIFEST, handler_name, lay_out, manifest_text

# Libraries that augrank imports in a server; the serving stack includes numpy and pillow.
RUNTIME = (
    "albumentations",
    "cachetools",
    "onnxruntime",
    "opencv-python-headless",
    "pydantic",
    "pydantic-settings",
    "pyyaml",
    "threadpoolctl",
)
FOR_GPUS = {"onnxruntime": "onnxruntime-gpu"}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's earliest time


def pack_mar(bundle: Path, name: str, file: Path) -> None:
    """Pack a bundle with its handler and runtime.

    torch-model-archiver writes the time of packing into its archive and keeps the order of the file
    system, so the archive is rewritten: sorted names, fixed times, the manifest without the time
    stamp.

    Args:
        bundle: the bundle directory.
        name: the model's name in URLs.
        file: the ``.mar`` to write: complete under a temporary name, then renamed.
    """
    with tempfile.TemporaryDirectory(prefix="augrank-mar-") as scratch:
        folder = Path(scratch) / "model"
        lay_out(bundle, folder, name)
        handler = handler_name(folder)
        archive = _run_archiver(folder, name, handler, Path(scratch))
        partial = file.with_suffix(".partial")
        _rewrite(archive, partial, {MANIFEST: manifest_text(name, handler).encode()})
        partial.replace(file)


def pack_model_tar(bundle: Path, name: str, file: Path) -> None:
    """Pack the same files for SageMaker, which unpacks them into ``/opt/ml/model``.

    The manifest makes SageMaker's serving stack use the same handler as a ``.mar``.
    ``code/requirements.txt`` is for AWS's own images, which install it at start; the project's own
    image contains all of it already.

    Args:
        bundle: the bundle directory.
        name: the model's name.
        file: the ``model.tar.gz`` to write: complete under a temporary name, then renamed.
    """
    with tempfile.TemporaryDirectory(prefix="augrank-tar-") as scratch:
        folder = Path(scratch) / "model"
        lay_out(bundle, folder, name)
        requirements = folder / "code" / "requirements.txt"
        requirements.parent.mkdir()
        spec = load_bundle(bundle).spec
        pins = _requirements(gpu="fp16" in spec.graphs, openvino="openvino" in spec.passed)
        requirements.write_text("".join(f"{line}\n" for line in pins), encoding="utf-8")
        partial = file.with_suffix(".partial")
        with (
            partial.open("wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            for path in sorted(folder.rglob("*")):
                archive.add(path, path.relative_to(folder).as_posix(), False, filter=_plain)
        partial.replace(file)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove the owner and the time from an entry, and normalise its mode."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


def _requirements(*, gpu: bool, openvino: bool) -> list[str]:
    """Pin the runtime's imports to the installed versions.

    Args:
        gpu: whether the bundle has a graph for GPUs, which needs the engine's GPU build.
        openvino: whether graphs passed their gate under OpenVINO.
    """
    pins, builds = [], FOR_GPUS if gpu else {}
    for name in (*RUNTIME, *(["openvino"] if openvino else [])):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # installed under another name, such as onnxruntime-gpu
        pins.append(f"{builds.get(name, name)}=={version}")
    return pins


def _run_archiver(folder: Path, name: str, handler: str, scratch: Path) -> Path:
    """Run torch-model-archiver on a model folder, with its own temporary folder.

    It packs from ``TMPDIR/<name>`` and first deletes whatever is there, so TMPDIR is set.
    """
    extra, temporary, out = scratch / "extra", scratch / "tmp", scratch / "out"
    for directory in (extra, temporary, out):
        directory.mkdir()
    for part in ("augrank", "bundle"):
        (folder / part).rename(extra / part)
    command = [sys.executable, "-m", "model_archiver.model_packaging"]
    command += ["--model-name", name, "--version", "1.0", "--handler", str(folder / handler)]
    command += ["--extra-files", str(extra), "--config-file", str(folder / CONFIG)]
    # To compress weights takes seconds and saves little.
    command += ["--export-path", str(out), "--archive-format", "zip-store"]
    done = subprocess.run(
        command,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    archive = out / f"{name}.mar"
    if done.returncode or not archive.is_file():
        raise DataError(f"torch-model-archiver failed: {done.stderr.strip()[-500:]}")
    return archive


def _rewrite(source: Path, target: Path, replaced: dict[str, bytes]) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in sorted(n for n in old.namelist() if not n.endswith("/")):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            new.writestr(entry, replaced.get(name, old.read(name)))
