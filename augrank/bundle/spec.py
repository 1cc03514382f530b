"""The bundle: the directory that export writes and servers load. No pickle anywhere.

bundle/
  bundle.json             this module's BundleSpec
  backbone-fp32.onnx      and -int8, where it was made
  heads/open_rate.ubj     one per target
  alternates/             the catalogue: embeddings, attributes, thumbnails
  smoke.json              a request and the probabilities of its answer
  model_card.md
"""

import functools
import hashlib
import importlib.metadata
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from augrank.errors import BundleError, UnknownTarget, one_of
from augrank.images.augmentations import AugmentationSet
from augrank.models.context import ContextColumn
from augrank.models.head import HeadSpec

BUNDLE_FILE = "bundle.json"
SMOKE_FILE = "smoke.json"  # a held-out image's request and its probabilities, to try servers
SCHEMA_VERSION = 2
MODEL_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")  # it stands in URLs and file names
Precision = Literal["fp32", "fp16", "int8"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# An image's bytes or a head's sums may change between major versions of these.
PINNED_MAJOR = ("albumentations", "opencv-python-headless", "xgboost")
RECORDED = (*PINNED_MAJOR, "numpy", "onnxruntime", "openvino", "pillow")


class ParityFigures(BaseModel, frozen=True, extra="forbid"):
    """How an engine compares with torch and XGBoost on held-out images."""

    images: int
    max_probability_difference: float
    rank_correlation: float  # Spearman's, over all candidates of all images and targets
    top1_agreement: float  # share of (image, target) whose best candidate is the same
    embedding_cosine: float  # lowest over images


class AlternatesSpec(BaseModel, frozen=True, extra="forbid"):
    """Where the catalogue's images are described."""

    count: int
    features: str = "alternates/features.npy"  # float32 (M, F)
    logits: str = "alternates/logits.npy"  # float32 (M, A)
    attributes: str = "alternates/attributes.json"
    thumbnails: str | None = None  # a zip of JPEGs named by row number

    @property
    def paths(self) -> tuple[str, ...]:
        """The index's files."""
        parts = (self.features, self.logits, self.attributes, self.thumbnails)
        return tuple(path for path in parts if path is not None)


class BundleSpec(BaseModel, frozen=True, extra="forbid"):
    """The contents of bundle.json."""

    schema_version: Literal[2] = 2
    task: Literal["recommend"] = "recommend"
    name: str = Field(pattern=MODEL_NAME)
    version: str = "1.0"
    backbone: Literal["resnet18", "resnet34", "resnet50"]
    image_size: int = Field(ge=32, le=1024)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    feature_width: int
    augmentations: AugmentationSet
    augmentation_hash: Sha256
    context: tuple[ContextColumn, ...]
    heads: tuple[HeadSpec, ...] = Field(min_length=1)
    graphs: dict[Precision, str]
    precision: Precision  # the graph that a CPU uses unless another is asked for
    openvino_precision: Precision | None = None  # likewise under OpenVINO, where it was compared
    alternates: AlternatesSpec | None
    metrics: dict[str, Any]
    parity: dict[str, ParityFigures]  # by graph, such as int8, and int8 under OpenVINO
    library_versions: dict[str, str]
    files: dict[str, Sha256]

    @field_validator("files")
    @classmethod
    def _paths_stay_inside(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"file {name!r} leaves the bundle")
        return value

    def head(self, target: str | None) -> HeadSpec:
        """The head of this target; with None, the only one there is.

        Raises:
            UnknownTarget: names the targets that there are.
        """
        if target is None and len(self.heads) == 1:
            return self.heads[0]
        for head in self.heads:
            if head.target.name == target:
                return head
        names = [head.target.name for head in self.heads]
        raise UnknownTarget(
            "the target is not known to this bundle" if target else "the target is missing",
            expected=one_of(names, target),
            got=repr(target) if target else "nothing",
            remedy="Name one of the listed targets.",
        )


@dataclass(frozen=True)
class Bundle:
    """A checked bundle on disk."""

    directory: Path
    spec: BundleSpec
    digest: str  # sha256 of bundle.json, which names the sha256 of every other file

    @property
    def version(self) -> str:
        """What answers carry: the version given at export and the content's digest."""
        return f"{self.spec.version}+{self.digest[:12]}"

    def graph(self, precision: Precision | None = None) -> Path:
        """The backbone's ONNX file at this precision (by default the bundle's own choice)."""
        wanted = precision or self.spec.precision
        if wanted not in self.spec.graphs:
            raise BundleError(
                f"the bundle has no {wanted} graph",
                expected=one_of(self.spec.graphs),
                got=wanted,
                remedy=f"Export again with --{wanted}, or leave the precision to the bundle.",
            )
        return self.directory / self.spec.graphs[wanted]


def load_bundle(directory: Path | str) -> Bundle:
    """Read a bundle and check that every part of it fits this runtime.

    Checks the schema, the presence and sha256 of every file, the augmentation set's hash under
    this runtime's operations, and the major versions of the libraries that shape images and
    scores.

    Raises:
        BundleError: says what does not fit, and what to do.
    """
    directory = Path(directory)
    file = directory / BUNDLE_FILE
    if not file.is_file():
        raise BundleError(
            f"{directory} is no bundle",
            expected=f"a directory with {BUNDLE_FILE}",
            got="no such file",
            remedy="Make one with: python -m export build RUN --out DIST",
        )
    raw = file.read_bytes()
    spec = _parse(raw)
    _check_files(directory, spec)
    _check_augmentations(spec)
    _check_libraries(spec)
    return Bundle(directory, spec, hashlib.sha256(raw).hexdigest())


@contextmanager
def open_bundle(path: Path | str) -> Iterator[Bundle]:
    """A bundle from its directory or from inside a ``.mar`` archive (unpacked for the while)."""
    path = Path(path)
    if path.suffix != ".mar":
        yield load_bundle(path)
        return
    scratch = tempfile.TemporaryDirectory(prefix="augrank-")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.startswith("bundle/")]
            archive.extractall(scratch.name, names)
    except (OSError, zipfile.BadZipFile) as error:
        scratch.cleanup()
        raise BundleError(f"{path} cannot be opened as an archive: {error}") from error
    with scratch:
        yield load_bundle(Path(scratch.name) / "bundle")


def sha256_of(file: Path) -> str:
    """sha256 of a file's contents, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@functools.cache
def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that a bundle records."""
    versions = {}
    for name in RECORDED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # onnxruntime-gpu and xgboost-cpu carry other names
    return versions


def _parse(raw: bytes) -> BundleSpec:
    try:
        content = json.loads(raw)
        schema = content.get("schema_version")
        if schema == SCHEMA_VERSION:
            return BundleSpec.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(
            f"{BUNDLE_FILE} does not fit its schema at {where}: {first['msg']}",
            remedy="Export the run again.",
        ) from error
    except (ValueError, AttributeError) as error:
        raise BundleError(
            f"{BUNDLE_FILE} is no JSON object: {error}", remedy="Export the run again."
        ) from error
    raise BundleError(
        f"{BUNDLE_FILE} was written by another version of augrank",
        expected=f"schema_version {SCHEMA_VERSION}",
        got=str(schema),
        remedy="Export the run again with this version.",
    )


def _check_files(directory: Path, spec: BundleSpec) -> None:
    named = {*spec.graphs.values(), *(head.file for head in spec.heads)}
    if spec.alternates is not None:
        named |= set(spec.alternates.paths)
    if missing := named - set(spec.files):
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


def _check_augmentations(spec: BundleSpec) -> None:
    if spec.augmentations.hash != spec.augmentation_hash:
        raise BundleError(
            f"the augmentation set {spec.augmentations.name!r} is not the one that was trained",
            expected=f"hash {spec.augmentation_hash[:12]}...",
            got=f"{spec.augmentations.hash[:12]}...",
            remedy="Serve with the augrank version that exported it, or train and export again.",
        )


def _check_libraries(spec: BundleSpec) -> None:
    here = library_versions()
    for name in PINNED_MAJOR:
        trained, got = spec.library_versions.get(name), here.get(name)
        if trained and got and trained.split(".")[0] != got.split(".")[0]:
            raise BundleError(
                f"{name} has another major version than the one this bundle was made with",
                expected=trained,
                got=got,
                remedy=f"pip install '{name}=={trained}', or export the run again.",
            )
