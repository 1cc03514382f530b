"""The section of docs/performance.md about a GPU."""

from typing import Any

from benchmarks.common.markdown import render
from benchmarks.common.results import Results
from benchmarks.gpu.targets import target_rows


def gpu_section(results: Results) -> str:
    """Render the results of ``python -m benchmarks gpu``: rows that were measured, and the rest."""
    measured = {row["name"]: row["figures"] for row in results["rows"] if row["figures"]}
    return render(
        "gpu.md.j2",
        results,
        targets=target_rows(results),
        tests=measured.get("tests"),
        trained=[row for name, row in measured.items() if name.startswith("train ")],
        served=[each for name in ("serve", "tensorrt") for each in _served(measured.get(name))],
        graphs=[each for name in ("serve", "tensorrt") for each in _graphs(measured.get(name))],
        job=measured.get("job"),
        torchserve=measured.get("torchserve"),
        trees=measured.get("xgboost"),
        missing=[row for row in results["rows"] if row["state"] != "measured"],
    )


def _graphs(figures: dict[str, Any] | None) -> list[dict[str, Any]]:
    if figures is None:
        return []
    return [{"precision": name, **graph} for name, graph in figures["graphs"].items()]


def _served(figures: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [{**graph, **batch} for graph in _graphs(figures) for batch in graph["batches"]]
