"""Run rows in order of worth within a time limit; resume with those that are not measured yet."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from augrank.reporting import Reporter
from benchmarks.common.resume import PartialResults
from benchmarks.gpu.config import Figures, GpuBenchConfig, NotPossibleHere, RowContext
from benchmarks.gpu.process import Measure, Outcome, RowFailed, run_in_process

NOT_REACHED = "the visit ended before it"


@dataclass(frozen=True)
class Row:
    """One row of the visit.

    Attributes:
        name: in results.json.
        measure: runs in a process of its own.
        share: of the visit's time; what a row does not use is divided among the later ones.
        least_s: the row is not started if less time is left.
        subject: of its figures, if the command line names one, such as a bundle's path.
    """

    name: str
    measure: Measure
    share: float
    least_s: float
    subject: str = ""

    @property
    def part(self) -> str:
        """Its name among the results of an earlier call."""
        return f"{self.name} {self.subject}".strip()


@dataclass(frozen=True)
class RowResult:
    """What became of a row."""

    name: str
    state: Outcome
    seconds: float = 0.0
    reason: str = ""  # why it failed, or was left out
    figures: Figures = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it is to be measured yet."""
        return self.state != "measured"


class Save(Protocol):
    """Saves the results so far."""

    def __call__(self, results: Sequence[RowResult]) -> None:
        """Save them."""


@dataclass(frozen=True)
class Visit:
    """A visit's time and services.

    Attributes:
        config: the device, and the amount of work.
        scratch: folder that all rows share.
        seconds: of all rows together, in this call.
        parts: rows measured by an earlier call are taken from here.
        reporter: says what is being measured.
        save: called at the start, and after each row.
        only: names of the rows to run; the others are taken from an earlier call, if it ran them.
        clock: monotonic seconds.
    """

    config: GpuBenchConfig
    scratch: Path
    seconds: float
    parts: PartialResults
    reporter: Reporter
    save: Save
    only: Collection[str] | None = None
    clock: Callable[[], float] = time.monotonic

    def run(self, rows: Sequence[Row]) -> list[RowResult]:
        """Run the rows in their order; a row that fails does not stop the others.

        Returns:
            A result of each row, as saved at the start and after each row.
        """
        start = self.clock()
        results = [self._kept(row) for row in rows]
        self.save(results)
        waiting = [n for n, row in enumerate(rows) if self._is_wanted(row) and results[n].is_open]
        for place, number in enumerate(waiting):
            left_s = self.seconds - (self.clock() - start)
            limit_s = limit_of(rows[number], [rows[each] for each in waiting[place:]], left_s)
            results[number] = self._result(rows[number], limit_s, left_s, results)
            self.save(results)
        return results

    def _kept(self, row: Row) -> RowResult:
        """Return the row's result of an earlier call, or that there is none."""

        def decline() -> RowResult:
            raise NotPossibleHere(NOT_REACHED if self._is_wanted(row) else "not one of --rows")

        try:
            return self.parts.get_or_measure(row.part, RowResult, decline)
        except NotPossibleHere as error:
            return RowResult(row.name, "left out", reason=str(error))

    def _result(
        self, row: Row, limit_s: float, left_s: float, results: Sequence[RowResult]
    ) -> RowResult:
        """Run a row, if there is time."""
        earlier = {result.name: result.figures for result in results if not result.is_open}
        context = RowContext(self.config, self.scratch, limit_s, earlier)
        started = self.clock()

        def measure() -> RowResult:
            if left_s < row.least_s:
                raise NotPossibleHere(
                    f"needs {row.least_s:.0f} s, and {max(0.0, left_s):.0f} s are left"
                )
            self.reporter.say(f"{row.name}: up to {limit_s:.0f} of {left_s:.0f} s")
            figures = run_in_process(row.measure, context)
            return RowResult(row.name, "measured", self._since(started), figures=figures)

        try:
            return self.parts.get_or_measure(row.part, RowResult, measure)
        except NotPossibleHere as error:
            self.reporter.say(f"{row.name} is left out: {error}")
            return RowResult(row.name, "left out", self._since(started), str(error))
        except RowFailed as error:
            self.reporter.say(f"{row.name} failed: {error}")
            return RowResult(row.name, "failed", self._since(started), str(error))

    def _is_wanted(self, row: Row) -> bool:
        return self.only is None or row.name in self.only

    def _since(self, start: float) -> float:
        return round(self.clock() - start, 1)


def limit_of(row: Row, rest: Sequence[Row], left_s: float) -> float:
    """Return a row's seconds: its share of what is left, or what it needs, if there is as much.

    Args:
        row: the next one.
        rest: the rows that are yet to be run, this one included.
        left_s: seconds that are left.
    """
    share = row.share / sum(each.share for each in rest)
    return min(left_s, max(row.least_s, share * left_s))
