"""A whole run at tiny scale: its files, its report, and the same bytes a second time."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from rich.console import Console

from augrank import Recommender
from augrank.cli.reporter import RichReporter
from augrank.errors import DataError
from augrank.images.augmentations import AugmentationSet, augmentation_set
from augrank.models.head import Head, HeadSpec
from augrank.models.targets import TARGETS
from export.run_reader import load_run
from export.tasks.base import ExportOptions
from export.tasks.recommend import build
from tests.support.export_options import plain_options
from tests.training.tasks.runs import IMAGES, OPTIONS, fit
from training.distributed.world import World
from training.heads import fit as heads
from training.heads import fit_all as fit_heads
from training.tasks.run import run_fit

pytestmark = pytest.mark.slow


def test_a_run_holds_what_export_reads(history, tmp_path, quiet):
    out = tmp_path / "run"
    report = fit(history, out, quiet)
    record = json.loads((out / "run.json").read_text())
    assert (record["format"], record["complete"], record["seed"]) == (5, True, 0)
    assert record["images"] == str(history.parent.resolve())
    assert record["targets"] == [
        {"name": "open_rate", "direction": "maximize"},
        {"name": "bounce_rate", "direction": "minimize"},
    ]
    augmentations = AugmentationSet.model_validate(record["augmentations"])
    assert augmentations.hash == record["augmentation_hash"] == augmentation_set("seed").hash
    assert [column["name"] for column in record["context"]] == [
        "campaign_type", "industry"]  # fmt: skip
    assert record["rows"]["originals"] == {"train": 20, "validation": 4, "test": 6}
    assert record["backbone_metrics"]["test_images"] == 36
    assert record["backbone_metrics"]["majority"] == pytest.approx(1 / 6)
    assert set(record["graphs"]) == {"fp32"}
    assert record["graphs"]["fp32"]["device"] == "torch"
    for content in record["graphs"]["fp32"]["heads"]:
        spec = HeadSpec.model_validate(content)
        Head.load(spec, out)
        assert spec.metrics["ceiling"]["expected_accuracy"] == pytest.approx(0.8)
        assert spec.metrics["accuracy"] == report["heads"][spec.target.name]["accuracy"]
        compared = report["heads"][spec.target.name]["comparison"]
        assert list(compared) == ["majority", "logistic regression",
                                  "scikit-learn gradient boosting", "XGBoost"]  # fmt: skip

    with (out / "catalogue.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["relative_im_path", "split", "sha256", "product_type", "year"]
    assert len(rows) == 30
    assert rows[3]["year"] == "2003"

    plain = torchvision.models.resnet18(num_classes=6).eval()
    plain.load_state_dict(torch.load(out / "backbone.pt", weights_only=True))
    run = load_run(out)  # export's own reader agrees
    reference = run.reference()
    assert set(reference.paths) == {row.path for row in run.rows("test")}
    assert reference.features.shape == (6, 6, 512)
    image = run.image_bytes(run.rows("test")[0])
    assert image[1:4] == b"PNG"
    for name in ("curves", "confusion", "reliability", "comparison"):
        assert (out / "plots" / f"{name}.png").read_bytes()[1:4] == b"PNG"
    assert list((out / "tensorboard").glob("events.*"))


def test_every_graph_has_heads_of_its_own_embeddings(history, tmp_path, quiet):
    """The heads see what the graph that serves them computes, and the gate holds it to that."""
    run = tmp_path / "run"
    report = fit(history, run, quiet, graphs=("fp32", "int8"), precision="fp32")
    assert report["graph"] == ("fp32" if report["graphs"]["int8"]["shortfalls"] else "int8")
    assert set(report["graphs"]) == {"fp32", "int8"}
    assert report["graphs"]["int8"]["embedded_by"] == "openvino"
    record = load_run(run).record
    exact, int8 = record.graphs["fp32"], record.graphs["int8"]
    assert [head.inputs for head in int8.heads] == [head.inputs for head in exact.heads]
    for one, other in zip(exact.heads, int8.heads, strict=True):
        assert (one.file == other.file) == one.ignores_image
    features = [load_run(run).reference(name).features for name in ("fp32", "int8")]
    similar = np.sum(features[0] * features[1]) / np.linalg.norm(features[0]) / np.linalg.norm(
        features[1])  # fmt: skip
    assert 0.95 < similar < 1
    made = build(load_run(run), tmp_path / "dist", ExportOptions("tiny"))
    assert made.spec.parity["int8, openvino"].embedding_cosine > 0.9999
    assert made.spec.parity["int8, openvino"].probability_difference < 0.01
    assert Recommender.load(made.bundle, threads=1, precision="int8").precision == "int8"


def test_the_same_command_twice_gives_the_same_run(history, tmp_path, quiet):
    files, reports = [], []
    for name in ("a", "b"):
        report = fit(history, run := tmp_path / name, quiet, graphs=("fp32", "int8"))
        weights = torch.load(run / "backbone.pt", weights_only=True)
        record = load_run(run).record
        parts = [run / head.file for graph in record.graphs.values() for head in graph.heads]
        parts += [run / graph.file for graph in record.graphs.values()]
        heads = [file.read_bytes() for file in parts]
        files.append((weights, heads))
        del report["seconds"], report["name"]
        for epoch in report["history"]:
            del epoch["seconds"], epoch["samples_per_s"], epoch["input_share"]
        for head in report["heads"].values():
            for row in head["comparison"].values():
                del row["fit_seconds"]
        reports.append(report)
    assert all(torch.equal(files[0][0][key], files[1][0][key]) for key in files[0][0])
    assert files[0][1] == files[1][1]
    assert reports[0] == reports[1]


def test_an_image_folder_trains_only_a_backbone(catalogue, tmp_path, quiet):
    images = catalogue(12).parent / "images"
    options = {**OPTIONS, "targets": None, "images": images, "out": tmp_path / "run", "epochs": 1}
    report = run_fit(None, options, quiet)
    assert report["heads"] == {}
    assert "no targets" in report["notes"][0]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["graphs"] == {}


def test_files_augmented_beforehand_are_trained_on_unchanged(history, tmp_path, quiet):
    """A manifest of originals and of files that have been augmented already."""
    folder = history.parent
    rows = []
    for number in range(12):
        name = f"images/{number:03d}.png"
        rows.append((name, "original", "", number % 2))
        rows.append((name, "rotate", "", 1))
        rows.append((f"images/{number + 12:03d}.png", "darker", name, 0))
    columns = ["relative_im_path", "augmentation", "original", "open_rate"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "mixed.csv", index=False)
    report = fit(folder / "mixed.csv", tmp_path / "run", quiet, targets=None, epochs=1)
    assert report["rows"]["originals"] == {"train": 8, "validation": 2, "test": 2}
    assert report["backbone"]["test_images"] == 2 * 6 + 2
    assert list(report["heads"]) == ["open_rate"]
    assert report["heads"]["open_rate"]["ceiling"] is None
    catalogue_rows = (tmp_path / "run" / "catalogue.csv").read_text().splitlines()
    assert len(catalogue_rows) == 13


def test_augmented_files_without_originals_are_refused_before_training(history, tmp_path, quiet):
    rows = [(f"images/{n:03d}.png", "darker", f"images/gone{n}.png", n % 2) for n in range(12)]
    columns = ["relative_im_path", "augmentation", "original", "open_rate"]
    manifest = history.parent / "changed.csv"
    pd.DataFrame(rows, columns=columns).to_csv(manifest, index=False)
    with pytest.raises(DataError, match="Add a row for each original"):
        fit(manifest, tmp_path / "run", quiet, targets=None)


def test_copies_of_an_image_are_in_one_split(catalogue, tmp_path, quiet):
    manifest = catalogue(20)
    images = manifest.parent / "images"
    for number in range(10):
        original = images / f"{number:03d}.png"
        (images / f"copy{number}.png").write_bytes(original.read_bytes())
        cv2.imwrite(str(images / f"again{number}.webp"), cv2.imread(str(original)))
    options = {**OPTIONS, "targets": None, "images": images, "out": tmp_path / "run", "epochs": 1}
    report = run_fit(None, options, quiet)
    assert "20 originals show the same picture" in report["notes"][1]
    with (tmp_path / "run" / "catalogue.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    split = {Path(row["relative_im_path"]).stem: row["split"] for row in rows}
    for number in range(10):
        assert split[f"copy{number}"] == split[f"again{number}"] == split[f"{number:03d}"]
    assert set(split.values()) == {"train", "validation", "test"}


def test_a_target_without_both_outcomes_gets_no_head(history, tmp_path, quiet):
    frame = pd.read_csv(history).assign(open_rate=1)
    frame.to_csv(history, index=False)
    report = fit(history, tmp_path / "run", quiet, baselines=False, epochs=1)
    assert list(report["heads"]) == ["bounce_rate"]
    assert "No head for open_rate: every outcome of the training split is 1." in report["notes"]


def test_without_any_head_there_is_nothing_to_serve(history, tmp_path, quiet):
    frame = pd.read_csv(history).assign(open_rate=1, bounce_rate=0)
    frame.to_csv(history, index=False)
    options = {"baselines": False, "epochs": 1, "graphs": ("fp32", "int8")}
    report = fit(history, tmp_path / "run", quiet, **options)
    assert report["heads"] == {}
    assert (report["graph"], set(report["graphs"])) == ("fp32", {"fp32"})
    assert sum("No head for" in note for note in report["notes"]) == 2
    assert load_run(tmp_path / "run").record.targets == ()


def test_a_missing_engine_is_told_before_anything_is_done(history, tmp_path):
    """Training itself needs none: with --graphs fp32 it goes on."""
    code = """
import sys
sys.modules["onnxruntime"] = sys.modules["openvino"] = None  # as if they were not installed
from training.cli.app import app
app()
"""
    words = ["fit", "--manifest", history, "--out", tmp_path / "run", "--image-size", "32",
             "--epochs", "1", "--targets", "open_rate", "--no-baselines",
             "--threads", "1"]  # fmt: skip

    def run(*more: str):
        command = [sys.executable, "-c", code, *map(str, words), *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    refused = run()
    assert refused.returncode == 2, refused.stderr[-2000:]
    assert "the int8 graph cannot be made: expected onnxruntime" in refused.stdout + refused.stderr
    assert not (tmp_path / "run").exists()
    done = run("--graphs", "fp32")
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_simulated_history_has_every_standard_target(history):
    assert [name for name in TARGETS if name in pd.read_csv(history, nrows=1)] == list(TARGETS)
    assert np.isin(pd.read_csv(history)["open_rate"], [0, 1]).all()


def test_images_damaged_during_training_are_reported_by_the_next_run(catalogue, tmp_path, quiet):
    """A run keeps the images that it decoded before its first epoch."""
    manifest, out = catalogue(20), tmp_path / "run"
    whole = run_fit(None, {**IMAGES, "images": manifest.parent, "out": tmp_path / "w"}, quiet)
    broken = sorted(manifest.parent.rglob("*.png"))[0]

    def breaks(epoch) -> None:
        if epoch.number == 2:
            broken.write_bytes(broken.read_bytes()[:200])

    options = {**IMAGES, "images": manifest.parent, "out": out}
    report = run_fit(None, options, quiet, on_epoch=breaks)
    losses = [[epoch["loss"] for epoch in each["history"]] for each in (whole, report)]
    assert losses[0] == losses[1]
    with pytest.raises(DataError, match=broken.name):
        run_fit(None, {**options, "out": tmp_path / "next"}, quiet)
    skipped = run_fit(
        None, {**options, "out": tmp_path / "next", "skip_bad_rows": True}, quiet, overwrite=True
    )
    assert skipped["rows"]["skipped"] == 1
    with (tmp_path / "next" / "skipped.csv").open(newline="") as stream:
        header, (_, reason) = csv.reader(stream)
    assert header == ["image", "reason"]
    assert reason.startswith(f"images/{broken.name}: ")


def test_skipped_rows_are_listed(history, tmp_path):
    frame = pd.read_csv(history)
    frame.loc[2:8, "augmentation"] = "sepia"
    frame.to_csv(history, index=False)
    reporter, out = RichReporter(Console(file=io.StringIO(), width=200)), tmp_path / "run"
    options = {**OPTIONS, "manifest": history, "out": out, "epochs": 1, "baselines": False}
    report = run_fit(None, {**options, "skip_bad_rows": True}, reporter)
    said = reporter.console.file.getvalue()
    assert f"Left out 7 bad rows, which {out}/skipped.csv lists:\n  line 4: aug" in said
    assert "  ... and 4 more\n" in said
    assert report["rows"]["skipped"] == 7
    with (out / "skipped.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["line"]) for row in rows] == list(range(4, 11))
    assert rows[0]["reason"].startswith("augmentation 'sepia': expected one of original,")
    frame.drop(index=range(2, 9)).to_csv(history, index=False)
    run_fit(None, options, reporter, overwrite=True)
    assert not (out / "skipped.csv").exists()


def test_weights_of_a_run_keep_its_normalisation(history, tmp_path, quiet):
    console = Console(file=io.StringIO(), width=200)
    first, other = tmp_path / "first", tmp_path / "other"
    before = fit(history, first, quiet)
    weights = {"weights": str(first / "backbone.pt"), "freeze": True}
    after = run_fit(None, {**OPTIONS, "manifest": history, "out": other, **weights},
                    RichReporter(console))  # fmt: skip
    assert "normalised as in that run" in after["backbone"]["start"]
    one, two = (json.loads((run / "run.json").read_text()) for run in (first, other))
    assert (two["mean"], two["std"]) == (one["mean"], one["std"])
    best = max(epoch["validation_accuracy"] for epoch in before["history"])
    assert after["history"][0]["validation_accuracy"] >= best - 0.1
    (tmp_path / "alone.pt").write_bytes((first / "backbone.pt").read_bytes())
    weights["weights"] = str(tmp_path / "alone.pt")
    alone = fit(history, tmp_path / "third", quiet, **weights)
    assert "normalised as ImageNet's weights expect" in alone["backbone"]["start"]


def test_heads_use_all_cores_after_other_processes_end(history, tmp_path, quiet, monkeypatch):
    seen = []

    def noted(*parts, threads: int, **options):
        seen.append(threads)
        return heads.fit_head(*parts, threads=threads, **options)

    monkeypatch.setattr(World, "threads", lambda world, of_machine: of_machine // 2)
    monkeypatch.setattr(fit_heads, "fit_head", noted)
    fit(history, tmp_path / "run", quiet, threads=2, targets=("open_rate",), baselines=False)
    assert seen == [2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_whole_run_on_a_gpu(history, tmp_path, quiet, precision, compiled):
    """Micro-batches, EMA, embeddings, heads; export reproduces the float32 reference exactly."""
    options = {"device": "cuda", "precision": precision, "compile": compiled, "epochs": 12,
               "accumulate": 2, "average": 0.9, "learning_rate": 0.05}  # fmt: skip
    report = fit(history, out := tmp_path / "run", quiet, **options)
    assert report["backbone"]["device"] == f"cuda, {precision}"
    assert report["backbone"]["test_accuracy"] > 2 / 6
    assert set(report["heads"]) == {"open_rate", "bounce_rate"}
    build(load_run(out), tmp_path / "dist", plain_options("gpu"))  # the parity gate passes
