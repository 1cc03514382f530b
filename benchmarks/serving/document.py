"""The sections of docs/performance.md about serving."""

from benchmarks.common.markdown import render
from benchmarks.common.results import Results
from benchmarks.serving.pipeline import STAGES
from benchmarks.serving.targets import classify_target_rows, target_rows


def pipeline_section(results: Results) -> str:
    """Render the results of ``python -m benchmarks pipeline``."""
    return render("pipeline.md.j2", results)


def classify_section(results: Results) -> str:
    """Render the results of ``python -m benchmarks classify``."""
    return render("classify.md.j2", results, targets=classify_target_rows(results))


def serving_section(results: Results) -> str:
    """Render the results of ``python -m benchmarks serving``."""
    return render(
        "serving.md.j2",
        results,
        stages=STAGES,
        targets=target_rows(results),
        peers_added_ms=_peers_added_ms(results),
    )


def _peers_added_ms(results: Results) -> dict[str, float]:
    """Return the time that each peer adds to the pipeline's own for a lone client, ms."""
    lone_ms = {row["Model"]: row["Lone latency P50"] for row in results["servers"]}
    return {
        name: lone_ms[name] - stages["total"]
        for name, stages in results["stages_ms"].items()
        if not name.startswith("augrank")
    }
