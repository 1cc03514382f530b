"""The results of a search: a table, a plot, and the best options as a config for ``fit``."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any, Literal

import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from augrank.files import atomic_write
from augrank.reporting import Table
from training.config import FitConfig
from training.run.plots import BLUE, GREY, ORANGE, plain_axes, save_figure
from training.tuning.figures import TrialFigures
from training.tuning.space import Range, Space, Value

State = Literal["complete", "pruned", "failed", "running"]
FIGURES = tuple(field.name for field in fields(TrialFigures))
LEAST_GAIN = 1.1  # of speed, that counts as quicker
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
    figures: TrialFigures | None = None  # of a classifier


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial to take, or None.

    It is the one with the highest accuracy, on ties the earliest. Of classifiers, it is one of the
    quickest to answer of those whose macro-F1 is inside the interval of the highest; of several
    that are as quick, the one with the highest macro-F1.
    """
    return max(_as_good_and_quick(trials), key=_rank, default=None)


def _as_good_and_quick(trials: Sequence[Trial]) -> list[Trial]:
    """Return the complete trials of which the one with the highest score is to be taken."""
    done = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    leader = max(done, key=_rank, default=None)
    if leader is None or leader.figures is None:
        return done
    speeds, least = _speeds(trials), leader.figures.macro_f1_low
    equal = [t for t in done if t.figures is not None and t.figures.macro_f1 >= least]
    quicker = [t for t in equal if _is_quicker(speeds[_network(t)], speeds[_network(leader)])]
    if not quicker:
        return [leader]
    fastest = max((speeds[_network(t)] for t in quicker), key=median)
    return [t for t in quicker if not _is_quicker(fastest, speeds[_network(t)])]


def _network(trial: Trial) -> Value | None:
    """Return what the time of an answer depends on; None if all trials have the same."""
    return trial.parameters.get("backbone")


def _speeds(trials: Sequence[Trial]) -> dict[Value | None, list[float]]:
    """Return the images a second of each network, measured after each of its trials."""
    speeds: dict[Value | None, list[float]] = {}
    for trial in trials:
        if trial.figures is not None:
            speeds.setdefault(_network(trial), []).append(trial.figures.images_per_s)
    return speeds


def _is_quicker(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Return whether a network is quicker than another by more than the noise of the timing.

    Timings of one network differ between its trials by noise alone. So all of ours are above all
    of theirs, and by LEAST_GAIN, for networks that were timed only once.
    """
    return min(ours) > LEAST_GAIN * max(theirs)


def _rank(trial: Trial) -> tuple[float, int]:
    score = trial.figures.macro_f1 if trial.figures else trial.value or 0.0
    return score, -trial.number


def verdict(trials: Sequence[Trial]) -> str:
    """Say which trial of a classifier is taken, and why; empty without figures."""
    found = _as_good_and_quick(trials)
    best = max(found, key=_rank, default=None)
    if best is None or best.figures is None:
        return ""
    leader = max((t for t in trials if t.state == "complete" and t.figures), key=_rank)
    speeds, ours = _speeds(trials), best.figures
    speed = median(speeds[_network(best)])
    text = (
        f"Trial {best.number} is taken: macro-F1 {ours.macro_f1:.4f} ({ours.macro_f1_low:.4f} to "
        f"{ours.macro_f1_high:.4f}), {speed:.0f} images/s"
    )
    if best is leader or leader.figures is None:
        return text + ", the highest macro-F1, and none as good is quicker beyond timing noise."
    text += (
        f". Trial {leader.number} has {leader.figures.macro_f1:.4f}, whose interval holds this, "
        f"and it is {speed / median(speeds[_network(leader)]):.1f} times as quick."
    )
    if len(found) > 1:
        text += f" Of the {len(found)} trials as good and as quick, its macro-F1 is the highest."
    return text


def write_results(out: Path, config: FitConfig, space: Space, trials: Sequence[Trial]) -> None:
    """Write trials.csv, trials.png and, if a trial is complete, best.yaml."""
    names = list(space.options)
    with (
        atomic_write(out / "trials.csv") as file,
        file.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        measured = FIGURES if any(t.figures for t in trials) else ()
        writer.writerow([*COLUMNS, *names, *measured])
        for t in trials:
            columns = (t.number, t.state, t.value, t.epochs, t.seconds, t.reason)
            figures = t.figures.as_json() if t.figures else {}
            writer.writerow(
                [
                    *columns,
                    *(t.parameters.get(name, "") for name in names),
                    *(figures.get(name, "") for name in measured),
                ]
            )
    if any(t.figures for t in trials):
        _plot_cost(out / "cost.png", trials)
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
    measured = ("macro-F1 (95 %)", "images/s") if any(t.figures for t in trials) else ()
    columns = ("trial", "validation accuracy", *measured, "epochs", "seconds", *space.options, "")
    rows = [
        (
            str(t.number),
            "-" if t.value is None else f"{t.value:.2%}",
            *(_figure_cells(t.figures) if measured else ()),
            "-" if t.epochs is None else str(t.epochs),
            "-" if t.seconds is None else f"{t.seconds:.0f}",
            *(format_value(t.parameters.get(name, "-")) for name in space.options),
            "" if t.state == "complete" else f"{t.state} {t.reason}".strip(),
        )
        for t in sorted(trials, key=lambda t: (t.state != "complete", -(t.value or 0.0), t.number))
    ]
    return Table("Trials", columns, rows)


def _figure_cells(figures: TrialFigures | None) -> tuple[str, str]:
    if figures is None:
        return "-", "-"
    interval = f"{figures.macro_f1_low:.4f} to {figures.macro_f1_high:.4f}"
    return f"{figures.macro_f1:.4f} ({interval})", f"{figures.images_per_s:.0f}"


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the numbers of trials and the options of the best, the last line of the output."""
    best = best_trial(trials)
    return {
        "trials": len(trials),
        "pruned": sum(trial.state == "pruned" for trial in trials),
        "failed": sum(trial.state == "failed" for trial in trials),
        "validation_accuracy": best.value if best else None,
        "macro_f1": best.figures.macro_f1 if best and best.figures else None,
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


def _plot_cost(file: Path, trials: Sequence[Trial]) -> None:
    """Plot macro-F1 with its interval against the time of training, and of an answer."""
    done = [trial for trial in trials if trial.figures is not None and trial.seconds]
    best = best_trial(trials)
    figure = Figure(figsize=(9, 4), layout="constrained")
    by_training, by_answer = figure.subplots(1, 2, sharey=True)
    for trial in done:
        figures = trial.figures
        assert figures is not None
        color = ORANGE if best and trial.number == best.number else BLUE
        middle = figures.macro_f1
        ends = [[middle - figures.macro_f1_low], [figures.macro_f1_high - middle]]
        name = ", ".join(format_value(value) for value in trial.parameters.values())
        costs = ((by_training, trial.seconds or 0.0), (by_answer, 1e3 / figures.images_per_s))
        for axes, cost in costs:
            axes.errorbar([cost], [middle], yerr=ends, fmt="o", color=color, ms=4, lw=1)
            axes.annotate(name, (cost, middle), (4, 4), textcoords="offset points", fontsize=7)
    plain_axes(by_training, "Macro-F1, validation", "seconds of training", "")
    plain_axes(by_answer, "", "milliseconds for an image", "")
    by_training.set_xscale("log")
    save_figure(figure, file)


def _scatter(axes: Axes, x: Sequence[object], trials: Sequence[Trial]) -> None:
    colors = [BLUE if trial.state == "complete" else ORANGE for trial in trials]
    axes.scatter(x, [trial.value for trial in trials], c=colors, s=18)  # type: ignore[arg-type]
