"""Tries instance types one after another: within a spending limit, whatever one of them does."""

from collections.abc import Iterator, Mapping, Sequence

from augrank.errors import AugrankError
from augrank.reporting import Step
from benchmarks.instances.catalogue import InstanceType
from benchmarks.instances.figures import LeftRunning, Place, ServingFigures, TrainingFigures
from benchmarks.instances.ledger import Ledger, Work

# What a try costs at most, in hours, which the limit must leave room for: SageMaker is given forty
# minutes to start an endpoint, and asking and deleting it take a few more.
SERVING_HOURS = 1.0


def left_out(work: Work, kind: InstanceType) -> str:
    """Why a type is not tried for this work; nothing where it is."""
    if work == "training" and not kind.trains:
        return "SageMaker does not train on it"
    if work == "serving" and not kind.serves:
        return "SageMaker does not serve on it"
    return ""


def run(
    works: Sequence[Work],
    kinds: Sequence[InstanceType],
    place: Place,
    ledger: Ledger,
    usd_per_hour: Mapping[str, float],
    step: Step,
    *,
    most_usd: float,
    training_hours: float,
) -> None:
    """Measure what has no figures yet; a type that fails is noted and the next one tried.

    Args:
        works: training, serving or both.
        kinds: instance types.
        place: where.
        ledger: keeps figures and spending; whatever it says is running is removed first.
        usd_per_hour: prices, of every type that costs anything.
        step: told what is being done.
        most_usd: nothing is started that might pass it.
        training_hours: a job's limit.

    Raises:
        LeftRunning: something could not be removed; the ledger still has it as running.
    """
    for what in place.clean(works, kinds, step):
        step(f"removed what an earlier call had left: {what}")
    for work, name in ledger.running:
        # A job ends at its limit, whenever the next call comes; an endpoint does not end.
        at_most = training_hours if work == "training" else None
        ledger.end(work, name, usd_per_hour.get(name, 0.0), None, hours_at_most=at_most)
    for work, kind in _tries(works, kinds, ledger):
        price = usd_per_hour.get(kind.name, 0.0)
        worst = price * (training_hours if work == "training" else SERVING_HOURS)
        if ledger.spent_usd + worst > most_usd:
            ledger.end(
                work, kind.name, price,
                f"left out: ${ledger.spent_usd:.2f} are spent, it might cost ${worst:.2f} more, "
                f"and the limit is ${most_usd:.2f}",
            )  # fmt: skip
            continue
        result: TrainingFigures | ServingFigures | str | None = None
        ledger.begin(work, kind.name)
        try:
            step(f"{work} on {kind.name}")
            result = (place.train if work == "training" else place.serve)(kind, step)
        except LeftRunning:
            raise  # it stays in the ledger as running
        except AugrankError as error:
            result = str(error)
            step(f"{work} on {kind.name} failed: {error}")
        except KeyboardInterrupt:
            ledger.end(work, kind.name, price, None)
            raise
        ledger.end(work, kind.name, price, result)


def _tries(
    works: Sequence[Work], kinds: Sequence[InstanceType], ledger: Ledger
) -> Iterator[tuple[Work, InstanceType]]:
    for work in works:
        for kind in kinds:
            if not left_out(work, kind) and ledger.figures(work, kind.name) is None:
                yield work, kind
