"""What a worker writes to TorchServe's log for every request.

A worker's log and its metrics are lines on its standard output, which a thread of TorchServe's Java
reads and parses. Two for every request come just before and after the network has run, and on few
cores both sides of that pipe wait for the core that a request needs.
"""

import logging

METRICS_LOGGER = "ts.metrics.caching_metric"  # of TorchServe, which writes metrics with it


def drop_request_lines() -> None:
    """Drop TorchServe's line about each request received; warnings and other loggers stay.

    TorchServe writes it with the root logger, and its other lines with loggers of its modules.
    """
    level = logging.root.level
    if level < logging.WARNING:
        for name in ("augrank", "ts"):
            logging.getLogger(name).setLevel(level)
        logging.root.setLevel(logging.WARNING)


def write_metrics(wanted: bool) -> None:
    """Say whether metrics are written from now on, TorchServe's own ``PredictionTime`` included."""
    logging.getLogger(METRICS_LOGGER).disabled = not wanted
