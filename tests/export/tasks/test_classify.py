"""The export of a classifier: what is served is what was reported."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from augrank.bundle.load import load_bundle
from augrank.bundle.smoke import SmokeRequest
from augrank.cli.app import app
from augrank.errors import DataError
from augrank.tasks.classify.pipeline import Classifier
from export.parity import classify_gate
from export.parity.archive import ask_archive
from export.parity.figures import ParityError
from export.run_reader import load_run
from export.tasks.base import ExportOptions
from export.tasks.classify import build
from export.tasks.recommend import build as build_recommend
from tests.support.labelled_images import RULES, draw_labelled, fit_classifier, write_labelled
from training.common.classification import confusion_matrix, macro_f1
from training.common.ranking import draw_pairs


def options(**changes) -> ExportOptions:
    return ExportOptions("shapes", devices=("cpu",), int8=False, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_figures_as_served_are_those_of_the_report(classify_run, classify_export, precision):
    """Each test image goes through the archive's own handler."""
    run = load_run(classify_run.run)
    rows = run.rows("test")
    requests = [
        {"image": str(classify_run.images / row.path), "fields": {"top": "3"}} for row in rows
    ]
    # The engine that embedded images in training; fp32 was embedded by torch, in float32.
    device = "openvino" if run.record.graphs[precision].device == "openvino" else "cpu"
    answers = ask_archive(classify_export.archive, requests, device, precision)
    report = json.loads((classify_run.run / "report.json").read_text())
    trained = run.record.graphs[precision]
    for head in trained.heads:
        told = [each["body"]["images"][0]["labels"][head.label]["value"] for each in answers]
        number = {name: n for n, name in enumerate(head.classes)}
        label = np.array([number[row.attributes[head.label]] for row in rows])
        predicted = np.array([number[name] for name in told])
        served = macro_f1(confusion_matrix(label, predicted, len(number)))
        assert served == pytest.approx(head.metrics["macro_f1"], abs=0.001)
    (ranker,) = trained.rankers
    told = np.array([each["body"]["images"][0]["ranks"]["likes"]["score"] for each in answers])
    likes = np.array([float(row.attributes["likes_score"]) for row in rows])
    _, owner = np.unique([int(Path(row.path).stem) // 2 for row in rows], return_inverse=True)
    pairs = draw_pairs(likes, owner, seed=0)
    assert len(pairs) == ranker.metrics["pairs"]
    served = float(pairs.correct(told).mean())
    assert served == pytest.approx(ranker.metrics["pair_accuracy"], abs=0.001)
    assert report["graphs"]["fp32"]["macro_f1"] == run.record.graphs["fp32"].metrics["macro_f1"]


def test_the_bundle_holds_heads_rules_and_a_card(classify_export):
    spec = load_bundle(classify_export.bundle).spec
    assert (spec.task, spec.labels) == ("classify", ("shape", "colour"))
    assert set(spec.graphs) == {"fp32", "int8"}
    for graph in spec.graphs.values():
        assert graph.rules.rules["Box Review"].credit == ("box", "bar")
        assert all((classify_export.bundle / name).is_file() for name in graph.paths)
    card = (classify_export.bundle / "model_card.md").read_text(encoding="utf-8")
    assert "Tells shape, colour, likes of an image." in card
    assert "| Box Review | box, bar |" in card
    assert "| likes | uploader |" in card
    assert spec.ranks == ("likes",)
    smoke = SmokeRequest.load(classify_export.bundle)
    assert set(smoke.answers) == {"fp32", "int8"}
    assert len(smoke.answers["fp32"].probabilities) == 7


def test_the_same_run_gives_the_same_bytes(classify_run, tmp_path):
    one, two = (
        build(load_run(classify_run.run), tmp_path / name, options()) for name in ("a", "b")
    )
    assert one.archive.read_bytes() == two.archive.read_bytes()


@pytest.fixture
def edited(classify_run, tmp_path):
    """A copy of the run, to be edited."""
    shutil.copytree(classify_run.run, tmp_path / "run", ignore=shutil.ignore_patterns("cache"))
    return tmp_path / "run"


def test_a_head_that_was_edited_is_refused(edited, tmp_path):
    file = edited / "heads" / "fp32" / "label-0.npz"
    with np.load(file) as arrays:
        content = dict(arrays)
    content["weight"] = content["weight"][::-1]
    np.savez(file, **content)
    run = load_run(edited)  # the gate's reference uses the same file, so the graph must be wrong
    export = build(run, tmp_path / "dist", options())
    assert export.spec.task == "classify"
    shutil.copyfile(edited / "graphs" / "int8.onnx", edited / "graphs" / "fp32.onnx")
    with pytest.raises(ParityError, match="fp32 does not answer as the run does"):
        build(run, tmp_path / "other", options())
    assert not (tmp_path / "other" / "bundle").exists()


def test_an_archive_that_swaps_classes_is_refused(classify_run, tmp_path, monkeypatch):
    ask = classify_gate.ask_archive

    def swapped(*args):
        answers = ask(*args)
        for answer in answers:
            top = answer["body"]["images"][0]["labels"]["shape"]["top"]
            top[0]["name"], top[1]["name"] = top[1]["name"], top[0]["name"]
        return answers

    monkeypatch.setattr(classify_gate, "ask_archive", swapped)
    with pytest.raises(ParityError, match=r"probability_difference.*other_class"):
        build(load_run(classify_run.run), tmp_path / "dist", options())


@pytest.mark.parametrize("name", ["calibration-fp32.npz", "heads/fp32/label-1.npz",
                                  "reference-fp32.npz", "graphs/fp32.onnx"])  # fmt: skip
def test_a_missing_file_is_named(edited, tmp_path, name):
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    (edited / name).unlink()
    with pytest.raises(Exception, match=name.rsplit("/", 1)[-1]) as caught:
        build(load_run(edited), tmp_path / "dist", options(rules=tmp_path / "rules.yaml"))
    assert "Traceback" not in str(caught.value)


def test_rules_are_for_classifiers(tiny_run, tmp_path):
    with pytest.raises(DataError, match="rules are for classifiers"):
        build_recommend(load_run(tiny_run.run), tmp_path, options(rules=tmp_path / "rules.yaml"))


def test_fp16_has_the_heads_of_fp32(classify_run, tmp_path):
    export = build(load_run(classify_run.run), tmp_path, options(fp16=True))
    assert "fp16" in export.spec.graphs
    classifier = Classifier.load(export.bundle, precision="fp16", device="cpu", threads=1)
    assert classifier.check_smoke_request() < 0.02


@pytest.mark.slow
def test_a_rank_alone_is_learned_exported_and_served(tmp_path):
    manifest = write_labelled(tmp_path / "data", 600, uploads=6)
    report = fit_classifier(
        manifest, tmp_path / "run", labels=None, ranks=("likes",), epochs=10, graphs=("fp32",)
    )
    rank = report["ranks"]["likes"]
    assert report["labels"] == {}
    assert rank["pair_accuracy"] > 0.7  # .87 could be told
    assert rank["candidates"]["last layer"] < 0.6  # the network itself: guessing is .693
    run = load_run(tmp_path / "run")
    export = build(run, tmp_path / "dist", options())
    assert (export.spec.labels, export.spec.ranks) == ((), ("likes",))
    served = Classifier.load(export.bundle, device="cpu")
    assert served.warm_up() is None
    score = {}
    for number in range(9):  # of every shape and colour
        image, shape, colour = draw_labelled(9000 + number)
        score[shape, colour] = served.classify(image).ranks["likes"].score
    assert score["disc", "red"] > score["disc", "blue"]
    assert score["disc", "red"] > score["box", "blue"]
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    with pytest.raises(DataError, match="about labels, and the run has none"):
        build(run, tmp_path / "other", options(rules=tmp_path / "rules.yaml"))
    done = CliRunner().invoke(
        app, ["classify", str(export.bundle), str(manifest.parent / "images"), "--device", "cpu",
              "--ground-truth", str(tmp_path / "told.manifest")],
    )  # fmt: skip
    assert done.exit_code != 0
    assert "no labels to write" in " ".join(done.output.split())
