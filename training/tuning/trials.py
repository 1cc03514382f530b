"""The results of a search: a table, a plot, and the best options as a config for ``fit``."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from augrank.files import atomic_write
from augrank.reporting import Table
from training.config import FitConfig
from training.run.plots import BLUE, GREY, ORANGE, plain_axes, save_figure
from training.tuning.space import Range, Space, Value

State = Literal["complete", "pruned", "failed", "running"]
COLUMNS = ("trial", "state", "validation_accuracy", "epochs_done", "seconds", "reason")


@dataclass(frozen=True)
class Trial:
    """One trial of a search."""

    number: int
    state: State
    value: float | None  # validation accuracy of its best epoch; if pruned, of its last one
    epochs: int | None  # number of epochs it trained
    seconds: float | None
    parameters: dict[str, Value]
    reason: str = ""  # of its failure


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial with the highest accuracy, on ties the earliest, or None."""
    done = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    return max(done, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def write_results(out: Path, config: FitConfig, space: Space, trials: Sequence[Trial]) -> None:
    """Write trials.csv, trials.png and, if a trial is complete, best.yaml."""
    names = list(space.options)
    with (
        atomic_write(out / "trials.csv") as file,
        file.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*COLUMNS, *names])
        for t in trials:
            columns = (t.number, t.state, t.value, t.epochs, t.seconds, t.reason)
            writer.writerow([*columns, *(t.parameters.get(name, "") for name in names)])
    _plot(out / "trials.png", space, trials)
    if best := best_trial(trials):
        with atomic_write(out / "best.yaml") as file:
            file.write_text(best_config(config, best), encoding="utf-8")


def best_config(config: FitConfig, best: Trial) -> str:
    """Return the options of the best trial as YAML, for ``fit``."""
    options = config.model_copy(update=best.parameters).model_dump(
        mode="json", exclude_defaults=True, exclude={"out", "cache", "cache_gb", "name", "threads"}
    )
    return (
        f"# Trial {best.number}: validation accuracy {best.value:.4f}\n"
        "# python -m training fit --config THIS --out RUN\n"
        + yaml.safe_dump(options, sort_keys=True)
    )


def results_table(space: Space, trials: Sequence[Trial]) -> Table:
    """Return the table of trials for the terminal, the best first."""
    columns = ("trial", "validation accuracy", "epochs", "seconds", *space.options, "")
    rows = [
        (
            str(t.number),
            "-" if t.value is None else f"{t.value:.2%}",
            "-" if t.epochs is None else str(t.epochs),
            "-" if t.seconds is None else f"{t.seconds:.0f}",
            *(format_value(t.parameters.get(name, "-")) for name in space.options),
            "" if t.state == "complete" else f"{t.state} {t.reason}".strip(),
        )
        for t in sorted(trials, key=lambda t: (t.state != "complete", -(t.value or 0.0), t.number))
    ]
    return Table("Trials", columns, rows)


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the numbers of trials and the options of the best, the last line of the output."""
    best = best_trial(trials)
    return {
        "trials": len(trials),
        "pruned": sum(trial.state == "pruned" for trial in trials),
        "failed": sum(trial.state == "failed" for trial in trials),
        "validation_accuracy": best.value if best else None,
        "best": best.parameters if best else None,
    }


def format_value(value: Value) -> str:
    """Format a parameter for messages."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plot(file: Path, space: Space, trials: Sequence[Trial]) -> None:
    """Plot the accuracy by trial, and against each option."""
    scored = [trial for trial in trials if trial.value is not None]
    figure = Figure(figsize=(3.4 * (1 + len(space.options)), 3.4), layout="constrained")
    by_trial, *by_option = figure.subplots(1, 1 + len(space.options), sharey=True)
    _scatter(by_trial, [trial.number for trial in scored], scored)
    best, best_so_far = 0.0, []
    for trial in scored:
        best = max(best, trial.value or 0.0) if trial.state == "complete" else best
        best_so_far.append(best or float("nan"))
    by_trial.step([t.number for t in scored], best_so_far, where="post", color=GREY, lw=1)
    plain_axes(by_trial, "Validation accuracy", "trial", "")
    for axes, (name, option) in zip(by_option, space.options.items(), strict=True):
        chosen = [trial.parameters.get(name) for trial in scored]
        if not isinstance(option, Range):
            axes.set_xticks(range(len(option)), [str(value) for value in option])
            chosen = [option.index(value) if value in option else -1 for value in chosen]
        _scatter(axes, chosen, scored)
        if isinstance(option, Range) and option.log:
            axes.set_xscale("log")
        plain_axes(axes, "", name, "")
    save_figure(figure, file)


def _scatter(axes: Axes, x: Sequence[object], trials: Sequence[Trial]) -> None:
    colors = [BLUE if trial.state == "complete" else ORANGE for trial in trials]
    axes.scatter(x, [trial.value for trial in trials], c=colors, s=18)  # type: ignore[arg-type]
