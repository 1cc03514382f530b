"""The quickest way of a bundle on this machine: chosen by timing, remembered, logged."""

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from augrank.bundle import graphs
from augrank.bundle.graphs import OpenGraph, Way, open_graph, possible_ways
from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.bundle.smoke import SmokeRequest
from augrank.bundle.spec import SMOKE_FILE
from augrank.errors import BundleError
from augrank.models.backbone import Embedding
from augrank.models.engines import CPU, OPENVINO

ALL = {"cpu": ("int8", "fp32"), "openvino": ("int8", "fp32")}
SPEED_MS = {  # of the machine that is pretended
    ("fp32", "cpu"): 12,
    ("int8", "cpu"): 4,
    ("fp32", "openvino"): 6,
    ("int8", "openvino"): 2,
}


class PretendedBackbone:
    """Takes as long as its way would, on a clock of its own."""

    opened: list[Way]
    calls: dict[Way, int]
    clock_s: float
    disturbed: Callable[[Way, int], bool]  # by the number of the call: others have the cores

    def __init__(self, graph, *, threads, device, spin):
        self.way = Way("int8" if "int8" in graph.name else "fp32", device)
        self.provider = OPENVINO if device == "openvino" else CPU
        self.arithmetic = "bf16" if device == "openvino" else ""
        self.opened.append(self.way)

    def embed(self, batch):
        assert batch.shape[0] == graphs.TIMING_ROWS
        self.take_time()
        self.calls[self.way] = self.calls.get(self.way, 0) + 1
        return Embedding(np.zeros((6, 1), np.float32), np.zeros((6, 1), np.float32))

    def take_time(self):
        usual = SPEED_MS[self.way.precision, self.way.device] / 1e3
        disturbed = self.disturbed(self.way, self.calls.get(self.way, 0))
        PretendedBackbone.clock_s += 5 * usual if disturbed else usual


@pytest.fixture
def bundle(tiny_export, monkeypatch, tmp_path):
    """A bundle of two graphs that passed on both devices, on a machine without a GPU."""
    monkeypatch.setattr(graphs, "uses_accelerator", lambda device: False)
    monkeypatch.setattr(graphs, "Backbone", PretendedBackbone)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    PretendedBackbone.opened, PretendedBackbone.calls, PretendedBackbone.clock_s = [], {}, 0.0
    PretendedBackbone.disturbed = lambda self, way, call: False
    clock = SimpleNamespace(perf_counter=lambda: PretendedBackbone.clock_s)
    monkeypatch.setattr(graphs, "time", clock)
    found = load_bundle(tiny_export.bundle, RecommendSpec)
    fp32 = found.spec.graphs["fp32"]
    made = {"fp32": fp32, "int8": fp32.model_copy(update={"file": "backbone-int8.onnx"})}
    return replace(
        found, spec=found.spec.model_copy(update={"passed": ALL, "graphs": made, "files": {}})
    )


def opened(bundle, precision=None, device="auto", threads=1) -> OpenGraph:
    return open_graph(bundle, precision, threads=threads, device=device, spin=False)


def test_the_quickest_is_taken_and_all_are_said_in_one_line(bundle, caplog):
    with caplog.at_level(logging.INFO, "augrank.bundle.graphs"):
        found = opened(bundle)
    assert found.engine == "int8 on OpenVINO (bf16)"
    assert dict(found.timings_ms) == pytest.approx({
        "int8 on OpenVINO (bf16)": 2, "fp32 on OpenVINO (bf16)": 6, "int8 on onnxruntime": 4,
        "fp32 on onnxruntime": 12,
    })  # fmt: skip
    (line,) = caplog.messages
    assert line == (
        "tiny: int8 on OpenVINO (bf16): 2.0 ms for 6 images (int8 on onnxruntime 4.0, "
        "fp32 on OpenVINO (bf16) 6.0, fp32 on onnxruntime 12.0)"
    )


def test_hopeless_ways_are_not_timed_again(bundle):
    opened(bundle)
    calls = PretendedBackbone.calls
    assert calls[Way("int8", "openvino")] == 1 + graphs.ROUNDS
    assert calls[Way("fp32", "cpu")] == 1 + graphs.LEAST


def others_take_the_cores(monkeypatch, disturbed):
    monkeypatch.setattr(
        PretendedBackbone, "disturbed", lambda self, way, call: disturbed(way, call)
    )


def forward_clock(monkeypatch, seconds):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)


def test_a_disturbed_way_counts_by_its_quickest_round(bundle, monkeypatch, caplog):
    def disturbed(way, call):  # the median of int8 on OpenVINO is 10 ms, that of onnxruntime 4
        return way == Way("int8", "openvino") and call % 3 != 0

    others_take_the_cores(monkeypatch, disturbed)
    with caplog.at_level(logging.INFO, "augrank.bundle.graphs"):
        found = opened(bundle)
    assert found.way == Way("int8", "openvino")
    assert found.timings_ms["int8 on OpenVINO (bf16)"] == pytest.approx(2)
    assert PretendedBackbone.clock_s == pytest.approx(graphs.TIMING_S, abs=0.02)  # all there is
    assert "others used the cores: a start after 10 minutes times again" in caplog.text


def test_a_way_whose_first_round_is_disturbed_is_timed_again(bundle, monkeypatch):
    likely = Way("int8", "openvino")
    others_take_the_cores(monkeypatch, lambda way, call: way == likely and call == 1)
    assert opened(bundle).way == likely
    assert opened(bundle).timings_ms == {}


@pytest.mark.parametrize("slow", ["all", "the first"])
def test_a_choice_on_few_rounds_is_not_kept(bundle, monkeypatch, slow):
    ways = SPEED_MS if slow == "all" else [("int8", "openvino")]
    for way in ways:
        monkeypatch.setitem(SPEED_MS, way, 700 if slow == "all" else 3200)
    assert opened(bundle).timings_ms
    forward_clock(monkeypatch, graphs.DISTURBED_S)
    assert opened(bundle).timings_ms


def test_a_choice_among_others_holds_for_some_minutes(bundle, monkeypatch):
    others_take_the_cores(monkeypatch, lambda way, call: call % 4 != 0)
    assert opened(bundle).timings_ms
    assert opened(bundle).timings_ms == {}  # another worker that starts now
    forward_clock(monkeypatch, 9 * 60)
    assert opened(bundle).timings_ms == {}
    forward_clock(monkeypatch, 2 * 60)
    others_take_the_cores(monkeypatch, lambda way, call: False)
    assert opened(bundle).timings_ms
    forward_clock(monkeypatch, 1e9)
    assert opened(bundle).timings_ms == {}  # of a quiet machine, for good


@pytest.mark.parametrize(
    ("openvino_ms", "quiet", "taken"),
    [(4.1, True, "openvino"), (4.3, True, "cpu"), (4.9, False, "openvino"), (5.1, False, "cpu")],
)
def test_of_ways_that_are_alike_the_likely_one_is_taken(
    bundle, monkeypatch, openvino_ms, quiet, taken
):
    """Within 3 %; within 25 % where other processes have the cores."""
    monkeypatch.setitem(SPEED_MS, ("int8", "openvino"), openvino_ms)
    others_take_the_cores(monkeypatch, lambda way, call: not quiet and call % 4 != 0)
    assert opened(bundle).way == Way("int8", taken)


def test_the_time_is_bounded(bundle, monkeypatch):
    monkeypatch.setattr(graphs, "TIMING_S", 0.0)
    assert opened(bundle).engine == "int8 on OpenVINO (bf16)"
    assert PretendedBackbone.calls == {Way("int8", "openvino"): 2}  # likely the quickest
    forward_clock(monkeypatch, graphs.DISTURBED_S)
    assert opened(bundle).timings_ms


def test_a_clock_that_was_set_back_prolongs_nothing(bundle, monkeypatch):
    others_take_the_cores(monkeypatch, lambda way, call: call % 4 != 0)
    assert opened(bundle).timings_ms
    forward_clock(monkeypatch, -1e6)
    assert opened(bundle).timings_ms


def test_a_choice_that_cannot_be_written_is_made_all_the_same(bundle, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    assert opened(bundle).way == opened(bundle).way == Way("int8", "openvino")
    monkeypatch.setattr("fcntl.flock", full)
    assert opened(bundle).timings_ms


def test_the_choice_is_remembered_for_the_same_machine_and_options(bundle, monkeypatch):
    opened(bundle)
    PretendedBackbone.opened.clear()
    again = opened(bundle)
    assert (again.engine, dict(again.timings_ms)) == ("int8 on OpenVINO (bf16)", {})
    assert PretendedBackbone.opened == [Way("int8", "openvino")]
    for change in ("threads", "bundle", "machine", "ways"):
        PretendedBackbone.opened.clear()
        with monkeypatch.context() as patch:
            other, threads = bundle, 1
            if change == "threads":
                threads = 2
            elif change == "bundle":
                other = replace(bundle, digest="0" * 64)
            elif change == "machine":
                patch.setattr(graphs, "processor_name", lambda: "another")
            else:
                fewer = {"cpu": ("int8",), "openvino": ("fp32",)}
                other = replace(bundle, spec=bundle.spec.model_copy(update={"passed": fewer}))
            opened(other, threads=threads)
        assert len(PretendedBackbone.opened) > 1, change


ANOTHER = {"choice": {"precision": "fp16", "device": "cuda"}, "made_at": 0, "holds_s": None}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", json.dumps(ANOTHER["choice"]), json.dumps(ANOTHER)],
)
def test_a_damaged_memory_is_made_again(bundle, tmp_path, content):
    opened(bundle)
    (file,) = tmp_path.rglob("*.json")
    file.write_text(content)
    assert opened(bundle).timings_ms
    assert opened(bundle).timings_ms == {}


def test_somebody_elses_folder_is_not_used(bundle, tmp_path, monkeypatch):
    opened(bundle)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (tmp_path / "augrank-engines-12345").mkdir()
    assert opened(bundle).timings_ms
    assert opened(bundle).timings_ms
    assert list((tmp_path / "augrank-engines-12345").iterdir()) == []


def test_what_is_given_is_not_timed(bundle):
    assert opened(bundle, device="cpu").engine == "int8 on onnxruntime"
    assert opened(bundle, "fp32", "openvino").engine == "fp32 on OpenVINO (bf16)"
    assert PretendedBackbone.calls == {}
    assert opened(bundle, "fp32").engine == "fp32 on OpenVINO (bf16)"  # of two engines


def test_ways_follow_the_machine_and_the_gate(bundle, monkeypatch):
    spec = bundle.spec
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    assert possible_ways(spec, None, "auto") == [Way("int8", "cpu"), Way("fp32", "cpu")]
    refused = spec.model_copy(update={"passed": {"cpu": ("fp32",)}})
    assert possible_ways(refused, None, "auto") == [Way("fp32", "cpu")]
    assert possible_ways(refused, "int8", "auto") == [Way("int8", "cpu")]  # by name
    monkeypatch.setattr(graphs, "uses_accelerator", lambda device: device in ("auto", "cuda"))
    assert possible_ways(refused, None, "auto") == [Way("fp32", "cuda"), Way("fp32", "cpu")]
    assert possible_ways(refused, None, "cuda") == [Way("fp32", "cuda")]


def test_a_way_that_does_not_work_here_is_left_out(bundle, monkeypatch, caplog):
    class Broken(PretendedBackbone):
        def __init__(self, graph, *, device, **options):
            if device == "openvino":
                raise BundleError("it cannot be loaded")
            super().__init__(graph, device=device, **options)

    monkeypatch.setattr(graphs, "Backbone", Broken)
    assert opened(bundle).engine == "int8 on onnxruntime"
    assert "int8 on openvino is left out: it cannot be loaded" in caplog.text
    bundle = replace(
        bundle, spec=bundle.spec.model_copy(update={"passed": {"openvino": ("int8", "fp32")}})
    )
    with pytest.raises(BundleError, match="cannot be loaded"):
        opened(bundle)


def test_a_way_that_embeds_otherwise_than_at_export_is_left_out(
    bundle, tiny_export, monkeypatch, caplog
):
    """As int8 on a processor whose sums overflow: quick, and wrong."""
    smoke = SmokeRequest.load(tiny_export.bundle)
    exact = smoke.answers["fp32"]
    answers = {"fp32": exact, "int8": exact}
    monkeypatch.setattr(graphs.SmokeRequest, "load", lambda _: replace(smoke, answers=answers))
    wrong = {Way("int8", "openvino"), Way("fp32", "cpu")}

    def embed(backbone, batch):
        features = exact.features * (-1 if backbone.way in wrong else 1)
        backbone.take_time()
        return Embedding(np.tile(features, (len(batch), 1)), np.zeros((len(batch), 1), np.float32))

    monkeypatch.setattr(PretendedBackbone, "embed", embed)
    known = replace(bundle, spec=bundle.spec.model_copy(update={"files": {SMOKE_FILE: "0" * 64}}))
    found = opened(known)
    assert found.way == Way("int8", "cpu")
    assert len(found.timings_ms) == 2
    assert "int8 on openvino is left out: here it embeds otherwise" in caplog.text
    wrong |= set(PretendedBackbone.opened)  # then the check at warm-up tells what is wrong
    assert opened(known, threads=2).way == Way("int8", "openvino")
