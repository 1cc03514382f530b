"""Render the results of an experiment as a section of docs/results.md."""

from benchmarks.common.markdown import render
from benchmarks.common.results import Results
from benchmarks.labels.systems import SYSTEMS, System
from benchmarks.labels.targets import target_rows


def heading_of(system: System) -> str:
    """Return the heading of a system's section."""
    return f"## {system.title}"


HEADINGS = tuple(heading_of(system) for system in SYSTEMS.values())


def labels_section(results: Results) -> str:
    """Render results as a section of docs/results.md."""
    system = SYSTEMS[results["system"]]
    return render(
        "labels.md.j2",
        results,
        heading=heading_of(system),
        described=system,
        targets=target_rows(results),
    )
