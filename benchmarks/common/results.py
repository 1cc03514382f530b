"""results.json: the final JSON line of a benchmark, as a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augrank.errors import BadRequest, DataError, reason

Results = Mapping[str, Any]  # the content of a results.json
RESULTS_VERSION = 4  # incremented when keys change


def read_results(file: Path) -> dict[str, Any]:
    """Read a results.json.

    Raises:
        BadRequest: the file cannot be read as a JSON object.
    """
    expected = "the results.json of another command"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequest(f"{file} cannot be read", expected=expected, got=reason(error)) from error
    if not isinstance(content, dict):
        raise BadRequest(
            f"{file} is not a results.json", expected=expected, got=type(content).__name__
        )
    return content


def check_version(results: Results) -> None:
    """Reject results of another version, whose keys differ.

    Raises:
        DataError: gives the command that measures again.
    """
    version = results.get("results_version")
    if version != RESULTS_VERSION:
        name = results["benchmark"]
        raise DataError(
            f"these results of {name!r} were written by another version of the benchmarks",
            expected=f"results_version {RESULTS_VERSION}",
            got="none, as in older versions" if version is None else str(version),
            remedy=f"Measure again: {results.get('command', f'python -m benchmarks {name}')}",
        )
