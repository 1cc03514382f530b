"""Measure whether fixes last: random operations while the service and its database are killed.

    python -m benchmarks durability CLASSIFIER --database sqlite,postgresql

Several advertisers ask about the same pictures, correct them, undo, and look at their histories,
each in a thread of its own that knows what must hold. Fixes that were answered must be kept, the
next answer must have them, and nobody may see those of another advertiser.

The JSON line holds ``databases``: counts for each database, by the keys of ``targets.TARGETS``.
"""

import shutil
import sqlite3
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from augrank.bundle.classify_spec import ClassifyBundle
from augrank.reporting import Reporter
from augrank.resources import usable_cores
from benchmarks.common.machine import machine
from benchmarks.common.results import RESULTS_VERSION
from benchmarks.durability.postgres import PostgresServer
from benchmarks.durability.run import (
    ADVERTISERS,
    POSTGRESQL,
    TITLES,
    DatabaseRun,
    DurabilityConfig,
    run_operations,
)
from benchmarks.durability.subject import PICTURES, Subject
from benchmarks.durability.tally import FAULTS

EXAMPLES = 5  # lines of each fault


def measure_durability(
    bundle: ClassifyBundle, folder: Path, config: DurabilityConfig, reporter: Reporter
) -> dict[str, Any]:
    """Do the operations on one database after the other.

    Args:
        bundle: of a classifier.
        folder: for each service's images, log and SQLite database; those of an earlier run go.
        config: the amount of work.
        reporter: shows the progress.

    Returns:
        The contents of results.json, without the command.

    Raises:
        BadRequest: the classifier has no label.
        DataError: the service does not start again, or refuses at the end.
        ServerError: the service, or PostgreSQL, does not come back.
    """
    label = Subject.of(bundle.spec, config.seed).label
    databases = {}
    for name in config.databases:
        reporter.say(f"{TITLES[name]}: {config.operations:,} operations, {config.kills} kills")
        home = folder / f"{name}-service"
        shutil.rmtree(home, ignore_errors=True)
        with ExitStack() as stack:
            postgres, version = None, sqlite3.sqlite_version
            if name == POSTGRESQL:
                # Root's PostgreSQL runs as another user, who must be able to enter its folder.
                scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="augrank-"))
                postgres = stack.enter_context(PostgresServer(Path(scratch) / "postgres"))
                version = postgres.version
            run = run_operations(bundle, home, config, postgres, reporter)
        databases[name] = {"version": version, **_plain(run)}
    return {
        "benchmark": "durability",
        "results_version": RESULTS_VERSION,
        "machine": machine(usable_cores()),
        "config": asdict(config),
        "model": {
            "backbone": bundle.spec.backbone,
            "image_size": bundle.spec.image_size,
            "label": label,
        },
        "advertisers": len(ADVERTISERS),
        "pictures": PICTURES,
        "databases": databases,
    }


def _plain(run: DatabaseRun) -> dict[str, Any]:
    """Return counts, and of each fault some lines."""
    faults: dict[str, list[str]] = {name: getattr(run.tally, name) for name in FAULTS}
    return {
        "operations": run.tally.operations,
        "kills": run.kills,
        "database_kills": run.database_kills,
        "unanswered": run.tally.unanswered,
        "fixes": run.tally.fixes,
        **{name: len(lines) for name, lines in faults.items()},
        "seconds": round(run.seconds, 1),
        "examples": {name: lines[:EXAMPLES] for name, lines in faults.items()},
    }
