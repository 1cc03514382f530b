import hashlib
import json
import shutil
import sys

import numpy as np
import pytest

import augrank.bundle
from augrank import Recommender
from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle, open_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.bundle.smoke import SmokeRequest
from augrank.bundle.spec import SEAL, SMOKE_FILE, BundleSpec, GraphSpec, seal
from augrank.errors import BundleError


@pytest.fixture
def bundle(tiny_export, tmp_path):
    return shutil.copytree(tiny_export.bundle, tmp_path / "bundle")


def edit(bundle, **changes) -> None:
    content = json.loads((bundle / "bundle.json").read_text())
    content.update(changes)
    content[SEAL] = seal(content)  # as if it had been exported so
    (bundle / "bundle.json").write_text(json.dumps(content))


def test_a_bundle_says_what_it_is(bundle):
    loaded = load_bundle(bundle)
    assert loaded.spec.task == "recommend"
    assert loaded.spec.name == "tiny"
    assert loaded.version == f"1.0+{loaded.digest[:12]}"
    assert loaded.spec.parity["fp32"].regret == 0
    assert loaded.spec.parity["fp32"].verdict_changes == 0
    assert set(loaded.spec.files) == {
        f.relative_to(bundle).as_posix() for f in bundle.rglob("*") if f.is_file()
    } - {"bundle.json"}


def test_the_archive_holds_the_same_bundle(bundle, tiny_export):
    with open_bundle(tiny_export.archive, RecommendSpec) as inside:
        assert inside.digest == load_bundle(bundle).digest


@pytest.mark.parametrize(
    "change", [{"mean": [0.4, 0.4, 0.4]}, {"image_size": 96}, {"sha256": 3}, {"sha256": "0" * 64}]
)
def test_an_edited_bundle_json_is_refused(bundle, change):
    content = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(BundleError, match=r"bundle\.json is not the file that was exported"):
        load_bundle(bundle)
    del content["sha256"]
    (bundle / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="written by another version"):
        load_bundle(bundle)


def edit_smoke(bundle, **changes) -> None:
    """Change the answer of the fp32 graph."""
    content = json.loads((bundle / SMOKE_FILE).read_text())
    content["answers"]["fp32"].update(changes)
    (bundle / SMOKE_FILE).write_text(json.dumps(content))
    files = json.loads((bundle / "bundle.json").read_text())["files"]
    digest = hashlib.sha256((bundle / SMOKE_FILE).read_bytes()).hexdigest()
    edit(bundle, files={**files, SMOKE_FILE: digest})


def test_a_bundle_answers_its_smoke_request_as_at_export(bundle):
    recommender = Recommender.load(bundle)
    assert recommender.check_smoke_request() < 1e-6
    recommender.warm_up()


@pytest.mark.parametrize(
    "change",
    [{"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}, {"mean": [0.45, 0.45, 0.45]}],
)
def test_a_bundle_whose_images_look_otherwise_is_not_ready(bundle, change):
    """Also where no head asks for the features: every file is right, and the answer may be too."""
    edit(bundle, **change)
    other = Recommender.load(bundle)
    with pytest.raises(BundleError, match=r"does not answer its smoke.*features.*Install what it"):
        other.warm_up()


def test_a_bundle_that_answers_otherwise_is_not_ready(bundle):
    """As after an update of a library."""
    smoke = SmokeRequest.load(bundle).answers["fp32"]
    edit_smoke(bundle, probabilities={name: p + 0.1 for name, p in smoke.probabilities.items()})
    with pytest.raises(BundleError, match="does not answer its smoke request"):
        Recommender.load(bundle).warm_up()
    wrong = next(name for name in smoke.probabilities if name != smoke.best_candidate)
    edit_smoke(bundle, probabilities=smoke.probabilities, best_candidate=wrong)
    with pytest.raises(BundleError, match=f"expected the choice {wrong}"):
        Recommender.load(bundle).warm_up()


def test_another_image_size_than_the_graphs_is_named(bundle):
    edit(bundle, image_size=96)
    with pytest.raises(BundleError, match=r"the graph's image does not fit.*\(96,\).*\(48,\)"):
        Recommender.load(bundle)


def test_no_pickle_anywhere(bundle):
    suffixes = {f.suffix for f in bundle.rglob("*") if f.is_file()}
    assert suffixes == {".json", ".onnx", ".ubj", ".npy", ".npz", ".zip", ".md"}
    for file in (*bundle.rglob("*.npy"), *bundle.rglob("*.npz")):
        np.load(file, allow_pickle=False)


@pytest.mark.parametrize(
    "name", ["heads/fp32/open_rate.ubj", "heads/fp32/open_rate.trees.npz", "backbone-fp32.onnx"]
)
def test_a_changed_or_missing_file_is_refused(bundle, name):
    with (bundle / name).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match=f"{name} is not the file that was exported"):
        load_bundle(bundle)
    (bundle / name).unlink()
    with pytest.raises(BundleError, match="no such file"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 1}, "another version of augrank"),
        ({"task": "segment"}, "expected task one of classify, recommend, got 'segment'. Use"),
        ({"task": None}, "a task that this version does not know"),
        ({"augmentation_hash": "0" * 64}, "not the one that was trained"),
        ({"library_versions": {"albumentations": "1.4.0"}}, "pip install 'albumentations==1.4.0'"),
        ({"files": {"../evil": "0" * 64}}, "leaves the bundle"),
        ({"files": {}}, "lists no sha256"),
        ({"image_size": "big"}, "at image_size"),
        ({"surprise": 1}, "at surprise"),
        ({"alternates": {"count": 24, "attributes": "../a.json"}}, "lists no sha256"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_remedy(bundle, changes, message):
    edit(bundle, **changes)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle)


@pytest.mark.parametrize("width", [511, 513])
def test_widths_must_fit_the_graph(bundle, width):
    edit(bundle, feature_width=width)
    with pytest.raises(BundleError, match=r"the graph does not fit bundle.json"):
        Recommender.load(bundle, threads=1)


def test_the_error_of_a_folder_without_a_bundle_says_how_to_make_one(tmp_path):
    with pytest.raises(BundleError, match="python -m export build"):
        load_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text("[]")
    with pytest.raises(BundleError, match="is damaged: expected a JSON object, got list"):
        load_bundle(tmp_path)


def test_another_task_adds_a_file(bundle, tmp_path, monkeypatch):
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "segment_spec.py").write_text(
        "from typing import Literal\n"
        "from augrank.bundle.spec import BundleSpec\n"
        "class SegmentSpec(BundleSpec, frozen=True):\n"
        "    task: Literal['segment'] = 'segment'\n"
        "    labels: tuple[str, ...]\n"
    )
    monkeypatch.setattr(augrank.bundle, "__path__", [*augrank.bundle.__path__, str(folder)])
    content = json.loads((bundle / "bundle.json").read_text())
    common = {name: content[name] for name in BundleSpec.model_fields}
    graphs = common["graphs"].items()
    common["graphs"] = {
        precision: {name: graph[name] for name in GraphSpec.model_fields}
        for precision, graph in graphs
    }
    (bundle / "bundle.json").write_text(json.dumps(common))
    edit(bundle, task="segment", labels=["package"])
    assert load_bundle(bundle).spec.labels == ("package",)
    with pytest.raises(BundleError, match="expected task 'recommend', got task 'segment'"):
        load_bundle(bundle, RecommendSpec)
    sys.modules.pop("augrank.bundle.segment_spec")


def test_what_is_no_bundle_or_one_of_another_task_is_named(tiny_export, tmp_path):
    (text := tmp_path / "notes.txt").write_text("not a bundle")
    for path, got in (
        (text, "a file that is no .mar archive"),
        (tmp_path, "a directory without bundle.json"),
        (tmp_path / "gone", "nothing at this path"),
    ):
        with pytest.raises(BundleError, match=f"is not a bundle.*got {got}"):
            load_bundle(path)
    with pytest.raises(BundleError, match="expected task 'classify', got task 'recommend'"):
        load_bundle(tiny_export.bundle, ClassifySpec)
