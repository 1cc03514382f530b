"""What every task's gate has in common: the ways that a graph can run, and which may be chosen."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from augrank.bundle.graphs import Way
from augrank.bundle.load import open_bundle
from augrank.bundle.spec import BundleSpec
from augrank.contracts.run import GraphRecord, Precision
from augrank.images.augmentations import Augmentation
from augrank.images.decode import decode
from augrank.images.preprocess import Normalizer
from augrank.models.backbone import Backbone
from augrank.models.engines import Device
from augrank.resources import usable_cores
from export.parity.figures import ParityError, min_cosine, typical_norm
from export.run_reader import Reference

Figures = TypeVar("Figures")


@dataclass(frozen=True)
class GateResult(Generic[Figures]):
    """The figures of every graph and device, and which of them a server should not choose."""

    figures: dict[Way, Figures]
    rejected: dict[Way, list[str]]  # and why

    @property
    def passed(self) -> dict[str, tuple[Precision, ...]]:
        """The precisions that pass on each device, likely the quickest first.

        fp16 is for GPUs: CPUs compute it slowly.
        """
        found: dict[str, tuple[Precision, ...]] = {}
        for precision in ("int8", "fp32"):
            for way in self.figures:
                if way.precision == precision and way not in self.rejected:
                    found[way.device] = (*found.get(way.device, ()), way.precision)
        return found

    def own_way(self, precision: Precision, graphs: Mapping[Precision, GraphRecord]) -> Way:
        """Return a graph on the device of its training, or on the CPU if that is not here."""
        own = reference_way(precision, graphs[trained_as(precision)].device)
        return own if own in self.figures else Way(precision, "cpu")

    def consequences(self, spec: BundleSpec) -> dict[str, str]:
        """Describe why ways were rejected, and what follows, by their labels."""
        return {
            way.label: f"{'; '.join(why)}. {_consequence(way, spec)}"
            for way, why in self.rejected.items()
        }


def _consequence(way: Way, spec: BundleSpec) -> str:
    """Describe the consequence for a graph that did not pass its gate."""
    precision = way.precision
    if precision not in spec.graphs:
        return "It was left out."
    engine = "openvino" if way.device == "openvino" else "onnxruntime"
    return f"{engine} uses it only if AUGRANK_PRECISION={precision} is set."


def possible_ways(graphs: Iterable[Precision], devices: Iterable[Device]) -> list[Way]:
    """Return the ways to compare; OpenVINO has no fp16 of its own."""
    names = tuple(graphs)
    return [
        Way(precision, device)
        for device in devices
        for precision in names
        if (precision, device) != ("fp16", "openvino")
    ]


def judge(
    figures: Mapping[Way, Figures],
    missed: Mapping[Way, list[str]],
    graphs: Mapping[Precision, GraphRecord],
) -> GateResult[Figures]:
    """Tell which ways may be chosen; graphs that training found worse may not either.

    Args:
        figures: of each way.
        missed: the tolerances that each way missed.
        graphs: of the run.

    Raises:
        ParityError: fp32, or another graph on the device that it was trained with, falls short.
    """
    rejected: dict[Way, list[str]] = {}
    for way in figures:
        trained = graphs[trained_as(way.precision)]
        own = reference_way(way.precision, trained.device)
        if missed[way] and way == own and way.precision in graphs:  # fp16 is made from fp32
            raise ParityError(
                f"parity gate: {way.label} does not answer as the run does",
                expected="held-out images to score as in training",
                got="; ".join(missed[way]),
                remedy="Nothing was written. Check that the run was not edited, and that the "
                "processor and the libraries are like those that it was trained with."
                + ("" if way.precision == "fp32" else f" --no-{way.precision} leaves it out."),
            )
        worse = [f"training found it worse than fp32: {each}" for each in trained.shortfalls]
        if why := [*missed[way], *worse]:
            rejected[way] = why
    return GateResult(dict(figures), rejected)


def trained_as(precision: Precision) -> Precision:
    """Return the graph of the run that a graph is made of: fp16 has fp32's heads."""
    return "fp32" if precision == "fp16" else precision


def reference_way(precision: Precision, embedded_by: str) -> Way:
    """Return the way that a graph's reference is exact for: fp32's, which torch computed, too."""
    return Way(precision, "openvino" if embedded_by == "openvino" else "cpu")


def lowest_cosine(
    images: Path,
    reference: Reference,
    archive: Path,
    way: Way,
    augmentations: tuple[Augmentation, ...],
) -> float:
    """Return the lowest cosine similarity between the archive's embeddings and the reference's.

    It covers features and logits of every candidate of every held-out image, computed with the
    archive's graph, image size and normalisation constants. Rows that are nearly zero count less.

    Args:
        images: the folder that the reference's paths start from.
        reference: of the graph, in training.
        archive: a ``.mar``.
        way: the graph, and its device.
        augmentations: of the archive, the candidates.
    """
    with open_bundle(archive, BundleSpec) as bundle:
        spec = bundle.spec
        graph = bundle.graph(way.precision)
        backbone = Backbone(graph, threads=usable_cores(), device=way.device)
    normalizer = Normalizer(spec.mean, spec.std)
    typical = typical_norm(reference.features), typical_norm(reference.logits)
    found = []
    for image, path in enumerate(reference.paths):
        pixels = decode((images / path).read_bytes(), spec.image_size).pixels
        got = backbone.embed(normalizer.batch([each.apply(pixels) for each in augmentations]))
        found += [
            min_cosine(got.features, reference.features[image], typical[0]),
            min_cosine(got.logits, reference.logits[image], typical[1]),
        ]
    return float(np.min(found))  # NaN if one is
