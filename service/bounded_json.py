"""Read JSON of others, unless it has so many parts that it would hold up everybody else."""

import json
import re
from typing import Any

from service.errors import RequestTooLarge

# 10,000 reports have 210,000 parts. What a few megabytes could have beyond takes seconds to read,
# in which Python does nothing else, whatever the thread.
MAX_PARTS, MAX_NAMES = 300_000, 1_000
_PART = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[,\[{]', re.DOTALL)  # a string, or a mark outside of one


def read_json(body: bytes) -> Any:
    """Return the value of a body of JSON.

    Raises:
        RequestTooLarge: it has too many parts.
        ValueError: it is no JSON in UTF-8.
    """
    return parse_json(body.decode("utf-8-sig"))


def parse_json(text: str) -> Any:
    """Return the value of a text of JSON; see ``read_json``."""
    _check_count("escapes", text.count("\\"), MAX_PARTS)
    for count, _ in enumerate(_PART.finditer(text), 1):
        _check_count("strings, commas and brackets", count, MAX_PARTS)
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_count("names in an object", len(pairs), MAX_NAMES)
    return dict(pairs)


def _check_count(what: str, count: int, most: int) -> None:
    if count > most:
        raise RequestTooLarge(
            f"the JSON has too many {what}",
            expected=f"at most {most:,}",
            got="more",
            remedy="Send less at once.",
        )
