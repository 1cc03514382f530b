"""Put a day's decisions in place: verified first, marked as complete last.

A reader that waits for ``_SUCCESS`` never sees a part of a day: it is deleted before the file is
replaced, and written after.
"""

import hashlib
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from augrank.aws.client import Aws
from augrank.contracts.manifest import PATH
from augrank.errors import DataError
from examples.airflow.day.collect import MAX_SHOWN, collected
from examples.airflow.day.decide import DECISIONS_FILE
from examples.airflow.day.folders import Day

SUCCESS_FILE = "_SUCCESS"


def publish(aws: Aws, day: Day) -> tuple[dict[str, Any], bool]:
    """Put the decisions of a day in place, unless the same ones are.

    Returns:
        What ``_SUCCESS`` holds: rows, rows by decision, and the file's sha256; and whether
        anything was written.

    Raises:
        DataError: there are no decisions, or not one for each image that was collected.
    """
    content = day.decided.read(aws, DECISIONS_FILE)
    if content is None:
        raise DataError(
            f"there are no decisions to publish in {day.decided.url}", remedy="Run decide first."
        )
    table = pq.read_table(io.BytesIO(content))
    _check(table, [image.path for image in collected(aws, day).images])
    marker = {
        "dt": day.dt,
        "rows": len(table),
        "decisions": _counts(table),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    if _is_in_place(aws, day, marker):
        return marker, False
    day.decisions.delete(aws, SUCCESS_FILE)
    day.decisions.write(aws, DECISIONS_FILE, content)
    day.decisions.write(aws, SUCCESS_FILE, json.dumps(marker, indent=1).encode())
    return marker, True


def _check(table: pa.Table, images: list[str]) -> None:
    """Check that every image has one row, with a decision or an error.

    Raises:
        DataError: it has not.
    """
    remedy = "Clear the task decide."
    paths = table[PATH].to_pylist()
    if paths != images:
        differ = sorted(set(paths) ^ set(images))
        raise DataError(
            "the decisions are not those of the day's images",
            expected=f"{len(images)} rows, one for each image",
            got=f"{len(paths)} rows; of one side only: {', '.join(differ[:MAX_SHOWN]) or 'none'}",
            remedy=remedy,
        )
    undecided = pc.equal(pc.is_valid(table["decision"]), pc.is_valid(table["error"]))
    if pc.any(undecided).as_py():
        bad = table.filter(undecided)[PATH].to_pylist()
        raise DataError(
            f"{len(bad)} rows are incomplete",
            expected="a decision or an error",
            got=", ".join(bad[:MAX_SHOWN]),
            remedy=remedy,
        )


def _counts(table: pa.Table) -> dict[str, int]:
    found = pc.fill_null(table["decision"], "error").value_counts().to_pylist()
    return {each["values"]: each["counts"] for each in sorted(found, key=lambda x: x["values"])}


def _is_in_place(aws: Aws, day: Day, marker: dict[str, Any]) -> bool:
    success = day.decisions.read(aws, SUCCESS_FILE)
    if success is None or json.loads(success) != marker:
        return False
    there = day.decisions.read(aws, DECISIONS_FILE)
    return there is not None and hashlib.sha256(there).hexdigest() == marker["sha256"]
