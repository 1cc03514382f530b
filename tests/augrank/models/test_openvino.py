"""OpenVINO as a bundle's engine: equal answers, and chosen only if export compared them."""

import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from augrank.bundle.graphs import open_graph
from augrank.bundle.spec import Bundle
from augrank.cli.app import app
from augrank.errors import BundleError
from augrank.models.backbone import MAX_BATCH, Backbone
from augrank.models.context import ContextEncoder
from augrank.models.engines import OPENVINO, OpenVinoEngine
from augrank.tasks.recommend.pipeline import Recommender
from tests.support.patience import PATIENCE_S


@pytest.fixture(scope="module")
def batch(tiny_export):
    side = tiny_export.spec.image_size
    return np.random.default_rng(0).normal(size=(MAX_BATCH + 2, 3, side, side)).astype("f4")


@pytest.fixture(scope="module")
def graph(tiny_export):
    return tiny_export.bundle / tiny_export.spec.graphs["fp32"].file


def test_it_embeds_as_onnxruntime_does_from_several_threads(graph, batch):
    ours = Backbone(graph, threads=2, device="openvino")
    assert ours.provider == OPENVINO
    want = Backbone(graph, threads=2, device="cpu").embed(batch)
    assert (ours.feature_width, ours.augmentation_count) == (512, want.logits.shape[1])
    for part in (batch, batch[:1], batch[:6]):  # any number of images
        got = ours.embed(part).features
        scale = np.abs(want.features).max()
        np.testing.assert_allclose(got, want.features[: len(part)], atol=0.05 * scale)
    alone = [ours.embed(batch[row : row + 1]).features for row in range(16)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda row: ours.embed(batch[row : row + 1]).features, range(16)))
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_that_share_it_get_the_same_answers(graph, batch, threads):
    shared = Backbone(graph, threads=threads, device="openvino")
    parts = [batch[row : row + 6] for row in range(0, 96, 6)]
    alone = [shared.embed(part).features for part in parts]
    shared.share(2)
    shared.share(2)  # is nothing new
    with ThreadPoolExecutor(4) as pool:  # more than share it
        together = list(pool.map(lambda part: shared.embed(part).features, parts))
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(shared.embed(parts[0]).features, alone[0])


class Meeting:
    """Takes the place of a run of the graph: nobody goes on before two are there."""

    def __init__(self, callers: int) -> None:
        self.inside, self.most, self.together = 0, 0, threading.Barrier(callers)
        self._infer, self._lock = OpenVinoEngine._infer, threading.Lock()

    def __call__(self, request, images):
        with self._lock:
            self.inside, self.most = self.inside + 1, max(self.most, self.inside + 1)
        self.together.wait(PATIENCE_S)
        found = self._infer(request, images)
        with self._lock:
            self.inside -= 1
        return found


def test_as_many_as_share_it_run_at_once(graph, batch, monkeypatch):
    shared = Backbone(graph, threads=2, device="openvino")
    shared.share(2)
    meeting = Meeting(2)
    monkeypatch.setattr(OpenVinoEngine, "_infer", staticmethod(meeting))
    with ThreadPoolExecutor(6) as pool:
        runs = [pool.submit(shared.embed, batch[:6]) for _ in range(12)]
        assert len({each.result(PATIENCE_S).features.tobytes() for each in runs}) == 1
    assert meeting.most == 2


@pytest.mark.parametrize("others", [0, 1])
def test_a_run_that_fails_leaves_room_for_the_next(graph, batch, others):
    """With all threads, or, beside another one, with some."""
    shared = Backbone(graph, threads=2, device="openvino")
    shared.share(2)
    engine = shared._engine
    engine._running = others
    for _ in range(3):
        with pytest.raises(RuntimeError):
            shared.embed(batch[:6, :2])
        assert (engine._running, engine._with_some.qsize()) == (others, 2)
    assert shared.embed(batch[:6]).features.shape == (6, 512)


def test_a_bundle_that_was_not_compared_is_served_with_a_warning(tiny_export, caplog):
    bundle = Bundle(tiny_export.bundle, tiny_export.spec, "0" * 64)
    with caplog.at_level(logging.WARNING):
        found = open_graph(bundle, None, threads=1, device="openvino", spin=False)
    assert (found.precision, found.backbone.provider) == ("fp32", OPENVINO)
    assert "exported where openvino was not installed" in caplog.text
    caplog.clear()
    passed = {"cpu": ("int8",), "openvino": ("fp32",)}
    compared = replace(bundle, spec=tiny_export.spec.model_copy(update={"passed": passed}))
    found = open_graph(compared, None, threads=1, device="openvino", spin=False)
    assert found.precision == "fp32"
    assert not caplog.text


def test_missing_openvino_is_reported_with_a_remedy(graph, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(BundleError, match=r"augrank\[openvino\]"):
        Backbone(graph, threads=1, device="openvino")


def test_what_is_no_graph_is_refused(tmp_path):
    (tmp_path / "backbone.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"backbone.onnx cannot be loaded"):
        Backbone(tmp_path / "backbone.onnx", threads=1, device="openvino")


def test_the_command_answers_with_it(tiny_export, tiny_run, image):
    target = tiny_export.spec.heads[0].target.name
    context = ContextEncoder(tiny_export.spec.context).example()
    given = [word for name, value in context.items() for word in ("--context", f"{name}={value}")]
    result = CliRunner().invoke(
        app,
        ["recommend", str(tiny_export.bundle), str(tiny_run.images / "image_004.png"),
         "--target", target, "--device", "openvino", *given],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    want = Recommender.load(tiny_export.bundle, device="cpu").recommend(image, target, context)
    assert f"the image as it is has {want.probability:.1%}" in result.output


def test_the_stack_for_signals_stays_the_threads_own(graph):
    """OpenVINO leaves one behind that it frees later: the next signal would end the process."""
    script = (
        "import ctypes, sys\n"
        "from pathlib import Path\n"
        "from augrank.models.backbone import Backbone\n"
        "from augrank.models.engines import _SignalStack\n"
        "Backbone(Path(sys.argv[1]), threads=1, device='openvino')\n"
        "now = _SignalStack()\n"
        "ctypes.CDLL(None).sigaltstack(None, ctypes.byref(now))\n"
        "print(now.flags)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(graph)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr  # 2: there is none
