"""A whole run of the task ``classify`` at tiny scale."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from augrank.cli.reporter import RichReporter
from augrank.contracts.classify_run import ClassifyRun
from augrank.contracts.run import parse_run
from augrank.errors import DataError
from augrank.models.label_head import LabelHead
from augrank.reporting import NullReporter
from export.run_reader import load_run
from tests.support.labelled_images import OPTIONS, RANKED, fit_classifier, write_labelled
from tests.support.patience import PATIENCE_S
from training.config import load_config
from training.run.classify_report import print_report
from training.tasks.run import run_fit

pytestmark = pytest.mark.slow


def test_a_run_holds_what_export_reads(classify_run):
    record = json.loads((classify_run.run / "run.json").read_text())
    run = parse_run(record, classify_run.run / "run.json")
    assert isinstance(run, ClassifyRun)
    assert (run.labels, run.ranks) == (("shape", "colour"), ("likes",))
    assert run.rows["ranks"] == {"likes": {"within": "uploader", "images": 238}}  # two are equal
    assert run.rows["images"] == {"train": 96, "validation": 48, "test": 48, "calibration": 48}
    assert run.rows["labels"]["shape"] == {"bar": 80, "box": 80, "disc": 80}
    report = json.loads((classify_run.run / "report.json").read_text())
    for precision, graph in run.graphs.items():
        with np.load(classify_run.run / graph.calibration) as arrays:
            for number, head in enumerate(graph.heads):
                assert arrays[f"probability-{number}"].shape == (48, 3)
                np.testing.assert_allclose(arrays[f"probability-{number}"].sum(axis=1), 1)
                assert len(arrays[f"label-{number}"]) == len(arrays[f"group-{number}"]) == 48
                loaded = LabelHead.load(head, classify_run.run)
                reference = load_run(classify_run.run).reference(precision)
                probability = loaded.probabilities(reference.features[:, 0])
                assert probability.shape == (len(reference.paths), 3)
        assert report["graphs"][precision]["macro_f1"] == graph.metrics["macro_f1"]
        (rank,) = graph.rankers
        assert report["graphs"][precision]["pair_accuracy"] == rank.metrics["pair_accuracy"]
        assert rank.metrics["images"] == 2 * rank.metrics["pairs"]  # two of each uploader
    assert report["task"] == "classify"
    colour = report["labels"]["colour"]
    low, high = colour["macro_f1_interval_95"]
    assert low <= colour["macro_f1"] <= high
    assert colour["macro_f1"] > 0.5
    assert colour["majority"] < colour["accuracy"]
    assert sum(each["images"] for each in colour["per_class"].values()) == 48
    for name in ("curves", "confusion-shape", "confusion-colour"):
        assert (classify_run.run / "plots" / f"{name}.png").read_bytes()[1:4] == b"PNG"
    catalogue = pd.read_csv(classify_run.run / "catalogue.csv")
    columns = ["relative_im_path", "split", "sha256", "shape", "colour", "likes_score"]
    assert list(catalogue.columns) == columns


def test_a_finished_run_is_recognised_and_its_tables_are_printed(classify_run, tmp_path):
    console = Console(record=True, width=160)
    given = {**RANKED, "manifest": classify_run.images / "labels.csv", "out": classify_run.run}
    report = run_fit(None, given, RichReporter(console))
    assert "already complete" in console.export_text(clear=False)
    assert report["labels"]["shape"]["images"] == 48
    print_report(report, RichReporter(console))
    text = " ".join(console.export_text(clear=False).split())
    assert f"ranks {report['ranks']['likes']['images']} test images by likes" in text
    assert "Ranks on the test split" in text


def test_an_interrupted_run_ends_with_the_same_heads(tmp_path):
    manifest = write_labelled(tmp_path / "data", 72)
    options = {"manifest": manifest, "epochs": 2, "precision": "fp32", "graphs": ("fp32",)}

    class Stop(Exception):
        pass

    def stop(epoch):
        raise Stop

    whole = fit_classifier(out=tmp_path / "whole", **options)
    chosen = {**OPTIONS, **options, "out": tmp_path / "parts"}
    with pytest.raises(Stop):
        run_fit(None, chosen, NullReporter(), on_epoch=stop)
    resumed = run_fit(None, chosen, NullReporter())
    for label in ("shape", "colour"):
        assert resumed["labels"][label]["confusion"] == whole["labels"][label]["confusion"]
        assert resumed["labels"][label]["log_loss"] == pytest.approx(
            whole["labels"][label]["log_loss"], rel=1e-6
        )


def test_folders_are_labels_and_the_report_is_printed(tmp_path):
    """As S2's data lie: a folder for each class. No other manifest is needed."""
    manifest = write_labelled(tmp_path / "data", 60)
    for row in pd.read_csv(manifest).itertuples():
        folder = tmp_path / "folders" / row.shape
        folder.mkdir(parents=True, exist_ok=True)
        source = manifest.parent / row.relative_im_path
        (folder / source.name).write_bytes(source.read_bytes())
    console = Console(record=True, width=160)
    given = {**OPTIONS, "labels": None, "images": tmp_path / "folders", "out": tmp_path / "run",
             "epochs": 1, "graphs": ("fp32",), "backbone": "mobilenet_v3_large",
             "class_weights": "balanced", "label_smoothing": 0.1}  # fmt: skip
    report = run_fit(None, given, RichReporter(console))
    text = console.export_text()
    assert "mobilenet_v3_large tells product_type of 12 test images: macro-F1" in text
    assert "sets of 90%: covered (classes)" in text
    assert "Next: python -m export build" in text
    assert set(report["labels"]["product_type"]["per_class"]) == {"bar", "box", "disc"}


def test_wandb_keeps_curves_offline(tmp_path):
    """In a process of its own: the service that it starts lives as long as that."""
    manifest = write_labelled(tmp_path / "data", 60)
    words = ["fit", "--task", "classify", "--labels", "shape", "--manifest", manifest,
             "--out", tmp_path / "run", "--epochs", 1, "--image-size", 32, "--threads", 1,
             "--graphs", "fp32", "--validation-share", 0.4, "--wandb", "shapes"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "training", *map(str, words)],
        env={
            **os.environ,
            "HOME": str(tmp_path / "home"),
            "WANDB_MODE": "offline",
            "WANDB__SERVICE_WAIT": str(PATIENCE_S),
            "WANDB_INIT_TIMEOUT": str(PATIENCE_S),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert any(file.suffix == ".wandb" for file in run.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "classify", "targets": ("open_rate",)}, "--targets is not an option of --task c"),
        ({"task": "recommend", "labels": ("kind",)}, "--labels is not an option of --task recomm"),
        ({"task": "classify", "label_smoothing": 1.0}, "--label-smoothing does not fit"),
        ({"task": "classify", "class_weights": "equal"}, "--class-weights does not fit"),
    ],
)
def test_options_of_the_other_task_are_refused(options, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_config(None, {"images": tmp_path, "out": tmp_path / "run", **options})
