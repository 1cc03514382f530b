"""Answers already given, kept by a worker within a bound of bytes."""

import threading
from collections import OrderedDict

from augrank.tasks.recommend.response import Answer

Key = tuple[object, ...]
BYTES_PER_JSON_BYTE = 3  # of an answer as Python objects, by tracemalloc


class AnswerCache:
    """The answers of one loaded bundle that were used last, by all that decides them. Thread-safe.

    Args:
        size_bytes: bound on the memory of the answers together; 0 keeps none.
    """

    def __init__(self, size_bytes: int) -> None:
        self._bound_bytes = size_bytes
        self._used_bytes = 0
        self._kept: OrderedDict[Key, tuple[Answer, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def enabled(self) -> bool:
        """Whether it can hold anything."""
        return self._bound_bytes > 0

    @property
    def used_bytes(self) -> int:
        """What is held now."""
        return self._used_bytes

    def get(self, key: Key) -> Answer | None:
        """The answer, if it is still held."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Key, answer: Answer) -> None:
        """Keep an answer; those not asked for longest go first."""
        size = BYTES_PER_JSON_BYTE * len(answer.model_dump_json())
        if size > self._bound_bytes:
            return
        with self._lock:
            if key in self._kept:
                self._used_bytes -= self._kept.pop(key)[1]
            self._kept[key] = (answer, size)
            self._used_bytes += size
            while self._used_bytes > self._bound_bytes:
                _, (_, freed) = self._kept.popitem(last=False)
                self._used_bytes -= freed
