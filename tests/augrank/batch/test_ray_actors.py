"""Shards on Ray: lost actors are replaced, their shards answered again, poison ends the job."""

import hashlib
import json
import subprocess
import sys
from collections import deque
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from augrank.batch import job as jobs
from augrank.batch import run as scoring
from augrank.batch.ray_actors import IN_FLIGHT, MOST_TRIES, Dispatch
from augrank.bundle.load import load_bundle
from augrank.errors import BundleError, ServerError
from tests.augrank.batch.test_batch import CONTEXT, REPOSITORY, folder, job

__all__ = ["folder"]  # a fixture


class FakeRay:
    """Ray as the dispatch uses it: actors answer at once, in this process, or die.

    Args:
        deaths: how often a shard, or a load (None), ends its actor before it is answered.
        fault: what loading raises.
    """

    def __init__(self, deaths=None, fault=None):
        self.deaths, self.fault = dict(deaths or {}), fault
        self.started, self.killed, self.given = 0, [], []
        error = type("RayError", (Exception,), {})
        self.exceptions = SimpleNamespace(
            RayError=error, RayTaskError=type("RayTaskError", (error,), {"cause": None})
        )

    def remote(self, **options):
        assert options == {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0}
        return lambda _class: SimpleNamespace(remote=self._actor)

    def kill(self, actor):
        self.killed.append(actor.number)

    def _actor(self, _job):
        self.started += 1
        return SimpleNamespace(
            number=self.started,
            load=SimpleNamespace(remote=lambda: self._answer(None)),
            score=SimpleNamespace(remote=partial(self._score, self.started)),
        )

    def _score(self, actor, shard):
        self.given.append(actor)
        return self._answer(shard)

    def _answer(self, shard):
        future = Future()
        if self.deaths.get(shard, 0):
            self.deaths[shard] -= 1
            future.set_exception(self.exceptions.RayError("The actor died"))
        elif shard is None and self.fault is not None:
            error = self.exceptions.RayTaskError()
            error.cause = self.fault
            future.set_exception(error)
        else:
            future.set_result(f"answers of {shard}".encode())
        return SimpleNamespace(future=lambda: future)


def answers(ray, shards, count):
    return dict(Dispatch(ray, None, {number: f"s{number}" for number in shards}).run(count))


def test_every_shard_is_answered_once():
    ray = FakeRay()
    got = list(Dispatch(ray, None, {n: f"s{n}" for n in range(20)}).run(3))
    assert sorted(got) == sorted((n, f"answers of s{n}".encode()) for n in range(20))
    assert ray.started == 3


def test_a_lost_actor_is_replaced_and_its_shard_answered_by_another():
    ray = FakeRay({"s4": 2, None: 1})
    assert answers(ray, range(8), 2).keys() == set(range(8))
    assert ray.started == 2 + 3


def test_a_shard_that_always_ends_its_actor_ends_the_job():
    ray = FakeRay({"s4": 99})
    with pytest.raises(ServerError, match=f"shard 4 ended {MOST_TRIES} times early"):
        answers(ray, range(8), 2)


def test_actors_that_never_start_end_the_job():
    with pytest.raises(ServerError, match="starts of workers ended 6 times"):
        answers(FakeRay({None: 99}), range(8), 2)


def test_errors_of_the_bundle_are_raised_as_they_are():
    with pytest.raises(BundleError, match="no such device"):
        answers(FakeRay(fault=BundleError("no such device")), range(8), 2)


class SlowRay(FakeRay):
    """Answers the oldest call only when the driver waits for an answer."""

    def __init__(self):
        super().__init__()
        self.calls, self.events, self.most = deque(), deque(), 0

    put = property(lambda self: self.events.append)

    def get(self):
        if self.calls:
            future, content = self.calls.popleft()
            future.set_result(content)
        return self.events.popleft()

    def _answer(self, shard):
        self.calls.append((future := Future(), b""))
        self.most = max(self.most, len(self.calls))
        return SimpleNamespace(future=lambda: future)


def test_an_actor_has_few_shards_at_once_and_is_ended_with_the_job():
    ray = SlowRay()
    dispatch = Dispatch(ray, None, {n: f"s{n}" for n in range(100)})
    dispatch._events = ray
    assert len(list(dispatch.run(3))) == 100
    assert ray.most == 3 * IN_FLIGHT
    dispatch.close()
    assert ray.killed == [1, 2, 3]


def test_few_shards_go_to_as_many_actors():
    ray = SlowRay()
    dispatch = Dispatch(ray, None, {n: f"s{n}" for n in range(4)})
    dispatch._events = ray
    assert len(list(dispatch.run(4))) == 4
    assert sorted(ray.given) == [1, 2, 3, 4]


LOST_NODE = """
import json, os, secrets, sys
from pathlib import Path
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex()
from augrank.batch import job as jobs
from augrank.batch import run as scoring
import ray
from tests.support.ray_cluster import Cluster

given = json.loads(sys.argv[1])
bundle, images, out = (Path(given[name]) for name in ("bundle", "images", "out"))
items = jobs.items_of_folder(images, given["context"]).items * 12
items = [jobs.Item(number, item.path, item.context) for number, item in enumerate(items)]
scoring.MOST_SHARD = 2
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
lost = []
def lose_the_second_node(finished, _all):
    if finished and not lost:
        lost.append(cluster.remove_node(node, allow_graceful=False))
try:
    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    job = jobs.RecommendJob(bundle=bundle, images=images, targets=tuple(given["targets"]))
    scoring.score(job, items, out, executor="ray", workers=2, done=lose_the_second_node)
    assert lost
finally:
    ray.shutdown()
    cluster.shutdown()
"""


@pytest.mark.slow
def test_a_job_outlives_the_loss_of_a_node(tiny_export, folder, tmp_path):
    pytest.importorskip("ray")
    asked, out = job(tiny_export, folder), tmp_path / "ray.parquet"
    given = {"bundle": str(asked.bundle), "images": str(folder), "out": str(out),
             "context": CONTEXT, "targets": asked.targets}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LOST_NODE, json.dumps(given)], cwd=REPOSITORY, capture_output=True,
        text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    numbers = pq.read_table(out)["item"].to_pylist()
    assert numbers == [n for n in range(7 * 12) for _ in asked.targets]


@pytest.mark.parametrize(
    ("items", "size"),
    [(1, 8), (512, 8), (513, 16), (10_000, 64), (3_200_000, 64), (3_200_001, 72),
     (100_000_000, 2000)],
)  # fmt: skip
def test_shards_grow_rather_than_become_too_many(items, size):
    assert scoring.shard_size(items) == size
    assert -(-items // size) <= scoring.MOST_SHARDS


def test_a_fingerprint_is_that_of_all_fields(tiny_export, folder):
    """The digest of jobs that an older version began, whose shards are resumed."""
    asked, items = job(tiny_export, folder), jobs.items_of_folder(folder, CONTEXT).items
    options = {**asdict(asked), "bundle": "", "images": str(folder.resolve()), "device": ""}
    lines = [f"8 {load_bundle(asked.bundle).digest}", json.dumps(options, sort_keys=True)]
    lines += [json.dumps(asdict(item), sort_keys=True, default=str) for item in items]
    want = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert jobs.fingerprint(asked, items, 8) == want
