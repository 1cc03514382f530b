"""Answer shards in actors of a Ray cluster, each with one core.

    driver ── at most IN_FLIGHT shards each ──> actors
           <── a Parquet file for each shard ──

The driver keeps the shards and hands them out one by one: it holds no copy of the job, and its cost
for a shard does not grow with the number of actors. (Ray Data makes a block of each shard before
the first is answered; its driver starts about 50 of them a second.) An actor that is lost with its
node is replaced as soon as the cluster has room, and its shards are answered again by others.
"""

import logging
import os
import secrets
from collections import Counter, deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

from augrank.batch.job import Item, ScoringJob
from augrank.batch.shard_scorer import ShardEncoder, shard_encoder
from augrank.errors import AugrankError, BadRequest, ServerError

IN_FLIGHT = 2  # shards of an actor: one is computed while the next is on its way
MOST_TRIES = 3  # of a shard, or starts of each actor, that end with the actor's process


def on_ray(
    job: ScoringJob, shards: Mapping[int, Sequence[Item]], workers: int | None
) -> Generator[tuple[int, bytes], None, None]:
    """Answer shards in actors of the connected Ray cluster, or of a new one on this machine.

    Raises:
        BadRequest: Ray is not installed.
        BundleError: the bundle or the device does not fit.
        ServerError: a shard ended its actor's process several times.
    """
    try:
        import ray
    except ImportError as error:
        raise BadRequest(
            f"Ray is not installed: {error}", remedy="pip install 'augrank[ray]'"
        ) from error
    if not shards:
        return
    if not ray.is_initialized():
        start_ray(ray)
    cores = int(ray.cluster_resources().get("CPU", 1))
    dispatch = Dispatch(ray, job, shards)
    try:
        yield from dispatch.run(max(1, min(workers or cores, len(shards))))
    finally:
        dispatch.close()


def start_ray(ray: Any) -> None:
    """Connect to the cluster of RAY_ADDRESS, or start one on this machine, quietly.

    A cluster of our own has its own key; Ray would keep one below the home folder.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address is None:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
    own = {} if address else {"include_dashboard": False}
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)


class ShardActor:
    """An actor: the pipeline of a job, loaded once."""

    def __init__(self, job: ScoringJob) -> None:
        self._job = job
        self._encode: ShardEncoder | None = None

    def load(self) -> None:
        """Load the pipeline. Its errors are those of this call, not the end of the actor."""
        self._encode = shard_encoder(self._job)

    def score(self, shard: Sequence[Item]) -> bytes:
        """Return the answers of a shard as a Parquet file."""
        assert self._encode is not None, "load() comes first"
        return self._encode(shard)


class Dispatch:
    """Hands shards to actors, and replaces actors that are lost.

    Args:
        ray: the module, connected.
        job: what every actor loads.
        shards: items by the number of the shard.
        actor: has the methods of ShardActor.
    """

    def __init__(
        self,
        ray: Any,
        job: ScoringJob,
        shards: Mapping[int, Sequence[Item]],
        actor: type = ShardActor,
    ) -> None:
        self._ray, self._job, self._shards = ray, job, shards
        self._remote = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(actor)
        self._left = deque(shards)
        self._events: SimpleQueue[tuple[int, int | None, Future[Any]]] = SimpleQueue()
        self._actors: dict[int, Any] = {}  # by the number of the start
        self._in_flight: dict[int, int] = {}  # shards of an actor that has loaded
        self._tries: Counter[int | None] = Counter()  # that ended an actor; None: its start
        self._starts = 0

    def run(self, count: int) -> Generator[tuple[int, bytes], None, None]:
        """Answer all shards in ``count`` actors, in any order."""
        for _ in range(count):
            self._start()
        answered = 0
        while answered < len(self._shards):
            actor, number, future = self._events.get()
            try:
                content = future.result()
            except self._ray.exceptions.RayTaskError as error:
                cause = getattr(error, "cause", None)
                raise (cause if isinstance(cause, AugrankError) else error) from error
            except self._ray.exceptions.RayError as error:  # the actor, its node or the answer
                self._lost(actor, number, count, error)
                continue
            if number is None:
                self._tries[None] = 0
                self._in_flight[actor] = 0
            else:
                answered += 1
                if actor in self._in_flight:
                    self._in_flight[actor] -= 1
                yield number, content
            self._feed(actor)

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors.values():
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)

    def _start(self) -> None:
        self._starts += 1
        actor = self._actors[self._starts] = self._remote.remote(self._job)
        self._report(self._starts, None, actor.load.remote())

    def _feed(self, actor: int) -> None:
        while self._left and self._in_flight.get(actor, IN_FLIGHT) < self._most():
            number = self._left.popleft()
            self._in_flight[actor] += 1
            self._report(actor, number, self._actors[actor].score.remote(self._shards[number]))

    def _most(self) -> int:
        """Return the shards of an actor: the last ones go to whoever is free."""
        return IN_FLIGHT if len(self._left) > len(self._actors) else 1

    def _report(self, actor: int, number: int | None, reference: Any) -> None:
        finished = partial(_put, self._events, actor, number)
        reference.future().add_done_callback(finished)

    def _lost(self, actor: int, number: int | None, count: int, error: Exception) -> None:
        """Replace an actor, and give its shard to others.

        Raises:
            ServerError: that happened too often.
        """
        self._tries[number] += 1
        if self._tries[number] >= (MOST_TRIES * count if number is None else MOST_TRIES):
            what = "starts of workers" if number is None else f"shard {number}"
            raise ServerError(
                f"{what} ended {self._tries[number]} times early, most likely because memory ran"
                " out or nodes were lost",
                got=str(error).strip().partition("\n")[0],
                remedy="Run it again with fewer --workers: it resumes with the missing shards.",
            ) from error
        if actor in self._actors:
            del self._actors[actor]
            self._in_flight.pop(actor, None)
            self._start()
        if number is not None:
            self._left.appendleft(number)
            for other in self._in_flight:
                self._feed(other)


def _put(
    events: SimpleQueue[tuple[int, int | None, Future[Any]]],
    actor: int,
    number: int | None,
    future: Future[Any],
) -> None:
    events.put((actor, number, future))
