"""The environment variables that a worker reads. The only place that names them."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from augrank.bundle.spec import Precision
from augrank.errors import ServerError, one_of
from augrank.models.engines import Device

THREADS, PRECISION, DEVICE = "AUGRANK_THREADS", "AUGRANK_PRECISION", "AUGRANK_DEVICE"
SPIN, CACHE_MB = "AUGRANK_SPIN", "AUGRANK_CACHE_MB"
FIELDS, ERRORS_AS_200 = "AUGRANK_FIELDS", "AUGRANK_ERRORS_AS_200"
PROFILE = "AUGRANK_PROFILE"  # of a container, whose command line is the platform's


@dataclass(frozen=True)
class WorkerSettings:
    """How one worker runs the model; None leaves the choice to the machine or the bundle."""

    threads: int | None = None
    precision: Precision | None = None
    device: Device = "auto"
    spin: bool = False
    cache_mb: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)  # of requests that do not say otherwise
    errors_as_200: bool = False  # for batch transform, which gives up at the first other status

    @classmethod
    def from_environment(cls) -> "WorkerSettings":
        """Read the variables above; unset or empty is the default."""
        return cls(
            threads=whole(THREADS, least=1),
            precision=cast(Precision | None, choice(PRECISION, get_args(Precision))),
            device=cast(Device, choice(DEVICE, get_args(Device)) or "auto"),
            spin=choice(SPIN, ("0", "1")) == "1",
            cache_mb=whole(CACHE_MB, least=0) or 0,
            fields=_object(FIELDS),
            errors_as_200=choice(ERRORS_AS_200, ("0", "1")) == "1",
        )


def whole(name: str, *, least: int, environment: Mapping[str, str] = os.environ) -> int | None:
    """A variable's whole number; None where it is unset or empty.

    Raises:
        ServerError: it is none, or too small.
    """
    value = environment.get(name) or None
    if value is None:
        return None
    if not value.isdecimal() or int(value) < least:
        raise ServerError(
            f"{name} does not fit", expected=f"a whole number from {least}", got=value
        )
    return int(value)


def choice(
    name: str, allowed: tuple[str, ...], environment: Mapping[str, str] = os.environ
) -> str | None:
    """A variable's value; None where it is unset or empty.

    Raises:
        ServerError: it is none of those allowed.
    """
    value = environment.get(name) or None
    if value is not None and value not in allowed:
        raise ServerError(f"{name} does not fit", expected=one_of(allowed, value), got=value)
    return value


def _object(name: str) -> dict[str, Any]:
    """A variable's JSON object."""
    text = os.environ.get(name) or "{}"
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ServerError(
            f"{name} does not fit", expected='a JSON object, {"target": "open_rate"}', got=text
        )
    return value
