"""Load a bundle and check that every part of it is compatible with this runtime."""

import functools
import hashlib
import importlib.metadata
import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import overload

from augrank.bundle.spec import (
    BUNDLE_FILE,
    SCHEMA_VERSION,
    SEAL,
    Bundle,
    BundleSpec,
    SpecT,
    seal,
)
from augrank.contracts.task_models import TaskModels
from augrank.errors import BundleError, reason

MODELS = TaskModels("augrank.bundle", "spec", BundleSpec)
# An image's bytes may change between major versions of these.
PINNED_MAJOR = ("albumentations", "opencv-python-headless")
RECORDED = (*PINNED_MAJOR, "numpy", "onnxruntime", "openvino", "pillow", "xgboost")


@overload
def load_bundle(directory: Path | str) -> Bundle[BundleSpec]: ...
@overload
def load_bundle(directory: Path | str, kind: type[SpecT]) -> Bundle[SpecT]: ...
def load_bundle(directory: Path | str, kind: type[BundleSpec] = BundleSpec) -> Bundle[BundleSpec]:
    """Read a bundle and check that every part of it is compatible with this runtime.

    Checks the schema, the presence and sha256 of every file, the task's own definitions (the
    augmentation set's hash under this runtime's operations), and the major versions of the
    libraries that affect images and scores.

    Args:
        directory: a bundle that ``python -m export build`` wrote.
        kind: the spec that the caller works with, such as ``RecommendSpec``; by default any.

    Raises:
        BundleError: a part is incompatible; gives the remedy.
    """
    directory = Path(directory)
    file = directory / BUNDLE_FILE
    if not file.is_file():
        raise BundleError(
            f"{directory} is not a bundle",
            expected=f"a directory with {BUNDLE_FILE}",
            got=_what_is_at(directory),
            remedy="Create one with: python -m export build RUN --out DIST",
        )
    raw = file.read_bytes()
    spec = _parse(raw)
    if not isinstance(spec, kind):
        raise BundleError(
            f"{directory} is of another task than this command serves",
            expected=f"task {kind.model_fields['task'].default!r}",
            got=f"task {spec.task!r}",
            remedy="Give a bundle of that task.",
        )
    _check_files(directory, spec)
    spec.check()
    _check_libraries(spec)
    return Bundle(directory, spec, hashlib.sha256(raw).hexdigest())


@contextmanager
def open_bundle(path: Path | str, kind: type[SpecT]) -> Iterator[Bundle[SpecT]]:
    """Load a bundle from its directory, or from a ``.mar`` archive unpacked for the block."""
    path = Path(path)
    if path.suffix != ".mar":
        yield load_bundle(path, kind)
        return
    scratch = tempfile.TemporaryDirectory(prefix="augrank-")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.startswith("bundle/")]
            archive.extractall(scratch.name, names)
    except (OSError, zipfile.BadZipFile) as error:
        scratch.cleanup()
        raise BundleError(
            f"{path} cannot be opened",
            expected="a bundle's folder, or a .mar archive",
            got=reason(error),
        ) from error
    with scratch:
        yield load_bundle(Path(scratch.name) / "bundle", kind)


def sha256_of(file: Path) -> str:
    """Return the sha256 of a file's contents, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@functools.cache
def library_versions() -> dict[str, str]:
    """Return the installed versions of the libraries that a bundle records."""
    versions = {}
    for name in RECORDED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # such as onnxruntime-gpu, or XGBoost, which a server does not need
    return versions


def _what_is_at(path: Path) -> str:
    if path.is_dir():
        return f"a directory without {BUNDLE_FILE}"
    return "a file that is no .mar archive" if path.exists() else "nothing at this path"


def _parse(raw: bytes) -> BundleSpec:
    """Validate bundle.json with the spec of its task."""
    try:
        content = json.loads(raw)
        got = type(content).__name__
    except ValueError as error:
        content, got = None, reason(error)
    if not isinstance(content, dict):
        raise BundleError(
            f"{BUNDLE_FILE} is damaged",
            expected="a JSON object",
            got=got,
            remedy="Export the run again.",
        )
    schema = content.get("schema_version")
    if schema != SCHEMA_VERSION:
        raise BundleError(
            f"{BUNDLE_FILE} was written by another version of augrank",
            expected=f"schema_version {SCHEMA_VERSION}",
            got=str(schema),
            remedy="Export the run again with this version.",
        )
    got, expected = seal(content), str(content.pop(SEAL, ""))
    if not expected:
        raise BundleError(
            f"{BUNDLE_FILE} was written by another version of augrank",
            expected=f"a member {SEAL!r}",
            got="none",
            remedy="Export the run again with this version.",
        )
    if got != expected:
        raise BundleError(
            f"{BUNDLE_FILE} is not the file that was exported",
            expected=f"sha256 {expected[:12]}...",
            got=f"{got[:12]}...",
            remedy="It is not to be edited: copy the bundle again, or export the run again.",
        )
    return MODELS.parse(
        content, source=BUNDLE_FILE, error=BundleError, remedy="Export the run again."
    )


def _check_files(directory: Path, spec: BundleSpec) -> None:
    if missing := spec.parts - set(spec.files):
        raise BundleError(f"{BUNDLE_FILE} lists no sha256 for {', '.join(sorted(missing))}")
    for name, expected in spec.files.items():
        file = directory / name
        got = sha256_of(file) if file.is_file() else "no such file"
        if got != expected:
            raise BundleError(
                f"{name} is not the file that was exported",
                expected=f"sha256 {expected[:12]}...",
                got=got if not file.is_file() else f"{got[:12]}...",
                remedy="Copy the bundle again, or export the run again.",
            )


def _check_libraries(spec: BundleSpec) -> None:
    here = library_versions()
    for name in PINNED_MAJOR:
        exported, got = spec.library_versions.get(name), here.get(name)
        if exported and got and exported.split(".")[0] != got.split(".")[0]:
            raise BundleError(
                f"{name} has another major version than the one this bundle was made with",
                expected=exported,
                got=got,
                remedy=f"pip install '{name}=={exported}', or export the run again.",
            )
