"""What a worker writes to TorchServe's log for every request.

A worker's log and its metrics are lines on its standard output, which a thread of TorchServe's Java
reads and parses. Two for every request come just before and after the network has run, and on few
cores both sides of that pipe wait for the core that a request needs.
"""

import logging

METRICS_LOGGER = "ts.metrics.caching_metric"  # of TorchServe, which writes metrics with it


def drop_request_lines() -> None:
    """Drop TorchServe's line about each request received.

    TorchServe writes it with the root logger, whose warnings stay. Loggers below ``augrank`` and
    ``ts`` stay as they are; others write warnings only.
    """
    level = logging.root.level
    if level < logging.WARNING:
        for name in ("augrank", "ts"):
            logging.getLogger(name).setLevel(level)
        logging.root.setLevel(logging.WARNING)


def write_metrics(wanted: bool) -> None:
    """Say whether metrics are written from now on, TorchServe's own ``PredictionTime`` included.

    What is wrong with a metric is written anyway.
    """
    logger = logging.getLogger(METRICS_LOGGER)
    level = logging.NOTSET if wanted else logging.WARNING
    if logger.level != level:  # setting it makes all loggers look up theirs again
        logger.setLevel(level)
