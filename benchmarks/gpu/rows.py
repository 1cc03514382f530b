"""The rows of a visit, in order of worth.

Each imports what it measures in its own process: this module imports nothing heavy.
"""

from collections.abc import Callable
from functools import partial

from augrank.contracts.run import BackboneName
from benchmarks.gpu.config import Figures, GpuBenchConfig, RowContext
from benchmarks.gpu.visit import Row

QUICK_LEAST_S = 1.0
# torch.compile is most of it, and takes longer for deeper networks.
TRAIN_LEAST_S = {"resnet18": 60.0, "resnet34": 75.0, "resnet50": 90.0}


def visit_rows(config: GpuBenchConfig) -> list[Row]:
    """Return the rows with their shares of the time, and the seconds without which none starts."""

    def row(
        name: str,
        measure: Callable[[RowContext], Figures],
        share: float,
        least_s: float,
        subject: str = "",
    ) -> Row:
        return Row(name, measure, share, QUICK_LEAST_S if config.quick else least_s, subject)

    return [
        row("tests", _tests, 6, 150),
        *(
            row(f"train {name}", partial(_train, name), 3, TRAIN_LEAST_S[name])
            for name in config.backbones
        ),
        row("serve", _serving, 3, 50),
        row("job", _job, 6, 90),
        row("torchserve", _torchserve, 2, 45, str(config.bundle or "")),
        row("xgboost", _trees, 1, 30),
        row("tensorrt", _tensorrt, 2, 120),
    ]


def _tests(context: RowContext) -> Figures:
    from benchmarks.gpu.marked_tests import measure_tests

    return measure_tests(context)


def _train(backbone: BackboneName, context: RowContext) -> Figures:
    from benchmarks.gpu.training import measure_training

    return measure_training(backbone, context)


def _serving(context: RowContext) -> Figures:
    from benchmarks.gpu.serving import measure_serving

    return measure_serving(context)


def _job(context: RowContext) -> Figures:
    from benchmarks.gpu.job import measure_job

    return measure_job(context)


def _torchserve(context: RowContext) -> Figures:
    from benchmarks.gpu.torchserve import measure_torchserve

    return measure_torchserve(context)


def _trees(context: RowContext) -> Figures:
    from benchmarks.gpu.trees import measure_trees

    return measure_trees(context)


def _tensorrt(context: RowContext) -> Figures:
    from benchmarks.gpu.serving import measure_tensorrt

    return measure_tensorrt(context)
