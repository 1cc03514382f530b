import json
import shutil
import tempfile
import zipfile
from dataclasses import replace

import numpy as np
import onnx
import pytest

import export.tasks.recommend
from augrank import Recommender
from augrank.bundle import graphs
from augrank.bundle.load import load_bundle
from augrank.errors import AugrankError, DataError
from augrank.images.augmentations import AugmentationSet
from augrank.trust.posterior import ImageEffects, Posterior
from export.bundle_writer import copy_heads
from export.parity import figures as parity
from export.parity import gate
from export.parity.figures import ParityError
from export.run_reader import load_run
from export.tasks.base import ExportOptions
from export.tasks.recommend import build
from tests.support.export_options import plain_options
from tests.support.pools import own_threads
from tests.support.tiny_run import CONTEXT, MEAN, TARGETS, make_run

EXAMPLE = {column.name: column.values[0] for column in CONTEXT}
SPREAD_MEAN = (MEAN[0] + 0.05, MEAN[1], MEAN[2] - 0.05)


@pytest.fixture
def copied(tiny_run, tmp_path):
    """A copy of the run that a test may damage."""
    return shutil.copytree(tiny_run.run, tmp_path / "run")


def edit(run, **changes) -> None:
    content = json.loads((run / "run.json").read_text())
    content.update(changes)
    (run / "run.json").write_text(json.dumps(content))


@pytest.mark.slow
def test_two_exports_of_one_run_are_the_same_bytes(tiny_run, tiny_export, tmp_path):
    again = build(load_run(tiny_run.run), tmp_path, plain_options("tiny"))
    assert again.archive.read_bytes() == tiny_export.archive.read_bytes()
    assert load_bundle(again.bundle).digest == load_bundle(tiny_export.bundle).digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "tiny.mar"]


def test_the_archive_holds_handler_runtime_and_bundle(tiny_export):
    with zipfile.ZipFile(tiny_export.archive) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
    assert {name.split("/")[0] for name in names} == {
        "MAR-INF",
        "augrank",
        "bundle",
        "model-config.yaml",
        "recommend_handler.py",
    }
    assert names == sorted(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pt")]
    assert manifest["model"]["handler"] == "recommend_handler.py"
    assert "createdOn" not in manifest


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("heads/fp32/open_rate.ubj", "missing"),
        ("heads/fp32/open_rate.ubj", "cut"),
        ("heads/fp32/open_rate.trees.npz", "missing"),
        ("heads/fp32/open_rate.trees.npz", "cut"),
        ("heads/fp32/open_rate.npz", "missing"),
        ("catalogue.csv", "emptied"),
        ("catalogue.csv", "cut"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(copied, tmp_path, name, damage):
    file, content = copied / name, (copied / name).read_bytes()
    lines = content.splitlines(keepends=True)
    kept = {"cut": content[: len(content) // 2], "emptied": lines[0]}
    if name.endswith(".csv"):
        kept["cut"] = b"".join(lines[:3])
    file.unlink() if damage == "missing" else file.write_bytes(kept[damage])
    with pytest.raises(AugrankError, match=f"{file} is (missing|damaged).*Restore it, or train"):
        build(load_run(copied), tmp_path / "dist", plain_options("tiny"))


def test_a_wrong_normalisation_constant_makes_export_refuse(copied, tmp_path):
    content = json.loads((copied / "run.json").read_text())
    edit(copied, mean=[value - 0.3 for value in content["mean"]])
    with pytest.raises(ParityError, match="embedding_cosine"):
        build(load_run(copied), tmp_path / "dist", plain_options("tiny"))
    assert list((tmp_path / "dist").iterdir()) == []


@pytest.mark.parametrize("channels", [(2, 1, 0), (0, 2, 1)])
def test_wrong_constants_in_the_bundle_alone_make_export_refuse(
    tiny_run, tmp_path, monkeypatch, channels
):
    """The run is correct, but in the bundle the means of two channels are swapped."""
    right = export.tasks.recommend._draft_spec

    def wrong(*arguments):
        spec = right(*arguments)
        return spec.model_copy(update={"mean": tuple(SPREAD_MEAN[c] for c in channels)})

    monkeypatch.setattr("export.tasks.recommend._draft_spec", wrong)
    with pytest.raises(ParityError, match="embedding_cosine"):
        build(load_run(tiny_run.run), tmp_path / "dist", plain_options("tiny"))
    assert list((tmp_path / "dist").iterdir()) == []


def test_another_calibration_makes_export_refuse(copied, tmp_path, monkeypatch):
    """The gate compares probabilities too: this fault does not change the embeddings."""
    graphs = json.loads((copied / "run.json").read_text())["graphs"]
    trained = gate.TrainedGraph(load_run(copied), "fp32")
    monkeypatch.setattr(gate, "TrainedGraph", lambda *_: trained)
    platt = {"kind": "platt", "scale": 1.0, "shift": 3.0}
    graphs["fp32"]["heads"] = [{**head, "calibration": platt} for head in graphs["fp32"]["heads"]]
    edit(copied, graphs=graphs)
    with pytest.raises(ParityError, match="probability_difference"):
        build(load_run(copied), tmp_path / "dist", plain_options("tiny"))


def spoil(monkeypatch, change) -> None:
    """Make exports change the heads' folder of the bundle, and not that of the run."""

    def copy(run, heads, bundle):
        copy_heads(run, heads, bundle)
        change(bundle / "heads" / "fp32")

    monkeypatch.setattr("export.tasks.recommend.copy_heads", copy)


def changed(file, **changes) -> None:
    """Replace fields of a posterior; their new values are functions of the old ones."""
    posterior = Posterior.load(file)
    values = {name: value(getattr(posterior, name)) for name, value in changes.items()}
    replace(posterior, **values).save(file)


@pytest.mark.slow
def test_the_posterior_of_another_target_makes_export_refuse(copied, tmp_path, monkeypatch):
    """Embeddings, trees and checksums are right."""
    higher = {"effects": lambda old: replace(old, intercept=old.intercept + 0.5)}
    changed(copied / "heads" / "fp32" / "unsubscribe_rate.npz", **higher)
    run = load_run(copied)
    assert build(run, tmp_path / "right", plain_options("tiny")).rejected == {}

    def swap(heads) -> None:
        files = [heads / f"{name}.npz" for name in TARGETS]
        contents = [file.read_bytes() for file in files]
        for file, content in zip(files, reversed(contents), strict=True):
            file.write_bytes(content)

    spoil(monkeypatch, swap)
    with pytest.raises(ParityError, match="probability_difference"):
        build(run, tmp_path / "wrong", plain_options("tiny"))
    assert list((tmp_path / "wrong").iterdir()) == []


def test_a_posterior_that_is_too_certain_makes_export_refuse(tiny_run, tmp_path, monkeypatch):
    """Its probabilities and verdicts are right, its intervals are too narrow."""
    spoil(
        monkeypatch,
        lambda heads: changed(heads / "open_rate.npz", deviation=lambda old: 0 * old),
    )
    with pytest.raises(ParityError, match=r"got probability_difference [^;]*Nothing"):
        build(load_run(tiny_run.run), tmp_path / "dist", plain_options("tiny"))


@pytest.mark.slow
def test_a_catalogue_in_another_order_makes_export_refuse(copied, tmp_path, monkeypatch):
    """Embeddings, and the answers about images that nobody knows, are right."""

    def apart(known: ImageEffects) -> ImageEffects:
        mean = np.linspace(-2, 2, len(known), dtype=np.float32)
        return replace(known, mean=mean, deviation=np.full_like(mean, 0.1))

    for name in TARGETS:
        changed(copied / "heads" / "fp32" / f"{name}.npz", catalogue=apart)
    run = load_run(copied)
    assert build(run, tmp_path / "right", plain_options("tiny")).rejected == {}

    def reverse(heads) -> None:
        for name in TARGETS:
            changed(heads / f"{name}.npz", catalogue=lambda old: old[np.arange(len(old))[::-1]])

    spoil(monkeypatch, reverse)
    with pytest.raises(ParityError, match="does not know the catalogue"):
        build(run, tmp_path / "wrong", plain_options("tiny"))
    assert list((tmp_path / "wrong").iterdir()) == []


def test_a_damaged_posterior_makes_export_refuse(tiny_run, tmp_path, monkeypatch):
    def truncate(heads) -> None:
        file = heads / "open_rate.npz"
        file.write_bytes(file.read_bytes()[:-100])

    spoil(monkeypatch, truncate)
    with pytest.raises(DataError, match=r"handler failed(.|\n)*(not a zip file|cannot be read)"):
        build(load_run(tiny_run.run), tmp_path / "dist", plain_options("tiny"))
    assert list((tmp_path / "dist").iterdir()) == []


def test_another_augmentation_makes_export_refuse(tiny_run, tmp_path, monkeypatch):
    """The bundle brightens more than training did; hash and names agree with each other."""
    right = export.tasks.recommend._draft_spec

    def wrong(*arguments):
        spec = right(*arguments)
        content = spec.augmentations.model_dump()
        content["augmentations"][1]["steps"][0]["params"] = {"factor": 1.2}
        other = AugmentationSet.model_validate(content)
        assert other.names == spec.augmentations.names
        return spec.model_copy(update={"augmentations": other, "augmentation_hash": other.hash})

    monkeypatch.setattr("export.tasks.recommend._draft_spec", wrong)
    with pytest.raises(ParityError, match="embedding_cosine"):
        build(load_run(tiny_run.run), tmp_path / "dist", plain_options("tiny"))


def perturb(graph) -> None:
    """Add noise to the weights of an ONNX file."""
    model, rng = onnx.load(graph), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.ndim == 4:
            noise = 0.05 * values.std() * rng.standard_normal(values.shape)
            values = (values + noise).astype(values.dtype)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, graph)


def test_a_perturbed_graph_makes_export_refuse(copied, tmp_path):
    perturb(copied / "graphs" / "fp32.onnx")
    with pytest.raises(ParityError, match="embedding_cosine"):
        build(load_run(copied), tmp_path / "dist", plain_options("tiny"))


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """A run with an int8 graph, which onnxruntime embedded for its heads."""
    folder = tmp_path_factory.mktemp("quantized")
    return make_run(folder / "run", folder / "images", int8=True)


@pytest.fixture(scope="module")
def quantized_export(quantized, tmp_path_factory):
    """Its export; of random weights, other engines' embeddings differ more than trained ones'."""
    folder, loose = tmp_path_factory.mktemp("dist"), parity.Tolerance(0.5, 1.0, 1.0, 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "BFLOAT16", loose)
        patch.setattr(parity, "OTHER_INT8", loose)
        return build(load_run(quantized), folder, ExportOptions("tiny", fp16=True))


@pytest.mark.slow
def test_each_graph_answers_with_its_own_heads(quantized_export, image):
    bundle, spec = quantized_export.bundle, quantized_export.spec
    assert quantized_export.rejected == {}
    assert spec.passed == {"cpu": ("int8", "fp32"), "openvino": ("int8", "fp32")}
    assert set(spec.parity) == {"fp32", "fp16", "int8", "fp32, openvino", "int8, openvino"}
    assert spec.parity["int8"].embedding_cosine > 0.99999  # as it was itself in training
    assert spec.parity["int8"].probability_difference < 1e-6
    assert 0.9 < spec.parity["int8, openvino"].embedding_cosine < 1
    assert spec.parity["fp32, openvino"].embedding_cosine > 0.99
    assert spec.parity["fp16"].embedding_cosine > 0.9999
    sizes = {name: (bundle / graph.file).stat().st_size for name, graph in spec.graphs.items()}
    assert sizes["int8"] < 0.6 * sizes["fp16"] < 0.4 * sizes["fp32"]
    assert spec.graphs["fp16"].heads == spec.graphs["fp32"].heads
    assert spec.graphs["fp16"].alternates == spec.graphs["fp32"].alternates
    trees = [(bundle / spec.graphs[name].heads[0].file).read_bytes() for name in ("fp32", "int8")]
    assert trees[0] != trees[1]
    answers = {}
    for precision in spec.graphs:
        recommender = Recommender.load(bundle, threads=1, precision=precision, device="cpu")
        recommender.warm_up()  # its smoke request is answered as at export
        with own_threads(recommender.stages):
            answers[precision] = recommender.recommend(image, "open_rate", EXAMPLE)
        assert answers[precision].engine.startswith(precision)
        index = np.load(bundle / spec.graphs[precision].alternates.features)
        known = recommender.alternates.embedding.features
        assert np.array_equal(index, known)
    probabilities = {name: answer.probability for name, answer in answers.items()}
    assert probabilities["fp16"] == pytest.approx(probabilities["fp32"], abs=1e-3)
    assert probabilities["int8"] != probabilities["fp32"]


@pytest.mark.slow
def test_auto_takes_the_quickest_way_and_remembers_it(quantized_export, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(graphs, "TIMING_S", 10.0)  # other tests may have the cores
    fastest = Recommender.load(quantized_export.bundle, threads=1)
    timed = {name.split(" (")[0] for name in fastest.graph.timings_ms}  # without its arithmetic
    assert timed == {f"{p} on {e}" for p in ("int8", "fp32") for e in ("onnxruntime", "OpenVINO")}
    least = min(fastest.graph.timings_ms.values())
    assert fastest.graph.timings_ms[fastest.engine] <= graphs.ALIKE_IF_DISTURBED * least + 0.01
    fastest.warm_up()
    again = Recommender.load(quantized_export.bundle, threads=1)
    assert (again.engine, again.graph.timings_ms) == (fastest.engine, {})


@pytest.mark.slow
def test_a_graph_that_training_found_worse_is_used_by_name_only(quantized, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "HALF", parity.Tolerance(1.0, 0.0, 0.0, 0.0))
    run = shutil.copytree(quantized, tmp_path / "run")
    graphs = json.loads((run / "run.json").read_text())["graphs"]
    graphs["int8"]["shortfalls"] = ["log loss 0.2 higher"]
    edit(run, graphs=graphs)
    options = ExportOptions("tiny", fp16=True, devices=("cpu",))
    made = build(load_run(run), tmp_path / "dist", options)
    assert made.spec.passed == {"cpu": ("fp32",)}
    assert set(made.rejected) == {"int8", "fp16"}
    assert made.rejected["int8"] == (
        "training found it worse than fp32: log loss 0.2 higher. onnxruntime uses it only if "
        "AUGRANK_PRECISION=int8 is set."
    )
    assert set(made.spec.graphs) == {"fp32", "int8"}  # a GPU would use fp16 by default
    assert not (made.bundle / "backbone-fp16.onnx").exists()
    assert Recommender.load(made.bundle, threads=1).precision == "fp32"
    assert Recommender.load(made.bundle, threads=1, precision="int8").precision == "int8"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["heads of fp32", "another graph"])
def test_a_fault_in_the_int8_graph_or_its_heads_makes_export_refuse(
    quantized, tmp_path, monkeypatch, fault
):
    run = shutil.copytree(quantized, tmp_path / "run")
    if fault == "another graph":
        perturb_scales(run / "graphs" / "int8.onnx")
    else:

        def copy(run, heads, bundle):
            copy_heads(run, heads, bundle)
            if (bundle / "heads" / "int8").is_dir():
                changed(
                    bundle / "heads" / "int8" / "open_rate.npz",
                    effects=lambda old: replace(old, intercept=old.intercept + 0.5),
                )

        monkeypatch.setattr("export.tasks.recommend.copy_heads", copy)
    options = ExportOptions("tiny", devices=("cpu",))
    with pytest.raises(ParityError, match=r"int8 does not answer as the run.*--no-int8 leaves"):
        build(load_run(run), tmp_path / "dist", options)
    monkeypatch.undo()
    assert list((tmp_path / "dist").iterdir()) == []
    left = build(load_run(run), tmp_path / "dist", replace(options, int8=False))
    assert set(left.spec.graphs) == {"fp32"}
    assert not (left.bundle / "heads" / "int8").exists()


def perturb_scales(graph) -> None:
    """Change the scales of an int8 graph's activations a little, as another calibration would."""
    model, rng = onnx.load(graph), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.ndim == 0 and values.dtype == np.float32:
            values = (values * rng.uniform(0.7, 1.3)).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, graph)


def test_an_image_that_changed_since_training_is_refused(tiny_run, copied, tmp_path):
    images = shutil.copytree(tiny_run.images, tmp_path / "moved")
    (images / "image_004.png").write_bytes((images / "image_005.png").read_bytes())
    with pytest.raises(DataError, match=r"image_004.png has changed since training"):
        build(load_run(copied, images), tmp_path / "dist", plain_options("tiny"))
    (images / "image_004.png").unlink()
    with pytest.raises(DataError, match="--images"):
        build(load_run(copied, images), tmp_path / "dist", plain_options("tiny"))


def test_names_are_checked_before_any_work(tiny_run, tmp_path):
    with pytest.raises(DataError, match="Give one with --name"):
        build(load_run(tiny_run.run), tmp_path / "dist", plain_options("my run"))
    assert not (tmp_path / "dist").exists()


def test_a_run_without_heads_is_refused(copied, tmp_path):
    edit(copied, graphs={}, targets=[])
    with pytest.raises(DataError, match="a backbone alone"):
        build(load_run(copied), tmp_path / "dist", plain_options("tiny"))
