"""An LRU cache of answers: the least recently used are evicted at the memory limit."""

import threading
from collections.abc import Hashable

from cachetools import LRUCache

from augrank.tasks.base import TaskAnswer

BYTES_PER_JSON_BYTE = 3  # of an answer as Python objects, by tracemalloc


class AnswerCache:
    """The most recently used answers of one loaded bundle. Thread-safe.

    Args:
        size_bytes: memory limit of all answers together.
    """

    def __init__(self, size_bytes: int) -> None:
        self._answers: LRUCache[Hashable, tuple[TaskAnswer, int]] = LRUCache(
            size_bytes, getsizeof=lambda entry: entry[1]
        )
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """The memory of the cached answers."""
        return int(self._answers.currsize)

    def get(self, key: Hashable) -> TaskAnswer | None:
        """Return the answer, if it is still cached."""
        with self._lock:
            entry = self._answers.get(key)
        return entry[0] if entry is not None else None

    def put(self, key: Hashable, answer: TaskAnswer) -> None:
        """Cache an answer, evicting others if it needs their space."""
        size = BYTES_PER_JSON_BYTE * len(answer.model_dump_json())
        if size > self._answers.maxsize:
            return
        with self._lock:
            self._answers[key] = (answer, size)
