import tempfile

import pytest

from augrank.bundle.graphs import open_graph
from augrank.bundle.spec import Bundle
from augrank.errors import BundleError
from augrank.models.engines import CPU, CUDA, TENSORRT, providers, uses_accelerator
from augrank.resources import available_memory
from augrank.serving.capacity import WORKER_BYTES, CapacityRequest, ServingPlan, plan_serving

PLENTY = 100 * WORKER_BYTES


def plan_for(**request) -> ServingPlan:
    return plan_serving(CapacityRequest(**request))


@pytest.mark.parametrize(
    ("profile", "cores", "options", "workers", "threads"),
    [
        ("latency", 2, {}, 1, 2),
        ("latency", 8, {}, 1, 8),
        ("latency", 36, {}, 4, 9),
        ("throughput", 2, {}, 2, 1),
        ("throughput", 72, {}, 72, 1),
        ("throughput", 72, {"memory_bytes": 10 * WORKER_BYTES}, 10, 7),
        ("throughput", 1, {"memory_bytes": 0}, 1, 1),
        ("throughput", 16, {"gpu": True}, 1, 16),
        ("latency", 4, {"workers": 3}, 3, 1),
        ("latency", 2, {"workers": 4}, 4, 1),
    ],
)
def test_workers_times_threads_fit_the_machine(profile, cores, options, workers, threads):
    plan = plan_for(profile=profile, cores=cores, **{"memory_bytes": PLENTY, **options})
    assert (plan.workers, plan.threads) == (workers, threads)
    assert plan.workers * plan.threads <= max(cores, plan.workers)
    assert plan.spin == (workers == 1 and cores > 1 and not options.get("gpu", False))
    assert f"{workers} workers x {threads} threads on {cores} cores" in plan.explained()


def test_a_single_request_waits_for_others_only_if_batches_are_on():
    alone = plan_for(cores=2, batch_delay_ms=7)
    assert (alone.batch_size, alone.batch_delay_ms) == (1, 0)
    together = plan_for(cores=2, batch_size=4, batch_delay_ms=7)
    assert (together.batch_size, together.batch_delay_ms) == (4, 7)
    assert plan_for(cores=2, gpu=True).batch_size == 8
    assert "up to 4 requests at once (7 ms wait)" in together.explained()
    assert plan_for(cores=2, queue_size=5).queue_size == 5


def test_memory_is_the_smaller_of_machine_and_container(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    5000 kB\n")
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert available_memory(tmp_path, meminfo) == 2_000_000
    (tmp_path / "memory.stat").write_text("active_file 7\ninactive_file 400000\n")
    assert available_memory(tmp_path, meminfo) == 2_400_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(tmp_path, meminfo) == 5_120_000
    assert available_memory(tmp_path / "none", tmp_path / "none") > 0


@pytest.fixture
def gpu_build(monkeypatch):
    """An onnxruntime build with GPU providers; the test decides whether a GPU exists."""
    monkeypatch.setattr(
        "augrank.models.engines.onnxruntime.get_available_providers", lambda: [TENSORRT, CUDA, CPU]
    )
    return lambda there: monkeypatch.setattr("augrank.models.engines._has_gpu", lambda: there)


def test_a_gpu_is_taken_where_there_is_one(gpu_build):
    gpu_build(False)
    assert not uses_accelerator("auto")
    assert providers("auto") == [CPU]
    gpu_build(True)
    assert uses_accelerator("auto")
    assert providers("auto") == [CUDA, CPU]
    assert providers("cpu") == [CPU]
    (tensorrt, settings), *rest = providers("tensorrt")
    assert (tensorrt, rest) == (TENSORRT, [CUDA, CPU])
    assert settings["trt_fp16_enable"]


def test_without_its_provider_a_device_is_refused():
    for device in ("cuda", "tensorrt"):
        with pytest.raises(BundleError, match=r"is not available.*augrank\[gpu\]"):
            providers(device)


def test_a_gpu_that_cannot_be_used_leaves_the_cpus_graph(
    gpu_build, tiny_export, monkeypatch, caplog, tmp_path
):
    """onnxruntime falls back to the CPU silently, where fp16 would be slow."""
    gpu_build(True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # nothing is remembered there
    monkeypatch.setattr("augrank.models.engines.providers", lambda device: [CPU])
    spec = tiny_export.spec.model_copy(
        update={"graphs": {**tiny_export.spec.graphs, "fp16": tiny_export.spec.graphs["fp32"]}}
    )
    bundle = Bundle(tiny_export.bundle, spec, "0" * 64)
    found = open_graph(bundle, None, threads=1, device="auto", spin=False)
    assert (found.precision, found.backbone.provider) == ("fp32", CPU)
    assert "fp16 on cuda is left out: cuda could not be used" in caplog.text
