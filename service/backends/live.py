"""The model that answers now: another one takes its place between two requests."""

import threading
from typing import Generic, TypeVar

BackendT = TypeVar("BackendT")


class Live(Generic[BackendT]):
    """Holds the backend of a task. Thread-safe.

    Who answers a request takes ``current`` once, and uses it to the end: a backend that was
    replaced answers what it has begun, and goes when nobody uses it any more.

    Args:
        backend: ready to answer.
    """

    def __init__(self, backend: BackendT) -> None:
        self._backend, self._lock = backend, threading.Lock()

    @property
    def current(self) -> BackendT:
        """The backend for a request that begins now."""
        return self._backend

    def replace(self, backend: BackendT) -> BackendT:
        """Let another backend, warmed up, answer from now on; return the one until now."""
        with self._lock:
            before, self._backend = self._backend, backend
        return before
