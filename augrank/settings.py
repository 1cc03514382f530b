"""The environment variables that a worker reads. The only place that names them."""

import os
from dataclasses import dataclass
from typing import cast, get_args

from augrank.bundle import Precision
from augrank.engines import Device
from augrank.errors import ServerError, one_of

THREADS, PRECISION, DEVICE = "AUGRANK_THREADS", "AUGRANK_PRECISION", "AUGRANK_DEVICE"
SPIN, CACHE_MB = "AUGRANK_SPIN", "AUGRANK_CACHE_MB"


@dataclass(frozen=True)
class WorkerSettings:
    """How one worker runs the model; None leaves the choice to the machine or the bundle."""

    threads: int | None = None
    precision: Precision | None = None
    device: Device = "auto"
    spin: bool = False
    cache_mb: int = 0

    @classmethod
    def from_environment(cls) -> "WorkerSettings":
        """Read the variables above; unset or empty is the default."""
        return cls(
            threads=_whole(THREADS, least=1),
            precision=cast(Precision | None, _choice(PRECISION, get_args(Precision))),
            device=cast(Device, _choice(DEVICE, get_args(Device)) or "auto"),
            spin=_choice(SPIN, ("0", "1")) == "1",
            cache_mb=_whole(CACHE_MB, least=0) or 0,
        )


def _whole(name: str, least: int) -> int | None:
    value = os.environ.get(name) or None
    if value is None:
        return None
    if not value.isdecimal() or int(value) < least:
        raise ServerError(
            f"{name} does not fit", expected=f"a whole number from {least}", got=value
        )
    return int(value)


def _choice(name: str, allowed: tuple[str, ...]) -> str | None:
    value = os.environ.get(name) or None
    if value is not None and value not in allowed:
        raise ServerError(f"{name} does not fit", expected=one_of(allowed, value), got=value)
    return value
