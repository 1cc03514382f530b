"""The environment variables that a worker reads. The only place that names them."""

import os
from dataclasses import dataclass
from typing import cast, get_args

from augrank.backbone import Device
from augrank.bundle import Precision
from augrank.errors import ServerError, one_of

THREADS, PRECISION, DEVICE = "AUGRANK_THREADS", "AUGRANK_PRECISION", "AUGRANK_DEVICE"


@dataclass(frozen=True)
class WorkerSettings:
    """How one worker runs the model; None leaves the choice to the machine or the bundle."""

    threads: int | None = None
    precision: Precision | None = None
    device: Device = "auto"

    @classmethod
    def from_environment(cls) -> "WorkerSettings":
        """Read AUGRANK_THREADS, AUGRANK_PRECISION and AUGRANK_DEVICE; unset or empty is None."""
        threads = os.environ.get(THREADS) or None
        if threads is not None and not (threads.isdecimal() and int(threads) > 0):
            raise ServerError(f"{THREADS} does not fit", expected="a whole number", got=threads)
        return cls(
            threads=int(threads) if threads else None,
            precision=cast(Precision | None, _choice(PRECISION, get_args(Precision))),
            device=cast(Device, _choice(DEVICE, get_args(Device)) or "auto"),
        )


def _choice(name: str, allowed: tuple[str, ...]) -> str | None:
    value = os.environ.get(name) or None
    if value is not None and value not in allowed:
        raise ServerError(f"{name} does not fit", expected=one_of(allowed, value), got=value)
    return value
