import pytest

from augrank.aws import poll as polling
from augrank.aws.client import AwsError
from augrank.aws.poll import Pending, poll


class Clock:
    """A clock on which only sleep takes time."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    monkeypatch.setattr(polling, "time", Clock())


def test_progress_is_shown_until_there_is_a_result():
    states, shown = [Pending("shop: Creating"), Pending("shop: Creating"), "InService"], []
    assert poll(lambda: states.pop(0), interval_s=65, progress=shown.append) == "InService"
    assert shown == ["shop: Creating, 0:00", "shop: Creating, 1:05"]


def test_the_time_limit_names_what_was_waited_for():
    with pytest.raises(AwsError, match=r"shop: Creating: not finished after 0\.05 s"):
        poll(lambda: Pending("shop: Creating"), interval_s=0.01, timeout_s=0.05)


def test_what_the_check_raises_ends_the_wait():
    def check():
        raise AwsError("the job failed")

    with pytest.raises(AwsError, match="the job failed"):
        poll(check, interval_s=0)
