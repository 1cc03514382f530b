"""What a worker writes to TorchServe's log."""

import subprocess
import sys

import pytest

SCRIPT = """
import logging, sys
from augrank.runtime.worker_log import drop_request_lines, write_metrics
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
{before}
logging.info("a request")
logging.warning("a warning")
for name in ("augrank.some", "ts.service", "ts.metrics.caching_metric"):
    logging.getLogger(name).info("of %s", name)
"""


def lines(before: str) -> list[str]:
    command = [sys.executable, "-c", SCRIPT.format(before=before)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_only_lines_of_the_root_logger_are_dropped():
    own = ["of augrank.some", "of ts.service", "of ts.metrics.caching_metric"]
    assert lines("") == ["a request", "a warning", *own]
    assert lines("drop_request_lines()") == ["a warning", *own]


def test_a_metric_that_does_not_fit_is_written_anyway():
    faulty = "logging.getLogger('ts.metrics.caching_metric').error('does not fit')"
    assert "does not fit" in lines(f"write_metrics(False); {faulty}")


@pytest.mark.parametrize(("wanted", "count"), [("True", 3), ("False", 2)])
def test_metrics_are_written_if_they_are_wanted(wanted, count):
    found = lines(f"drop_request_lines(); write_metrics(False); write_metrics({wanted})")
    assert len(found) == 1 + count
