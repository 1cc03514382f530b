"""What was done to the service, and what was wrong."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

FAULTS = ("lost", "stale", "leaked", "refused")


@dataclass
class Tally:
    """Counts of operations, and a line of text for each fault."""

    operations: int = 0
    fixes: int = 0  # that were answered with 201, undone ones included
    unanswered: int = 0  # requests that a kill cut off, or that got a 503 meanwhile
    lost: list[str] = field(default_factory=list)  # rows that were answered, and are gone
    stale: list[str] = field(default_factory=list)  # answers without what holds
    leaked: list[str] = field(default_factory=list)  # rows of another advertiser
    refused: list[str] = field(default_factory=list)  # statuses that nobody may get

    @classmethod
    def of_all(cls, tallies: Iterable["Tally"]) -> "Tally":
        """Add tallies up."""
        total = cls()
        for tally in tallies:
            for each in fields(cls):
                setattr(total, each.name, getattr(total, each.name) + getattr(tally, each.name))
        return total
