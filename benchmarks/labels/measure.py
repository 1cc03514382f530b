"""Train classifiers on rendered images, export them, and ask about images of other people.

    python -m benchmarks labels review --out build/labels/review --document docs/results.md

The experiment runs the commands that a user runs (render, fit, export, score), and compares the
answers for new images, of uploaders or advertisers that training never saw, with what was rendered.
"""

import csv
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import beta

from augrank.arrays import Float64Array
from augrank.contracts.manifest import PATH
from augrank.contracts.run import BackboneName
from augrank.errors import BadRequest, DataError, one_of
from augrank.images.decode import decode
from augrank.resources import usable_cores
from benchmarks.common.machine import machine
from benchmarks.common.results import RESULTS_VERSION
from benchmarks.labels.compare import image_rates, macro_f1_difference
from benchmarks.labels.foreground_colour import Method, colour_baseline
from benchmarks.labels.ranks import difference_of_pairs, expected_classes, rank_figures
from benchmarks.labels.systems import SYSTEMS, System, SystemName
from benchmarks.reproduce import read_report, run_training
from training.common.classification import classification_figures

FRESH_SEED = 1  # of new images; those of training have seed 0
TIMED_IMAGES = 32
CONFIDENCE = 0.95

Rows = list[dict[str, Any]]
T = TypeVar("T")


@dataclass(frozen=True)
class Experiment:
    """Sizes of an experiment."""

    system: SystemName
    backbones: tuple[str, ...] = ("resnet18",)
    weights: tuple[str, ...] = ("none",)  # to start from: of all, or of each backbone
    count: int = 12_000  # images to train and test with
    fresh: int = 2500  # new images
    epochs: tuple[int, ...] = (12,)  # of all, or of each backbone
    image_size: int = 128
    freeze_epochs: int = 0  # of backbones that start from weights
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what would otherwise fail only after everything is rendered.

        Raises:
            BadRequest: there is no such backbone, or an option does not fit the backbones.
        """
        known, count = get_args(BackboneName), len(self.backbones)
        for name in self.backbones:
            if name not in known:
                raise BadRequest("unknown backbone", expected=one_of(known, name), got=repr(name))
        for option, values in (("weights", self.weights), ("epochs", self.epochs)):
            if len(values) not in (1, count):
                raise BadRequest(
                    f"--{option} does not fit",
                    expected=f"one value, or one for each backbone ({count}), with commas",
                    got=",".join(map(str, values)),
                )

    def weights_of(self, backbone: str) -> str:
        """Return the weights that a backbone starts from."""
        return self._own(self.weights, backbone)

    def epochs_of(self, backbone: str) -> int:
        """Return how many epochs a backbone is trained."""
        return self._own(self.epochs, backbone)

    def _own(self, values: tuple[T, ...], backbone: str) -> T:
        return values[self.backbones.index(backbone)] if len(values) > 1 else values[0]


def measure_labels(experiment: Experiment, out: Path, command: str) -> dict[str, Any]:
    """Render, train, export and classify below ``out``; finished parts are reused.

    Returns:
        The contents of results.json.

    Raises:
        DataError: a command failed; it has printed its own message.
    """
    system = SYSTEMS[experiment.system]
    size = ("--kind", system.kind, "--size", experiment.image_size)
    run_training("render", *size, "--count", experiment.count, "--out", out / "images")
    fresh = ("--count", experiment.fresh, "--seed", FRESH_SEED, "--out", out / "fresh")
    run_training("render", *size, *fresh)
    truth = _read(out / "fresh" / "manifest.csv")
    backbones: dict[str, dict[str, Any]] = {}
    answers = dict[str, Rows]()
    for backbone in experiment.backbones:
        run, dist = out / "runs" / backbone, out / "dist" / backbone
        _fit(experiment, system, backbone, out / "images", run)
        rules = ("--rules", system.rules) if system.rules else ()
        _run("export", "build", run, "--out", dist, "--name", backbone, *rules)
        manifest = _fresh_manifest(system, truth, out / "fresh")
        table = out / f"{backbone}.parquet"
        _run("augrank", "score", dist / "bundle", manifest, "--out", table)
        told = answers[backbone] = _in_order(pq.read_table(table).to_pylist(), truth)
        report = read_report(run)
        backbones[backbone] = {
            "graph": report["graph"],
            "graphs": report["graphs"],
            "heads": {name: each["head"] for name, each in report["labels"].items()},
            "test": {**report["labels"], **_test_ranks(report)},
            "weights": experiment.weights_of(backbone),
            "epochs": experiment.epochs_of(backbone),
            "fresh": _figures(system, truth, told),
        }
        if system.ranks:
            alone = _classes_alone(system, experiment, backbone, out, truth)
            backbones[backbone]["classes_alone"] = _beside_ranks(system, truth, told, alone)
    images = [(out / "fresh" / row[PATH]).read_bytes() for row in truth[:TIMED_IMAGES]]
    bundles = {backbone: out / "dist" / backbone / "bundle" for backbone in experiment.backbones}
    for backbone, rates in image_rates(bundles, images).items():
        backbones[backbone] |= rates
    _compare(system, truth, answers, backbones)
    return {
        "benchmark": "labels",
        "results_version": RESULTS_VERSION,
        "command": command,
        **asdict(experiment),
        "machine": machine(usable_cores()),
        "backbones": backbones,
        "baselines": _colour_baselines(system, experiment, out, truth) if system.colour else {},
    }


def _classes_alone(
    system: System, experiment: Experiment, backbone: str, out: Path, truth: Rows
) -> dict[str, Float64Array]:
    """Train a network on the classes of scores alone; return its expected class of each image."""
    name = f"{backbone}-classes"
    run, dist = out / "runs" / name, out / "dist" / name
    _fit(experiment, replace(system, ranks=()), backbone, out / "images", run)
    _run("export", "build", run, "--out", dist, "--name", name)
    files = [out / "fresh" / row[PATH] for row in truth]
    return {rank: expected_classes(dist / "bundle", rank, files) for rank in system.ranks}


def _beside_ranks(
    system: System, truth: Rows, told: Rows, alone: Mapping[str, Float64Array]
) -> dict[str, Any]:
    """Compare what ranks and classes alone tell of pairs of new images."""
    group = np.unique([row[system.group] for row in truth], return_inverse=True)[1]
    found = {}
    for rank, classes in alone.items():
        rows = [{f"{rank}_score": each} for each in classes.tolist()]
        ranked = np.array([row[f"{rank}_score"] for row in told])
        score = np.array([float(row[rank]) for row in truth])
        found[rank] = {
            **rank_figures(rank, system.truth, truth, rows, group),
            "ranks_tell_more": difference_of_pairs(score, ranked, classes, group),
        }
    return found


def _compare(
    system: System, truth: Rows, answers: Mapping[str, Rows], backbones: dict[str, dict[str, Any]]
) -> None:
    """Add to all backbones but the first how their macro-F1 differs from its."""
    others = list(answers)[1:]
    group = np.unique([row[system.group] for row in truth], return_inverse=True)[1]
    for label in system.labels:
        known = [number for number, row in enumerate(truth) if row[label]]
        names = {row[label] for rows in (truth, *answers.values()) for row in rows if row[label]}
        place = {name: number for number, name in enumerate(sorted(names))}
        true, *told = (
            np.array([place[rows[number][label]] for number in known])
            for rows in (truth, *answers.values())
        )
        for backbone, classes in zip(others, told[1:], strict=True):
            difference = macro_f1_difference(true, classes, told[0], group[known])
            backbones[backbone]["fresh"][label]["macro_f1_more"] = difference


def _test_ranks(report: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}, rank": each for name, each in report["ranks"].items()}


def _in_order(told: Rows, truth: Rows) -> Rows:
    """Return the answer for each image.

    Raises:
        DataError: an image has none.
    """
    by_path = {row[PATH]: row for row in told if not row["error"]}
    missing = [row[PATH] for row in truth if row[PATH] not in by_path]
    if missing:
        raise DataError(
            "not all new images were classified",
            expected=f"{len(truth):,} answers",
            got=f"{len(truth) - len(missing):,}; none for {missing[0]}",
        )
    return [by_path[row[PATH]] for row in truth]


def _fit(experiment: Experiment, system: System, backbone: str, images: Path, run: Path) -> None:
    options = [
        *system.fit_options(),
        *("--manifest", images / "manifest.csv", "--out", run, "--backbone", backbone),
        *("--epochs", experiment.epochs_of(backbone), "--image-size", experiment.image_size),
        *("--weights", experiment.weights_of(backbone), "--seed", experiment.seed),
        *("--cache", run.parent / "cache"),
    ]
    if experiment.freeze_epochs and experiment.weights_of(backbone) != "none":
        options += ["--freeze-epochs", experiment.freeze_epochs]
    run_training("fit", *options)


def _run(module: str, *arguments: object) -> None:
    done = subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=False)
    if done.returncode:
        raise DataError(
            f"python -m {module} {arguments[0]} failed with exit code {done.returncode}"
        )


def _read(manifest: Path) -> Rows:
    with manifest.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _fresh_manifest(system: System, truth: Rows, folder: Path) -> Path:
    """Write the manifest that is scored: with rules, review kinds take turns."""
    kinds = [kind for kind, _ in system.credit] or [""]
    file = folder / "to_score.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([PATH, "review_kind"])
        for number, row in enumerate(truth):
            writer.writerow([row[PATH], kinds[number % len(kinds)]])
    return file


def _figures(system: System, truth: Rows, told: Rows) -> dict[str, Any]:
    """Compare answers with what was rendered."""
    group = np.unique([row[system.group] for row in truth], return_inverse=True)[1]
    found: dict[str, Any] = {
        label: label_figures(label, truth, told, group) for label in system.labels
    }
    for rank in system.ranks:
        found[f"{rank}, rank"] = rank_figures(rank, system.truth, truth, told, group)
    if system.credit:
        found["decisions"] = decision_figures(dict(system.credit), truth, told, group)
    return found


def label_figures(label: str, truth: Rows, told: Rows, group: NDArray[np.int64]) -> dict[str, Any]:
    """Return figures of a label on new images, and how often a prediction set is right.

    Args:
        label: its column.
        truth: rows of the rendered manifest; a blank label is left out.
        told: rows of ``augrank score``.
        group: (N,) of each row.
    """
    known = [number for number, row in enumerate(truth) if row[label]]
    shown = {row[label] for row in (*told, *truth) if row[label]}
    classes = sorted(shown)
    place = {name: number for number, name in enumerate(classes)}
    value = np.array([place[truth[number][label]] for number in known])
    # Probabilities of the class that was told: enough for all figures but log loss.
    probability = np.zeros((len(known), len(classes)))
    for row, number in enumerate(known):
        probability[row, place[told[number][label]]] = told[number][f"{label}_probability"]
    figures = asdict(classification_figures(probability, value, group[known], classes))
    del figures["log_loss"]
    covered = [truth[number][label] in told[number][f"{label}_set"] for number in known]
    return _with_worst_class(figures) | {"covered": float(np.mean(covered))}


def _with_worst_class(figures: dict[str, Any]) -> dict[str, Any]:
    recalls = {
        name: each["recall"] for name, each in figures["per_class"].items() if each["images"]
    }
    worst = min(recalls, key=lambda name: recalls[name])
    return figures | {"worst_class": worst, "worst_recall": recalls[worst]}


def decision_figures(
    credit: Mapping[str, str], truth: Rows, told: Rows, group: NDArray[np.int64]
) -> dict[str, Any]:
    """Return how many decisions needed no person, and how many of those were right.

    Args:
        credit: the class that earns credit, by review kind.
        truth: rows of the rendered manifest.
        told: rows of ``augrank score``.
        group: (N,) of each row: photos of one uploader are right or wrong together, so that the
            bound is of one decision of each.
    """
    right, first = list[bool](), dict[int, bool]()
    for row, answer, owner in zip(truth, told, group.tolist(), strict=True):
        if answer["decision"] in ("accept", "reject"):
            earns = row["kind"] == credit[answer["review_kind"]]
            right.append(earns == (answer["decision"] == "accept"))
            first.setdefault(owner, right[-1])
    hits, alone = sum(first.values()), len(first)
    return {
        "images": len(truth),
        "decided": len(right) / len(truth),
        "right": sum(right) / max(len(right), 1),
        "groups": alone,
        "right_at_least": float(beta.ppf(1 - CONFIDENCE, hits, alone - hits + 1)) if hits else 0.0,
    }


def _colour_baselines(
    system: System, experiment: Experiment, out: Path, truth: Rows
) -> dict[str, Any]:
    """Tell colours by the foreground in CIELAB, without a network."""
    label = system.colour
    known = [row for row in _read(out / "images" / "manifest.csv") if row[label]]
    asked = [row for row in truth if row[label]]
    classes = sorted({row[label] for row in known})
    value, expected = (
        np.array([classes.index(row[label]) for row in rows]) for rows in (known, asked)
    )
    group = np.unique([row[system.group] for row in asked], return_inverse=True)[1]
    side = experiment.image_size
    images, fresh = (
        np.stack([decode((folder / row[PATH]).read_bytes(), side).pixels for row in rows])
        for folder, rows in ((out / "images", known), (out / "fresh", asked))
    )
    found = {}
    for method in get_args(Method):
        probability = colour_baseline(images, value, fresh, classes, method)
        found[method] = _with_worst_class(
            asdict(classification_figures(probability, expected, group, classes))
        )
    return found
