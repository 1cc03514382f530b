"""Blocking calls on threads that nobody has to wait for.

A name's look-up and an image's decoding cannot be cancelled. asyncio joins the threads of its own
executor when a loop ends, so an answer would come as late as the slowest of these calls.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class UnjoinedThreads(Executor):
    """Runs calls on threads that end when there is nothing to do. Thread-safe.

    A call that is cancelled before it begins is not made; one that has begun ends by itself.

    Args:
        name: of the threads.
        most: calls at a time, of all event loops together; further ones wait for their turn.
        daemon: whether the process may end before a call does.
    """

    def __init__(self, name: str, most: int, *, daemon: bool) -> None:
        self._name, self._most, self._daemon = name, most, daemon
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads = 0
        self._lock = threading.Lock()

    def submit(
        self,
        call: Callable[Parameters, Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Future[Result]:
        """Make a call as soon as there is a thread for it."""
        future: Future[Result] = Future()
        with self._lock:
            self._waiting.append((future, partial(call, *args, **kwargs)))
            if self._threads < self._most:
                threading.Thread(target=self._work, name=self._name, daemon=self._daemon).start()
                self._threads += 1
        return future

    def _work(self) -> None:
        while (next_one := self._next()) is not None:
            future, call = next_one
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - whoever waits for it decides
                future.set_exception(error)

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        """Return a call to make, or None, after which this thread counts as ended."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None
