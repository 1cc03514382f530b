"""Virtual time for asyncio: nothing sleeps, and the times of events are exact."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
TICK_S = 1e-9  # time passes in every turn of the loop, as it does on a real clock


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that sets its clock to the next timer instead of waiting for it.

    It suits coroutines that wait only for each other and for time, never for sockets or threads.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(_Waiting(self))

    def time(self) -> float:
        return self.now_s


class _Waiting(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "all coroutines wait for one another"
            self._loop.now_s += timeout + TICK_S
        return ready


def run(loop: VirtualLoop, coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run the coroutine, close the loop and return the result."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(coroutine)
