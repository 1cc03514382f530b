"""Measure instance types one after another, within a spending limit, even if some of them fail."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from augrank.errors import AugrankError
from augrank.reporting import ShowStatus
from benchmarks.instances.catalogue import InstanceType
from benchmarks.instances.figures import LeftRunning, Platform, ServingFigures, TrainingFigures
from benchmarks.instances.ledger import Ledger, Work

# Maximum duration of one endpoint, in hours, for which the limit must leave room: SageMaker is
# given forty minutes to start it, and the load and its deletion take a few more.
SERVING_HOURS = 1.0


@dataclass(frozen=True)
class Budget:
    """Prices and limits."""

    usd_per_hour: Mapping[str, float]  # of every type with costs
    max_usd: float  # nothing is started that might exceed it
    training_hours: float  # limit of a training job

    def price(self, name: str) -> float:
        """Return the price of a type, in USD per hour."""
        return self.usd_per_hour.get(name, 0.0)

    def worst_case(self, work: Work, name: str) -> float:
        """Return the maximum cost of a measurement, in USD."""
        hours = self.training_hours if work == "training" else SERVING_HOURS
        return self.price(name) * hours


def left_out(work: Work, kind: InstanceType) -> str:
    """Return why a type is not measured for this work; empty if it is."""
    if work == "training" and not kind.trains:
        return "SageMaker does not train on it"
    if work == "serving" and not kind.serves:
        return "SageMaker does not serve on it"
    return ""


def run(
    works: Sequence[Work],
    kinds: Sequence[InstanceType],
    platform: Platform,
    ledger: Ledger,
    budget: Budget,
    step: ShowStatus,
) -> None:
    """Measure everything without figures; if a type fails, record it and continue with the next.

    Args:
        works: training, serving or both.
        kinds: instance types.
        platform: measures the types.
        ledger: keeps figures and spending; whatever it lists as running is removed first.
        budget: prices and limits.
        step: receives progress messages.

    Raises:
        LeftRunning: a resource could not be removed; the ledger still lists it as running.
    """
    for leftover in platform.clean(works, kinds, step):
        step(f"removed a leftover of an earlier call: {leftover}")
    for work, name in ledger.running:
        # A job ends at its limit, whenever the next call comes; an endpoint does not end.
        at_most = budget.training_hours if work == "training" else None
        ledger.end(work, name, budget.price(name), None, hours_at_most=at_most)
    for work, kind in _tries(works, kinds, ledger):
        worst = budget.worst_case(work, kind.name)
        if ledger.spent_usd + worst > budget.max_usd:
            why = (
                f"left out: ${ledger.spent_usd:.2f} are spent, it might cost ${worst:.2f} more, "
                f"and the limit is ${budget.max_usd:.2f}"
            )
            ledger.end(work, kind.name, budget.price(kind.name), why)
            continue
        _try(work, kind, platform, ledger, budget.price(kind.name), step)


def _try(
    work: Work,
    kind: InstanceType,
    platform: Platform,
    ledger: Ledger,
    usd_per_hour: float,
    step: ShowStatus,
) -> None:
    """Train or serve on one type, and record the figures or the error."""
    result: TrainingFigures | ServingFigures | str | None = None
    ledger.begin(work, kind.name)
    try:
        step(f"{work} on {kind.name}")
        result = (platform.train if work == "training" else platform.serve)(kind, step)
    except LeftRunning:
        raise  # it stays in the ledger as running
    except AugrankError as error:
        result = str(error)
        step(f"{work} on {kind.name} failed: {error}")
    except KeyboardInterrupt:
        ledger.end(work, kind.name, usd_per_hour, None)
        raise
    ledger.end(work, kind.name, usd_per_hour, result)


def _tries(
    works: Sequence[Work], kinds: Sequence[InstanceType], ledger: Ledger
) -> Iterator[tuple[Work, InstanceType]]:
    """Yield work and types without figures."""
    for work in works:
        for kind in kinds:
            if not left_out(work, kind) and ledger.figures(work, kind.name) is None:
                yield work, kind
