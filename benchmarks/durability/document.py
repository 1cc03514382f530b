"""The section of docs/results.md about durability."""

from benchmarks.common.markdown import render
from benchmarks.common.results import Results
from benchmarks.durability.run import DATABASE_EVERY, TITLES
from benchmarks.durability.targets import target_rows

HEADING = "## Durability: fixes while the service is killed"


def durability_section(results: Results) -> str:
    """Render the results of ``python -m benchmarks durability``."""
    return render(
        "durability.md.j2",
        results,
        heading=HEADING,
        titles=TITLES,
        targets=target_rows(results),
        database_killed=any(row["database_kills"] for row in results["databases"].values()),
        database_every=DATABASE_EVERY,
    )
