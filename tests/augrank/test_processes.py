"""Workers share the cores: their libraries must not start threads of their own."""

import subprocess
import sys

import pytest

COUNT = """
import cv2, numpy
from threadpoolctl import threadpool_info
{call}
numpy.ones((300, 300)) @ numpy.ones((300, 300))
blas = [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]
assert blas
print(max(blas), cv2.getNumThreads())
"""
DIRECTLY = "from augrank.processes import use_one_thread_for_arrays as one; one()"
SCORER = """
from pathlib import Path
from augrank.batch.job import RecommendJob
from augrank.batch.shard_scorer import shard_scorer
shard_scorer(
    RecommendJob(
        bundle=Path({bundle!r}), images=Path(), targets=("open_rate",), device="cpu"
    )
)
"""


@pytest.mark.parametrize("call", [DIRECTLY, SCORER])
def test_arrays_are_computed_by_one_thread(tiny_export, call):
    code = COUNT.format(call=call.replace("{bundle!r}", repr(str(tiny_export.bundle))))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={"OPENBLAS_NUM_THREADS": "4"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["1", "1"]


def test_the_handler_computes_arrays_by_one_thread(tiny_export, monkeypatch):
    from types import SimpleNamespace

    from augrank.runtime import worker as module
    from handlers.recommend_handler import RecommendHandler

    called = []
    monkeypatch.setattr(module, "use_one_thread_for_arrays", lambda: called.append(True))
    context = SimpleNamespace(
        model_yaml_config={}, system_properties={"model_dir": str(tiny_export.bundle.parent)}
    )
    monkeypatch.setenv("AUGRANK_DEVICE", "cpu")
    handler = RecommendHandler()
    handler.initialize(context)
    assert called == [True]
    handler.task.stages._preparers.shutdown()
