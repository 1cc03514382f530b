"""The section of docs/performance.md about the service."""

from benchmarks.common.markdown import render
from benchmarks.common.results import Results
from benchmarks.service.targets import target_rows


def service_section(results: Results) -> str:
    """Render the results of ``python -m benchmarks service``."""
    return render("service.md.j2", results, targets=target_rows(results))
