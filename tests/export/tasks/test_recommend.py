import csv
import json
import shutil
import zipfile

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

import export.tasks.recommend
from augrank import Recommender
from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import ParityFigures
from augrank.errors import DataError
from augrank.models.backbone import Backbone
from export.cli import app
from export.onnx_graphs import load_torch_model
from export.parity import figures as parity
from export.parity.figures import ParityError, compare, misses
from export.run_reader import load_run
from export.tasks.recommend import _fastest, _refused, build
from tests.support.tiny_run import MEAN

SPREAD_MEAN = (MEAN[0] + 0.05, MEAN[1], MEAN[2] - 0.05)


@pytest.fixture
def copied(tiny_run, tmp_path):
    """A run that a test may spoil."""
    return shutil.copytree(tiny_run.run, tmp_path / "run")


def edit(run, **changes) -> None:
    content = json.loads((run / "run.json").read_text())
    content.update(changes)
    (run / "run.json").write_text(json.dumps(content))


def test_the_graph_is_the_torch_model_for_any_batch(tiny_run, tiny_export):
    backbone = Backbone(tiny_export.bundle / "backbone-fp32.onnx", threads=2)
    net = load_torch_model(load_run(tiny_run.run))
    for count in (1, 5):
        batch = np.random.default_rng(count).normal(size=(count, 3, 48, 48)).astype(np.float32)
        with torch.no_grad():
            features, logits = net(torch.from_numpy(batch))
        got = backbone.embed(batch)
        assert np.allclose(got.features, features, atol=1e-4)
        assert np.allclose(got.logits, logits, atol=1e-4)
    assert (backbone.feature_width, backbone.augmentation_count) == (512, 6)


def test_the_graph_carries_no_traces_of_this_machine(tiny_export):
    raw = (tiny_export.bundle / "backbone-fp32.onnx").read_bytes()
    assert b".py" not in raw
    assert b"site-packages" not in raw
    assert not (tiny_export.bundle / "backbone-fp32.onnx.data").exists()
    assert onnx.load(tiny_export.bundle / "backbone-fp32.onnx").graph.input[0].name == "images"


@pytest.mark.slow
def test_two_exports_of_one_run_are_the_same_bytes(tiny_run, tiny_export, tmp_path):
    again = build(load_run(tiny_run.run), tmp_path, name="tiny")
    assert again.archive.read_bytes() == tiny_export.archive.read_bytes()
    assert load_bundle(again.bundle).digest == load_bundle(tiny_export.bundle).digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "tiny.mar"]


def test_the_archive_holds_handler_runtime_and_bundle(tiny_export):
    with zipfile.ZipFile(tiny_export.archive) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
    assert {name.split("/")[0] for name in names} == {
        "MAR-INF", "augrank", "bundle", "model-config.yaml", "recommend_handler.py",
    }  # fmt: skip
    assert names == sorted(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pt")]
    assert manifest["model"]["handler"] == "recommend_handler.py"
    assert "createdOn" not in manifest


@pytest.mark.usefixtures("exported")
def test_a_wrong_normalisation_constant_makes_export_refuse(copied, tmp_path):
    content = json.loads((copied / "run.json").read_text())
    edit(copied, mean=[value - 0.3 for value in content["mean"]])
    with pytest.raises(ParityError, match="embedding_cosine"):
        build(load_run(copied), tmp_path / "dist", name="tiny")
    assert list((tmp_path / "dist").iterdir()) == []


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("channels", [(2, 1, 0), (0, 2, 1)])
def test_wrong_constants_in_the_bundle_alone_make_export_refuse(
    tiny_run, tmp_path, monkeypatch, channels
):
    """The run is right; what is packed is not: two channels' means have changed places."""
    right = export.tasks.recommend._spec

    def wrong(*arguments):
        spec = right(*arguments)
        return spec.model_copy(update={"mean": tuple(SPREAD_MEAN[c] for c in channels)})

    monkeypatch.setattr("export.tasks.recommend._spec", wrong)
    with pytest.raises(ParityError, match="embedding_cosine"):
        build(load_run(tiny_run.run), tmp_path / "dist", name="tiny")
    assert list((tmp_path / "dist").iterdir()) == []


@pytest.mark.usefixtures("exported")
def test_another_calibration_makes_export_refuse(copied, tmp_path, monkeypatch):
    """A fault that leaves the embeddings alone."""
    heads = json.loads((copied / "run.json").read_text())["heads"]
    spoiled = [{**head, "calibration": {"scale": 1.0, "shift": 3.0}} for head in heads]
    run = load_run(copied)
    expected = parity.expected_probabilities(
        run, run.reference(), parity.questions(run, run.reference())
    )
    monkeypatch.setattr("export.tasks.recommend.expected_probabilities", lambda *_: expected)
    edit(copied, heads=spoiled)
    with pytest.raises(ParityError, match="max_probability_difference"):
        build(load_run(copied), tmp_path / "dist", name="tiny")


@pytest.mark.slow
@pytest.mark.usefixtures("exported")
def test_int8_and_fp16_are_used_only_where_they_pass(tiny_run, tmp_path, monkeypatch):
    loose = parity.Tolerance(0.5, 0.0, 0.0, 1.0)
    strict = parity.Tolerance(1.0, 1.0, 1.0, 0.0)
    run = load_run(tiny_run.run)
    monkeypatch.setitem(parity.TOLERANCES, "int8", loose)
    monkeypatch.setattr(parity, "BFLOAT16", loose)
    made = build(run, tmp_path / "loose", name="tiny", int8=True, fp16=True, openvino=True)
    assert (made.spec.precision, made.spec.openvino_precision) == ("int8", "int8")
    assert made.refused == {}
    assert set(made.spec.parity) == {"fp32", "fp16", "int8", "fp32, openvino", "int8, openvino"}
    assert made.spec.parity["fp32, openvino"].embedding_cosine > 0.99
    assert made.spec.parity["fp16"].embedding_cosine > 0.9999
    sizes = {p: (made.bundle / f).stat().st_size for p, f in made.spec.graphs.items()}
    assert sizes["int8"] < 0.6 * sizes["fp16"] < 0.4 * sizes["fp32"]
    assert Recommender.load(made.bundle, threads=1, precision="fp16").precision == "fp16"
    assert 0.9 < made.spec.parity["int8"].embedding_cosine < 1
    assert Recommender.load(made.bundle, threads=1).precision == "int8"
    for name in ("int8", "fp16"):
        monkeypatch.setitem(parity.TOLERANCES, name, strict)
        kept = made.bundle / made.spec.graphs[name]  # the same again
        monkeypatch.setattr(
            f"export.tasks.recommend.write_{name}",
            lambda _fp32, file, *_, kept=kept: shutil.copyfile(kept, file),
        )
    made = build(run, tmp_path / "strict", name="tiny", int8=True, fp16=True)
    assert made.spec.precision == "fp32"
    assert made.spec.openvino_precision is None
    assert {way.label for way in made.refused} == {"int8", "fp16"}
    assert set(made.spec.graphs) == {"fp32", "int8"}  # a GPU would take fp16 unasked
    assert not (made.bundle / "backbone-fp16.onnx").exists()
    assert Recommender.load(made.bundle, threads=1, precision="int8").precision == "int8"


def test_openvino_takes_the_graph_that_passes_under_it():
    good = ParityFigures(
        images=9, max_probability_difference=0.1, rank_correlation=1.0, top1_agreement=1.0,
        embedding_cosine=1.0,
    )  # fmt: skip
    bad = good.model_copy(update={"rank_correlation": 0.9})
    figures = {
        parity.Way("fp32"): good.model_copy(update={"max_probability_difference": 0.0}),
        parity.Way("int8"): bad,
        parity.Way("fp32", "openvino"): good,
        parity.Way("int8", "openvino"): good,
    }
    refused = _refused(figures)
    assert set(refused) == {parity.Way("int8")}
    assert _fastest(figures, refused, "cpu") == "fp32"
    assert _fastest(figures, refused, "openvino") == "int8"
    for way in list(figures)[2:]:
        figures[way] = bad
        refused = _refused(figures)
    assert _fastest(figures, refused, "openvino") is None


@pytest.mark.usefixtures("exported")
def test_an_image_that_changed_since_training_is_refused(tiny_run, copied, tmp_path):
    images = shutil.copytree(tiny_run.images, tmp_path / "moved")
    (images / "image_004.png").write_bytes((images / "image_005.png").read_bytes())
    with pytest.raises(DataError, match=r"image_004.png has changed since training"):
        build(load_run(copied, images), tmp_path / "dist", name="tiny")
    (images / "image_004.png").unlink()
    with pytest.raises(DataError, match="--images"):
        build(load_run(copied, images), tmp_path / "dist", name="tiny")


def test_what_is_no_finished_run_is_told_so(tmp_path, copied):
    with pytest.raises(DataError, match="no finished run"):
        load_run(tmp_path)
    edit(copied, complete=False)
    with pytest.raises(DataError, match="complete False"):
        load_run(copied)
    edit(copied, complete=True, heads=[])
    with pytest.raises(DataError, match="a backbone alone"):
        load_run(copied)


def test_the_gates_figures():
    expected = np.array([[0.2, 0.8, 0.5], [0.9, 0.9, 0.1]])
    same = compare(expected, expected, ["maximize", "minimize"], 1.0)
    assert (same.max_probability_difference, same.rank_correlation, same.top1_agreement) == (
        0,
        1,
        1,
    )
    got = np.array([[0.9, 0.8, 0.5], [0.9, 0.95, 0.1]])
    off = compare(expected, got, ["maximize", "minimize"], 0.99)
    assert off.max_probability_difference == pytest.approx(0.7)
    assert off.top1_agreement == 0.5
    either = compare(expected[1:], np.array([[0.8, 0.9, 0.1]]), ["maximize"], 1.0)
    assert either.top1_agreement == 1.0
    strict = parity.Tolerance(1.0, 1.0, 1.0, 0.0)
    assert len(misses(off, strict)) == 4
    assert misses(same, strict) == []
    assert len(misses(same.model_copy(update={"embedding_cosine": float("nan")}), strict)) == 1


def test_names_are_checked_before_any_work(tiny_run, tmp_path):
    with pytest.raises(DataError, match="Give one with --name"):
        build(load_run(tiny_run.run), tmp_path / "dist", name="my run")
    assert not (tmp_path / "dist").exists()


def test_the_command_line_speaks_kindly(tmp_path):
    result = CliRunner().invoke(app, ["build", str(tmp_path), "--out", str(tmp_path / "d")])
    assert result.exit_code == 2
    assert "no finished run" in result.output
    assert "Traceback" not in result.output


def test_the_model_card_shows_the_bundles_figures(tiny_export):
    card = (tiny_export.bundle / "model_card.md").read_text()
    figures = tiny_export.spec.parity["fp32"]
    assert f"{figures.rank_correlation:.4f}" in card
    assert "| unsubscribe_rate | lower | 0.800 |" in card


def test_the_alternates_index_describes_the_whole_catalogue(tiny_run, tiny_export):
    rows = json.loads((tiny_export.bundle / "alternates/attributes.json").read_text())
    with (tiny_run.run / "catalogue.csv").open() as stream:
        catalogue = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [row["relative_im_path"] for row in catalogue]
    features = np.load(tiny_export.bundle / "alternates/features.npy", allow_pickle=False)
    reference = load_run(tiny_run.run).reference()
    row = [row["path"] for row in rows].index(reference.paths[0])
    assert np.allclose(features[row], reference.features[0, 0], atol=1e-3)
