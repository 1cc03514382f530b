"""What is done beside following: soon after a start, and again when it is due."""

import threading
import time

from service.models import follower
from service.models.follower import Follower
from tests.support.patience import PATIENCE_S


def test_a_rare_chore_is_first_done_soon_after_the_start(monkeypatch):
    monkeypatch.setattr(follower, "LOOK_S", 0.01)
    monkeypatch.setattr(follower, "FIRST_S", 0.05)
    flushed, looked, looks = threading.Event(), threading.Event(), list[int]()

    def look() -> None:
        looks.append(1)
        looked.set()

    made = Follower([], [(flushed.set, 1.0), (look, 600.0)])
    made.start()
    assert looked.wait(PATIENCE_S)
    assert flushed.wait(PATIENCE_S)
    time.sleep(0.2)  # many looks at what is due
    made.stop()
    assert looks == [1]  # it is not due again


def test_a_chore_that_fails_stops_no_other(monkeypatch, caplog):
    monkeypatch.setattr(follower, "LOOK_S", 0.01)
    done = threading.Event()

    def fail() -> None:
        raise RuntimeError("the disk is full")

    made = Follower([], [(fail, 0.01), (done.set, 0.01)])
    made.start()
    assert done.wait(PATIENCE_S)
    made.stop()
    assert "the disk is full" in caplog.text
