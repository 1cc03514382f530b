"""The section of docs/performance.md about training."""

from typing import Any

from benchmarks.common.markdown import render
from benchmarks.common.results import Results
from benchmarks.common.statistics import Median
from benchmarks.common.targets import single
from benchmarks.training.targets import ACCURACY, H100, H100_JOB, H100_SIZE_PX, RATIOS, SHARED_BATCH


def training_section(results: Results) -> str:
    """Render the results of ``python -m benchmarks training``."""
    figures = {**results["ratios"], **results["scaling"], **results}
    return render(
        "training.md.j2",
        results,
        targets=[
            target.row(figures[target.name])
            for target in (*RATIOS, SHARED_BATCH, ACCURACY)
            if target.name in figures
        ],
        compiled_rows=[
            f"{row['backbone']} {row['size']} px" for row in results["backbones"] if row["compiled"]
        ],
        run_rows=_run_rows(results["runs"]),
        h100_rows=_h100_rows(results) if "H100" in (results["gpu"] or "") else [],
    )


def _run_rows(runs: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "seconds": Median.of(runs[f"{key}_s"]).to_dict(),
            "accuracy": Median.of(runs[f"{key}_accuracy"]).to_dict(),
        }
        for name, key in (("augrank", "ours"), ("the plain script", "naive"))
    ]


def _h100_rows(results: Results) -> list[list[str]]:
    """Rows of the targets for an H100."""
    synthetic = {
        row["backbone"]: row["synthetic"]
        for row in results["backbones"]
        if row["size"] == H100_SIZE_PX
    }
    rows = [target.row(synthetic[target.name]) for target in H100 if target.name in synthetic]
    if results["job"]:
        rows.append(H100_JOB.row(single(results["job"]["warm_s"])))
    return rows
