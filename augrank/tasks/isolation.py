"""Isolate the requests of a batch from each other's failures: errors are passed as values."""

import logging
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from augrank.errors import AugrankError

logger = logging.getLogger(__name__)
Parameters = ParamSpec("Parameters")
Item = TypeVar("Item")
Result = TypeVar("Result")


def isolated(
    stage: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result | AugrankError:
    """Run one stage of a request, and return the error if it fails.

    An internal error is logged with its traceback, which the returned error does not contain.
    """
    try:
        return stage(*args, **kwargs)
    except AugrankError as error:
        if error.status >= 500:
            logger.exception("request failed")
        return error
    except Exception:
        logger.exception("request failed")
        return AugrankError("the request failed inside the server", remedy="See the server's log.")


def pass_good(
    items: Sequence[Item | AugrankError],
    work: Callable[[list[Item]], Sequence[Result | AugrankError]],
) -> list[Result | AugrankError]:
    """Pass the items that are not errors to ``work``, and put its results in their places.

    Args:
        items: one per request.
        work: returns one result per item, in order.

    Returns:
        One result or error per request, in order.
    """
    results = iter(work([item for item in items if not isinstance(item, AugrankError)]))
    return [item if isinstance(item, AugrankError) else next(results) for item in items]
