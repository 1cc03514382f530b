"""Simulate ``augrank score`` on a cluster, event by event.

    driver ─ dispatch ─> worker: starts when it is free; ends when its core, its node's network and
    the store's limit of requests are all done ─> driver: commits, dispatches the next

The driver is one server, first come, first served. Networks and the store are clocks that move by
what a shard asks of them. A node that fails loses the shards in its workers, which others answer
again; its successor comes after ``REPLACE_S``.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.scale.limits import REPLACE_S, Store
from benchmarks.scale.model import BATCH_OF, DriverCosts

IN_FLIGHT = 2  # shards of a worker, as augrank.batch.ray_actors
CHUNK = 4_000_000  # random numbers at once
Kind = Literal["ready", "arrive", "done", "fail"]


@dataclass(frozen=True)
class Job:
    """The work: shards, and what each asks of the resources."""

    service_s: NDArray[np.float64]  # (shards,) on one core, waiting for files included
    shard_bytes: float
    shard_requests: float


@dataclass(frozen=True)
class Cluster:
    """The nodes, which start their workers at once."""

    nodes: int
    cores: int  # workers of a node
    bytes_per_s: float  # of a node
    start_s: float  # of a worker
    failures_per_node_hour: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """A simulated job. ``busy`` is the share of the scoring time in which a resource works."""

    before_s: float
    score_s: float
    after_s: float
    busy: dict[str, float]
    redone: int  # shards

    @property
    def seconds(self) -> float:
        """From the start of the command to its end."""
        return self.before_s + self.score_s + self.after_s

    @property
    def bottleneck(self) -> str:
        """The step that takes longest, and while scoring, the resource that is busiest."""
        steps = {"listing": self.before_s, "merge": self.after_s}
        longest = max(steps, key=steps.__getitem__)
        if steps[longest] > self.score_s:
            return longest
        return max(self.busy, key=self.busy.__getitem__)


def service_times(
    batch_s: Sequence[float], shards: int, images: int, store: Store, reads_ahead: bool, seed: int
) -> NDArray[np.float64]:
    """Draw each shard's seconds on a core from measured batches (a bootstrap).

    Args:
        batch_s: measured seconds of batches of ``BATCH_OF`` images.
        shards: number to draw.
        images: of a shard.
        store: its latency is waited for, by the batch or by the image.
        reads_ahead: files of the next batch are read while one is computed.
        seed: of the draws.
    """
    measured = np.asarray(batch_s, np.float64)
    first = 0.0
    if reads_ahead:
        measured, first = np.maximum(measured, store.latency_s), store.latency_s
    else:
        measured = measured + BATCH_OF * store.latency_s
    batches = images / BATCH_OF
    whole = max(1, round(batches))
    rng, rows = np.random.default_rng(seed), max(1, CHUNK // whole)
    drawn = [
        rng.choice(measured, (min(rows, shards - start), whole)).sum(axis=1)
        for start in range(0, shards, rows)
    ]
    return np.concatenate(drawn) * (batches / whole) + first


def simulate(
    job: Job, cluster: Cluster, driver: DriverCosts, store: Store, seed: int = 0
) -> Outcome:
    """Simulate a job; time 0 is when the first shard can be handed out."""
    return _Simulation(job, cluster, driver, store, seed).run()


@dataclass
class _Worker:
    node: int
    life: int = 0  # events of an earlier life are void
    loaded: bool = False
    running: int | None = None
    queue: deque[int] = field(default_factory=deque)
    assigned: int = 0  # shards on the way, queued or running


class _Simulation:
    def __init__(
        self, job: Job, cluster: Cluster, driver: DriverCosts, store: Store, seed: int
    ) -> None:
        self._job, self._cluster, self._driver, self._store = job, cluster, driver, store
        self._rng = np.random.default_rng(seed)
        self._left = deque(range(len(job.service_s)))
        self._workers = [
            _Worker(node) for node in range(cluster.nodes) for _ in range(cluster.cores)
        ]
        self._heap: list[tuple[float, int, Kind, int, int, int]] = []
        self._order = count()
        self._driver_free = self._store_free = 0.0
        self._node_free = [0.0] * cluster.nodes
        self._in_transit: dict[int, set[int]] = {}
        self._busy = {"driver": 0.0, "cores": 0.0, "network": 0.0, "store": 0.0}
        self._done = self._redone = 0

    def run(self) -> Outcome:
        cluster, now = self._cluster, 0.0
        for number in range(len(self._workers)):
            self._push(cluster.start_s, "ready", number)
        for node in range(cluster.nodes):
            self._push_failure(0.0, node)
        while self._done < len(self._job.service_s):
            now, _, kind, number, life, shard = heapq.heappop(self._heap)
            if kind == "fail":
                self._fail(now, number)
                continue
            worker = self._workers[number]
            if life != worker.life:
                continue
            if kind == "ready":
                worker.loaded = True
                self._feed(now, number)
            elif kind == "arrive":
                self._in_transit[number].discard(shard)
                worker.queue.append(shard)
                self._start(now, number)
            else:
                self._finish(now, number)
        ended = max(now, self._driver_free)
        capacity = {
            "driver": 1,
            "cores": len(self._workers),
            "network": cluster.nodes,
            "store": 1,
        }
        busy = {name: self._busy[name] / (ended * capacity[name]) for name in self._busy}
        return Outcome(self._driver.before_s, ended, self._driver.after_s, busy, self._redone)

    def _push(self, at: float, kind: Kind, number: int, shard: int = -1) -> None:
        life = self._workers[number].life if kind != "fail" else 0
        heapq.heappush(self._heap, (at, next(self._order), kind, number, life, shard))

    def _push_failure(self, now: float, node: int) -> None:
        rate = self._cluster.failures_per_node_hour
        if rate > 0:
            self._push(now + self._rng.exponential(3600 / rate), "fail", node)

    def _drive(self, now: float, seconds: float) -> float:
        """Let the driver work from when it is free, and return when it has done so."""
        self._driver_free = max(now, self._driver_free) + seconds
        self._busy["driver"] += seconds
        return self._driver_free

    def _feed(self, now: float, number: int) -> None:
        worker = self._workers[number]
        while self._left and worker.loaded and worker.assigned < self._most():
            shard = self._left.popleft()
            worker.assigned += 1
            self._in_transit.setdefault(number, set()).add(shard)
            self._push(self._drive(now, self._driver.dispatch_s), "arrive", number, shard)

    def _most(self) -> int:
        """Return the shards of a worker: the last ones go to whoever is free."""
        return IN_FLIGHT if len(self._left) > len(self._workers) else 1

    def _start(self, now: float, number: int) -> None:
        worker, job = self._workers[number], self._job
        if worker.running is not None or not worker.queue:
            return
        shard = worker.running = worker.queue.popleft()
        service = float(job.service_s[shard])
        network = job.shard_bytes / self._cluster.bytes_per_s
        requests = job.shard_requests / self._store.requests_per_s
        self._node_free[worker.node] = max(now, self._node_free[worker.node]) + network
        self._store_free = max(now, self._store_free) + requests
        for name, seconds in (("cores", service), ("network", network), ("store", requests)):
            self._busy[name] += seconds
        ended = max(now + service, self._node_free[worker.node], self._store_free)
        self._push(ended, "done", number, shard)

    def _finish(self, now: float, number: int) -> None:
        worker = self._workers[number]
        worker.running = None
        worker.assigned -= 1
        self._done += 1
        self._start(now, number)
        self._drive(now, self._driver.commit_s)
        self._feed(now, number)

    def _fail(self, now: float, node: int) -> None:
        cores = self._cluster.cores
        for number in range(node * cores, (node + 1) * cores):
            worker = self._workers[number]
            lost = [*worker.queue, *self._in_transit.pop(number, ())]
            lost += [] if worker.running is None else [worker.running]
            self._redone += len(lost)
            self._left.extendleft(lost)
            self._workers[number] = _Worker(node, worker.life + 1)
            self._push(now + REPLACE_S + self._cluster.start_s, "ready", number)
        self._push_failure(now, node)
        for number, worker in enumerate(self._workers):
            if worker.assigned < IN_FLIGHT:
                self._feed(now, number)
