"""The header Retry-After, in seconds or as a date."""

import time
from email.utils import formatdate

from augrank.download.fetch import retry_after_s


def test_retry_after_holds_numbers_and_dates(monkeypatch):
    assert retry_after_s("17") == 17
    now = 1.8e9
    monkeypatch.setattr(time, "time", lambda: now)
    assert retry_after_s(formatdate(now + 100, usegmt=True)) == 100
    assert retry_after_s(formatdate(now - 100, usegmt=True)) == 0
    assert retry_after_s("") == retry_after_s("soon") == retry_after_s("-3") == 0
