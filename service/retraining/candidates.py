"""The models that are tried: one file of options for ``training fit`` each.

Where the live model's weights are at hand, most candidates start from them; one is trained as the
live model was, so that what fine-tuning cannot unlearn does not stay for good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from augrank.files import write_json

# Options of the live model's run that candidates share.
SHARED = (
    "backbone", "image_size", "epochs", "batch_size", "momentum", "weight_decay", "schedule",
    "class_weights", "label_smoothing", "average", "progressive", "flip", "graphs", "precision",
    "weights", "freeze", "freeze_epochs", "learning_rate", "validation_share",
)  # fmt: skip
TEST_SHARE = 0.1  # of what is trained on; the frozen test sets are apart from it
FROM_LIVE: tuple[Mapping[str, Any], ...] = (
    {"learning_rate": 0.02},
    {"as_live": True},
    {"learning_rate": 0.005},
    {"freeze": True, "learning_rate": 0.1},
    {"learning_rate": 0.02, "class_weights": "balanced"},
    {"learning_rate": 0.02, "label_smoothing": 0.1, "longer": 2},
    {"learning_rate": 0.05, "average": 0.99},
    {"learning_rate": 0.01, "weight_decay": 5e-3},
)
FROM_START: tuple[Mapping[str, Any], ...] = (
    {},
    {"longer": 2},
    {"rate": 0.5},
    {"class_weights": "balanced"},
    {"label_smoothing": 0.1},
    {"rate": 2.0},
    {"average": 0.99},
    {"weight_decay": 5e-3},
)
FINE_TUNED = {"freeze": False, "freeze_epochs": 0}  # whatever the live model's run did


@dataclass(frozen=True, kw_only=True)
class Start:
    """What candidates start from.

    Attributes:
        options: of the run of the live model; without one, what its bundle tells.
        weights: file of its weights; None: not at hand.
        settings: given for all candidates.
    """

    options: Mapping[str, Any]
    weights: str | None
    settings: Mapping[str, Any]


def candidate_options(start: Start, count: int) -> list[dict[str, Any]]:
    """Return the options of each candidate.

    Args:
        start: what they have in common.
        count: of candidates, at most eight.
    """
    shared = {name: start.options[name] for name in SHARED if name in start.options}
    shared |= start.settings
    variants = FROM_LIVE if start.weights else FROM_START
    return [
        _varied(shared, variant, start.weights) | {"seed": number}
        for number, variant in enumerate(variants[:count])
    ]


def _varied(
    shared: Mapping[str, Any], variant: Mapping[str, Any], weights: str | None
) -> dict[str, Any]:
    """Return the shared options with those of one candidate."""
    given, options = dict(variant), dict(shared)
    if given.pop("as_live", False):
        return options
    if longer := given.pop("longer", None):
        options["epochs"] = round(longer * options.get("epochs", 10))
    if rate := given.pop("rate", None):
        options["learning_rate"] = rate * (options.get("learning_rate") or 0.1)
    if weights:
        options |= {"weights": weights, **FINE_TUNED}
    return options | given


def fixed_options(
    manifest: Path,
    images: Path,
    *,
    groups: Sequence[str],
    scores: Sequence[str],
    labels: Sequence[str],
) -> dict[str, Any]:
    """Return the options of all candidates that the dataset decides."""
    options: dict[str, Any] = {
        "task": "classify",
        "manifest": str(manifest),
        "images": str(images),
        "labels": list(labels),
        "group": list(groups),
        "skip_bad_rows": True,  # two files of the same bytes with other labels
        "test_share": TEST_SHARE,
    }
    if scores:
        within = "uploader" if "uploader" in groups else ""
        options |= {"ranks": list(scores), "rank_within": within}
    return options


def options_of_bundle(bundle: Path) -> dict[str, Any]:
    """Return what a bundle tells of the options of its run."""
    spec = load_bundle(bundle, ClassifySpec).spec
    return {"backbone": spec.backbone, "image_size": spec.image_size, "graphs": _graphs(spec)}


def _graphs(spec: ClassifySpec) -> list[str]:
    return [name for name in ("fp32", "int8") if name in spec.graphs]


def write_rules(bundle: Path, folder: Path) -> list[str]:
    """Write the live bundle's rules and tags; return the options of ``export build``.

    JSON is YAML, too.
    """
    spec, words = load_bundle(bundle, ClassifySpec).spec, list[str]()
    if spec.rules is not None:
        rules = spec.rules
        credit = {kind: list(rule.credit) for kind, rule in rules.rules.items()}
        content = {"label": rules.label, "precision": rules.precision,
                   "confidence": rules.confidence, "credit": credit}  # fmt: skip
        write_json(folder / "rules.yaml", content)
        words += ["--rules", str(folder / "rules.yaml")]
    if spec.tags:
        tags = {label: rule.model_dump(mode="json") for label, rule in spec.tags.items()}
        write_json(folder / "tags.yaml", tags)
        words += ["--tags", str(folder / "tags.yaml")]
    return words
