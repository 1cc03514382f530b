"""Follow what other processes promote: look at the table, and load what is live there."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from service.models.promotion import Promoter

log = logging.getLogger("augrank.service")
LOOK_S = 0.5  # between looks at the table
FIRST_S = 30.0  # until a rare chore is first done: a service may restart before it would be due
Chore = tuple[Callable[[], object], float]  # what to do, and every how many seconds


class Follower:
    """A thread that keeps this process with the database's live models.

    Args:
        promoters: of each task.
        chores: done beside it; the first one also at the end.
    """

    def __init__(self, promoters: Sequence[Promoter[Any]], chores: Sequence[Chore] = ()) -> None:
        self._promoters, self._chores = promoters, chores
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model follower", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look that is under way."""
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        started = time.monotonic()
        due = [started + min(every_s, FIRST_S) for _, every_s in self._chores]
        while not self._stop.wait(LOOK_S):
            for promoter in self._promoters:
                self._follow(promoter)
            for number, (chore, every_s) in enumerate(self._chores):
                if time.monotonic() >= due[number]:
                    due[number] = time.monotonic() + every_s
                    _guarded(chore)
        if self._chores:
            _guarded(self._chores[0][0])

    def _follow(self, promoter: Promoter[Any]) -> None:
        try:
            promoter.follow()
        except SQLAlchemyError as error:
            log.warning("the live model is not known: %s", type(error).__name__)
        except Exception:  # it is tried again after a minute
            log.exception("the live model does not load here; the one before answers on")


def _guarded(chore: Callable[[], object]) -> None:
    try:
        chore()
    except SQLAlchemyError as error:
        log.warning("a chore waits for the database: %s", type(error).__name__)
    except Exception:
        log.exception("a chore failed; it is tried again")
