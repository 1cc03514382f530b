"""Cores, errors, settings, targets, heads, layout, the public names, and the wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

import augrank
from augrank.errors import AugrankError, BadRequest, BundleError, ServerError, one_of
from augrank.models.head import Calibration, Head, assemble, augmentation_probs
from augrank.models.targets import TARGETS, resolve_target
from augrank.resources import threads_per_worker, usable_cores
from augrank.runtime.settings import WorkerSettings
from augrank.serving.model_folder import ModelConfig

ROOT = Path(__file__).parents[2]


def test_public_names_are_pinned():
    assert augrank.__all__ == ["Answer", "AugrankError", "Recommender", "__version__"]
    for name in augrank.__all__:
        assert getattr(augrank, name)


def test_importing_augrank_needs_no_torch_and_loads_nothing_heavy():
    code = (
        "import sys, augrank, augrank.tasks.recommend.pipeline, augrank.tasks.recommend.request; "
        "print([m for m in ('torch', 'albumentations', 'ts', 'sagemaker') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_wheel_holds_augrank_alone(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"augrank", "augrank-0.1.0.dist-info"}
    assert "augrank/_handlers/recommend_handler.py" in names
    assert "augrank/py.typed" in names
    metadata = zipfile.ZipFile(wheel).read("augrank-0.1.0.dist-info/METADATA").decode()
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert not [line for line in needed if "torch" in line and "extra" not in line]


def test_cores_follow_the_containers_quota(tmp_path):
    quota = tmp_path / "cpu.max"
    quota.write_text("50000 100000")
    assert usable_cores(quota) == 1
    quota.write_text("max 100000")
    assert usable_cores(quota) == usable_cores(tmp_path / "none") >= 1
    assert threads_per_worker(2, cores=8) == 4
    assert threads_per_worker(3, cores=2) == 1


def test_errors_say_expected_got_remedy_and_carry_their_status():
    error = BadRequest("it broke", expected="a", got="b", remedy="Do c.")
    assert str(error) == "it broke: expected a, got b. Do c."
    assert error.to_dict() == {
        "error": {"code": "bad_request", "status": 400, "message": str(error), "expected": "a",
                  "got": "b", "remedy": "Do c."}
    }  # fmt: skip
    assert str(AugrankError("it broke")) == "it broke"
    assert one_of(["open_rate", "bounce_rate"], "Open-Rate").endswith("(did you mean open_rate?)")


def test_every_standard_target_has_a_direction():
    assert len(TARGETS) == 9
    assert resolve_target("bounce_rate").direction == "minimize"
    assert resolve_target("my_own").direction == "maximize"
    assert resolve_target("my_own", {"my_own": "minimize"}).direction == "minimize"


def test_settings_refuse_what_does_not_fit(monkeypatch):
    monkeypatch.setenv("AUGRANK_THREADS", "3")
    monkeypatch.setenv("AUGRANK_PRECISION", "")
    assert WorkerSettings.from_environment() == WorkerSettings(threads=3)
    monkeypatch.setenv("AUGRANK_PRECISION", "int9")
    with pytest.raises(ServerError, match=r"did you mean int8\?"):
        WorkerSettings.from_environment()
    monkeypatch.setenv("AUGRANK_THREADS", "-1")
    with pytest.raises(ServerError, match="AUGRANK_THREADS"):
        WorkerSettings.from_environment()


def test_calibration_is_a_logistic_curve():
    curve = Calibration(scale=2.0, shift=-1.0)
    assert curve(np.array([0.5, 1e4])) == pytest.approx([0.5, 1.0])
    assert Calibration()(np.zeros(1))[0] == 0.5


def test_assemble_lays_parts_in_order_and_repeats_one_context():
    logits = np.log(np.array([[0.26, 0.74], [0.9999, 0.0001]], np.float32))
    features = np.full((2, 2), 2.1, np.float32)
    rows = assemble(
        ("context", "augmentation_probs", "features"),
        logits=logits,
        features=features,
        context=np.array([7], np.float32),
        feature_step=0.5,
    )
    np.testing.assert_allclose(rows, [[7, 0.25, 0.75, 2, 2], [7, 1, 0, 2, 2]])


def test_augmentation_probs_are_blind_to_small_noise():
    rng = np.random.default_rng(0)
    logits = np.array([[9.0, 0.0, 1.0], [0.0, 0.62, -9.0]], np.float32)
    shares = augmentation_probs(logits)
    assert shares[0].tolist() == [1, 0, 0]
    np.testing.assert_allclose(shares[1], [0.35, 0.65, 0], atol=1e-6)
    noisy = logits + rng.normal(scale=0.01, size=(100, *logits.shape)).astype(np.float32)
    assert all((augmentation_probs(each) == shares).all() for each in noisy)
    assert np.isfinite(augmentation_probs(np.array([[1e4, -1e4]], np.float32))).all()


def test_a_head_that_does_not_fit_is_refused(tiny_export):
    spec = tiny_export.spec.heads[0]
    with pytest.raises(BundleError, match="expected 3 inputs, got 522"):
        Head.load(spec.model_copy(update={"width": 3}), tiny_export.bundle)
    with pytest.raises(BundleError, match="cannot be read"):
        Head.load(spec.model_copy(update={"file": "bundle.json"}), tiny_export.bundle)


def test_model_config_is_torchserves():
    content = yaml.safe_load(ModelConfig(minWorkers=2, maxWorkers=2).to_yaml())
    assert content["minWorkers"] == 2
    assert content["batchSize"] == 1
