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
from tests.support.tiny_run import MEAN, TARGETS

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


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("heads/open_rate.ubj", "missing"),
        ("heads/open_rate.ubj", "cut"),
        ("heads/open_rate.npz", "missing"),
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


@pytest.mark.usefixtures("exported")
def test_a_wrong_normalisation_constant_makes_export_refuse(copied, tmp_path):
    content = json.loads((copied / "run.json").read_text())
    edit(copied, mean=[value - 0.3 for value in content["mean"]])
    with pytest.raises(ParityError, match="embedding_cosine"):
        build(load_run(copied), tmp_path / "dist", plain_options("tiny"))
    assert list((tmp_path / "dist").iterdir()) == []


@pytest.mark.usefixtures("exported")
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


@pytest.mark.usefixtures("exported")
def test_another_calibration_makes_export_refuse(copied, tmp_path, monkeypatch):
    """The gate compares probabilities too: this fault does not change the embeddings."""
    heads = json.loads((copied / "run.json").read_text())["heads"]
    platt = {"kind": "platt", "scale": 1.0, "shift": 3.0}
    spoiled = [{**head, "calibration": platt} for head in heads]
    run = load_run(copied)
    expected = gate.reference_answers(
        run, run.reference(), gate.held_out_requests(run, run.reference())
    )
    monkeypatch.setattr(gate, "reference_answers", lambda *_: expected)
    edit(copied, heads=spoiled)
    with pytest.raises(ParityError, match="probability_difference"):
        build(load_run(copied), tmp_path / "dist", plain_options("tiny"))


def spoil(monkeypatch, change) -> None:
    """Make exports change the heads' folder of the bundle, and not that of the run."""

    def copy(run, heads, bundle):
        copy_heads(run, heads, bundle)
        change(bundle / "heads")

    monkeypatch.setattr("export.tasks.recommend.copy_heads", copy)


def changed(file, **changes) -> None:
    """Replace fields of a posterior; their new values are functions of the old ones."""
    posterior = Posterior.load(file)
    values = {name: value(getattr(posterior, name)) for name, value in changes.items()}
    replace(posterior, **values).save(file)


@pytest.mark.slow
@pytest.mark.usefixtures("exported")
def test_the_posterior_of_another_target_makes_export_refuse(copied, tmp_path, monkeypatch):
    """Embeddings, trees and checksums are right."""
    higher = {"effects": lambda old: replace(old, intercept=old.intercept + 0.5)}
    changed(copied / "heads" / "unsubscribe_rate.npz", **higher)
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


@pytest.mark.usefixtures("exported")
def test_a_posterior_that_is_too_certain_makes_export_refuse(tiny_run, tmp_path, monkeypatch):
    """Its probabilities and verdicts are right, its intervals are too narrow."""
    spoil(
        monkeypatch,
        lambda heads: changed(heads / "open_rate.npz", deviation=lambda old: 0 * old),
    )
    with pytest.raises(ParityError, match=r"got probability_difference [^;]*Nothing"):
        build(load_run(tiny_run.run), tmp_path / "dist", plain_options("tiny"))


@pytest.mark.slow
@pytest.mark.usefixtures("exported")
def test_a_catalogue_in_another_order_makes_export_refuse(copied, tmp_path, monkeypatch):
    """Embeddings, and the answers about images that nobody knows, are right."""

    def apart(known: ImageEffects) -> ImageEffects:
        mean = np.linspace(-2, 2, len(known), dtype=np.float32)
        return replace(known, mean=mean, deviation=np.full_like(mean, 0.1))

    for name in TARGETS:
        changed(copied / "heads" / f"{name}.npz", catalogue=apart)
    run = load_run(copied)
    assert build(run, tmp_path / "right", plain_options("tiny")).rejected == {}

    def reverse(heads) -> None:
        for name in TARGETS:
            changed(heads / f"{name}.npz", catalogue=lambda old: old[np.arange(len(old))[::-1]])

    spoil(monkeypatch, reverse)
    with pytest.raises(ParityError, match="does not know the catalogue"):
        build(run, tmp_path / "wrong", plain_options("tiny"))
    assert list((tmp_path / "wrong").iterdir()) == []


@pytest.mark.usefixtures("exported")
def test_a_damaged_posterior_makes_export_refuse(tiny_run, tmp_path, monkeypatch):
    def truncate(heads) -> None:
        file = heads / "open_rate.npz"
        file.write_bytes(file.read_bytes()[:-100])

    spoil(monkeypatch, truncate)
    with pytest.raises(DataError, match=r"handler failed(.|\n)*(not a zip file|cannot be read)"):
        build(load_run(tiny_run.run), tmp_path / "dist", plain_options("tiny"))
    assert list((tmp_path / "dist").iterdir()) == []


@pytest.mark.usefixtures("exported")
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


def test_a_perturbed_graph_makes_export_refuse(tiny_run, tiny_export, tmp_path, monkeypatch):
    def perturb(_network, _size, file) -> None:
        graph = onnx.load(tiny_export.bundle / "backbone-fp32.onnx")
        rng = np.random.default_rng(0)
        for tensor in graph.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.ndim == 4:
                noise = 0.05 * values.std() * rng.standard_normal(values.shape)
                values = values + noise.astype(values.dtype)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        onnx.save(graph, file)

    monkeypatch.setattr("export.tasks.recommend.write_fp32", perturb)
    with pytest.raises(ParityError, match="embedding_cosine"):
        build(load_run(tiny_run.run), tmp_path / "dist", plain_options("tiny"))


@pytest.mark.slow
@pytest.mark.usefixtures("exported")
def test_int8_and_fp16_are_used_only_where_they_pass(tiny_run, tmp_path, monkeypatch):
    loose = parity.Tolerance(0.5, 1.0, 1.0, 1.0)
    strict = parity.Tolerance(1.0, 0.0, 0.0, 0.0)
    run = load_run(tiny_run.run)
    monkeypatch.setitem(parity.TOLERANCES, "int8", loose)
    monkeypatch.setattr(parity, "BFLOAT16", loose)
    made = build(run, tmp_path / "loose", ExportOptions("tiny", fp16=True))
    assert made.spec.passed == {"cpu": ("int8", "fp32"), "openvino": ("int8", "fp32")}
    assert made.rejected == {}
    assert set(made.spec.parity) == {"fp32", "fp16", "int8", "fp32, openvino", "int8, openvino"}
    assert made.spec.parity["fp32, openvino"].embedding_cosine > 0.99
    assert made.spec.parity["fp16"].embedding_cosine > 0.9999
    sizes = {p: (made.bundle / f).stat().st_size for p, f in made.spec.graphs.items()}
    assert sizes["int8"] < 0.6 * sizes["fp16"] < 0.4 * sizes["fp32"]
    assert Recommender.load(made.bundle, threads=1, precision="fp16").precision == "fp16"
    assert 0.9 < made.spec.parity["int8"].embedding_cosine < 1
    assert Recommender.load(made.bundle, threads=1, device="cpu").precision == "int8"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    fastest = Recommender.load(made.bundle, threads=1)
    timed = {name.split(" (")[0] for name in fastest.graph.timings_ms}  # without its arithmetic
    assert timed == {f"{p} on {e}" for p in ("int8", "fp32") for e in ("onnxruntime", "OpenVINO")}
    assert fastest.graph.timings_ms[fastest.engine] == min(fastest.graph.timings_ms.values())
    fastest.warm_up()
    again = Recommender.load(made.bundle, threads=1)
    assert (again.engine, again.graph.timings_ms) == (fastest.engine, {})
    for name in ("int8", "fp16"):
        monkeypatch.setitem(parity.TOLERANCES, name, strict)
        kept = made.bundle / made.spec.graphs[name]  # the same again
        monkeypatch.setattr(
            f"export.tasks.recommend.write_{name}",
            lambda _fp32, file, *_, kept=kept: shutil.copyfile(kept, file),
        )
    made = build(run, tmp_path / "strict", ExportOptions("tiny", fp16=True, devices=("cpu",)))
    assert made.spec.passed == {"cpu": ("fp32",)}
    assert set(made.rejected) == {"int8", "fp16"}
    assert set(made.spec.graphs) == {"fp32", "int8"}  # a GPU would use fp16 by default
    assert not (made.bundle / "backbone-fp16.onnx").exists()
    assert Recommender.load(made.bundle, threads=1, precision="int8").precision == "int8"


@pytest.mark.usefixtures("exported")
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
    edit(copied, heads=[])
    with pytest.raises(DataError, match="a backbone alone"):
        build(load_run(copied), tmp_path / "dist", plain_options("tiny"))
