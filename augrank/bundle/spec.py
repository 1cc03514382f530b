"""bundle.json: the fields common to the bundles of every task, and the bundle on disk.

``<task>_spec.py`` beside this module adds a task's own fields. A new task adds such a file;
``load.py`` finds it by the ``task`` that bundle.json names.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field, field_validator, model_validator

from augrank.contracts.run import BackboneName, Precision
from augrank.contracts.validation import NAME_PATTERN
from augrank.errors import BundleError, one_of

BUNDLE_FILE = "bundle.json"
SMOKE_FILE = "smoke.json"  # a held-out image's request and its answer, for testing servers
SCHEMA_VERSION = 6
SEAL = "sha256"  # the member of bundle.json that vouches for the others
MODEL_NAME = re.compile(NAME_PATTERN)
MAKE_GRAPH: dict[Precision, str] = {
    "fp32": "Export again",
    "fp16": "Export again with --fp16",
    "int8": "Train with --graphs fp32,int8 and export again",
}
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def seal(content: Mapping[str, Any]) -> str:
    """Return the sha256 of bundle.json's contents, except ``sha256`` itself.

    It tells a file that was edited by hand, whose other mean or image size would be served without
    a word.
    """
    rest = {name: value for name, value in content.items() if name != SEAL}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class GraphSpec(BaseModel, frozen=True, extra="forbid"):
    """A graph of the backbone; a task adds what belongs to it, such as its heads."""

    file: str  # relative to the bundle, .onnx
    metrics: dict[str, Any]  # how well the backbone recognises augmentations


class BundleSpec(BaseModel, frozen=True, extra="forbid"):
    """The contents of bundle.json that do not depend on the task."""

    schema_version: Literal[6] = 6
    task: str
    name: str = Field(pattern=MODEL_NAME)
    version: str = "1.0"
    backbone: BackboneName
    image_size: int = Field(ge=32, le=1024)  # pixels, of the square working image
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    feature_width: int
    graphs: Mapping[Precision, GraphSpec]
    # The graphs that a server may choose, by the device that was tested, such as cpu and openvino:
    # those that are as good as fp32 and answer as in training. Likely the quickest first.
    passed: dict[str, tuple[Precision, ...]]
    metrics: dict[str, Any]
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

    @model_validator(mode="after")
    def _passed_are_graphs(self) -> "BundleSpec":
        named = {precision for passed in self.passed.values() for precision in passed}
        if not self.passed.get("cpu") or not named <= self.graphs.keys():
            raise ValueError("the devices' graphs are not those of the bundle")
        return self

    @property
    def precision(self) -> Precision:
        """The graph that onnxruntime uses on a CPU by default."""
        return self.passed["cpu"][0]

    @property
    def preferred(self) -> Precision:
        """The graph that servers likely choose: int8, if it may be used on any device."""
        return "int8" if any("int8" in passed for passed in self.passed.values()) else "fp32"

    @property
    def parts(self) -> frozenset[str]:
        """The files that loading needs, relative to the bundle; a task adds its own."""
        return frozenset(graph.file for graph in self.graphs.values())

    def check(self) -> None:
        """Check that this runtime computes the same as the one that exported the bundle.

        Raises:
            BundleError: the task's definitions have changed since export.
        """

    def example_fields(self) -> dict[str, str]:
        """Return the fields, except the image, of a request that this bundle answers."""
        return {}

    def cheap_fields(self) -> dict[str, str]:
        """Return the fields of a request that costs as little as possible, for warm-up."""
        return self.example_fields()


SpecT = TypeVar("SpecT", bound=BundleSpec)
SpecT_co = TypeVar("SpecT_co", bound=BundleSpec, covariant=True)


@dataclass(frozen=True)
class Bundle(Generic[SpecT_co]):
    """A checked bundle on disk."""

    directory: Path
    spec: SpecT_co
    digest: str  # sha256 of bundle.json, which names the sha256 of every other file

    @property
    def version(self) -> str:
        """The version in answers: that given at export, and the digest of the contents."""
        return f"{self.spec.version}+{self.digest[:12]}"

    def graph(self, precision: Precision | None = None) -> Path:
        """Return the backbone's ONNX file at this precision, by default the bundle's choice."""
        wanted = precision or self.spec.precision
        if wanted not in self.spec.graphs:
            raise BundleError(
                f"the bundle has no {wanted} graph",
                expected=one_of(self.spec.graphs),
                got=wanted,
                remedy=f"{MAKE_GRAPH[wanted]}, or leave the precision to the bundle.",
            )
        return self.directory / self.spec.graphs[wanted].file
