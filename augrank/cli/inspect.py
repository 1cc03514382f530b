"""``augrank inspect``: show the contents of a bundle, and ask it its smoke request."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.bundle.spec import Bundle, BundleSpec
from augrank.cli.arguments import BundleArgument
from augrank.cli.command import friendly_errors

console = Console()
# Columns of the heads' figures, and their names in a head's metrics: accuracy is never alone.
HEAD_FIGURES = {
    "accuracy": "accuracy",
    "majority": "majority_accuracy",
    "AUC": "auc",
    "pairs": "pairwise_accuracy",  # ordered right
    "coverage": "coverage",  # of 90 % intervals
}
LABEL_FIGURES = {
    "accuracy": "accuracy",
    "majority": "majority",
    "macro-F1": "macro_f1",
    "log loss": "log_loss",
    "ECE": "ece",
}
RANK_FIGURES = {"pair accuracy": "pair_accuracy", "log loss of pairs": "log_loss"}


@friendly_errors
def inspect(
    bundle: BundleArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print bundle.json.")] = False,
) -> None:
    """Check a bundle or archive, ask it its smoke request, and print its contents."""
    from augrank.tasks.base import EngineOptions, load_task

    with open_bundle(bundle, BundleSpec) as opened:
        task: Any = load_task(opened, EngineOptions())
        difference = task.check_smoke_request()
        if as_json:
            print(json.dumps(opened.spec.model_dump(mode="json"), indent=2))
            return
        _print_bundle(opened)
        console.print(f"here, {task.graph.summary}")
        if difference is not None:
            console.print(
                f"answers its smoke request as at export: probabilities differ by at most "
                f"{difference:.4f}"
            )


def _print_bundle(bundle: Bundle[BundleSpec]) -> None:
    spec = bundle.spec
    console.print(f"[bold]{spec.name}[/bold] {bundle.version}: all files match their checksums")
    rows = {
        "task": spec.task,
        "backbone": f"{spec.backbone}, {spec.image_size} px, graphs {', '.join(spec.graphs)} "
        f"(preferred: {spec.preferred})",
    }
    tables: list[Table] = []
    if isinstance(spec, RecommendSpec):
        rows |= _recommend_rows(spec)
        tables = _recommend_tables(spec)
    elif isinstance(spec, ClassifySpec):
        if spec.heads:
            rows["labels"] = "; ".join(f"{h.label}: {', '.join(h.classes)}" for h in spec.heads)
        if spec.rankers:
            rows["ranks"] = ", ".join(
                f"{h.rank} (within {h.within})" if h.within else h.rank for h in spec.rankers
            )
        tables = _classify_tables(spec)
    rows["made with"] = ", ".join(f"{name} {v}" for name, v in spec.library_versions.items())
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(f"[dim]{name}[/dim]", escape(value))
    console.print(table)
    for each in tables:
        each.title_justify = "left"
        console.print(each)


def _recommend_rows(spec: RecommendSpec) -> dict[str, str]:
    alternates = spec.alternates.count if spec.alternates else 0
    return {
        "augmentations": f"{spec.augmentations.name}: {', '.join(spec.augmentations.names)}",
        "context": ", ".join(column.name for column in spec.context) or "none",
        "alternates": f"{alternates} images",
    }


def _recommend_tables(spec: RecommendSpec) -> list[Table]:
    heads = Table("target", "direction", "inputs", "calibration", title="Heads")
    figures = _figures_table("target", HEAD_FIGURES, "Heads on the test split")
    for head in spec.heads:
        name, metrics = head.target.name, {**head.metrics, **head.metrics.get("decision", {})}
        heads.add_row(name, head.target.direction, " + ".join(head.inputs), head.calibration.kind)
        figures.add_row(name, *_cells(metrics, HEAD_FIGURES))
    return [heads, figures]


def _classify_tables(spec: ClassifySpec) -> list[Table]:
    tables = []
    if spec.heads:
        tables.append(_figures_table("label", LABEL_FIGURES, "Labels on the test split"))
        for head in spec.heads:
            tables[-1].add_row(escape(head.label), *_cells(head.metrics, LABEL_FIGURES))
    if spec.rankers:
        tables.append(_figures_table("rank", RANK_FIGURES, "Ranks on the test split"))
        for ranker in spec.rankers:
            tables[-1].add_row(escape(ranker.rank), *_cells(ranker.metrics, RANK_FIGURES))
    if spec.tags:
        tables.append(_tags_table(spec))
    if spec.rules is None:
        return tables
    rules = Table(
        "review kind", "earns credit", "accept from", "reject from", "decided",
        title=f"Rules: right {spec.rules.precision:.1%} of the time, "
        f"{spec.rules.confidence:.0%} confidence",
    )  # fmt: skip
    for kind, rule in spec.rules.rules.items():
        ends = [f"{end:g}" if end <= 1 else "never" for end in (rule.accept, rule.reject)]
        rules.add_row(escape(kind), escape(", ".join(rule.credit)), *ends, f"{rule.decided:.1%}")
    return [*tables, rules]


def _tags_table(spec: ClassifySpec) -> Table:
    table = Table("tag", "default", "if less probable than", "only for", title="Tags")
    for label, rule in spec.tags.items():
        only = "; ".join(f"{name}: {', '.join(each)}" for name, each in rule.only_for.items())
        table.add_row(
            escape(label), escape(rule.default or "none"), f"{rule.least:g}", escape(only)
        )
    return table


def _figures_table(first: str, figures: dict[str, str], title: str) -> Table:
    table = Table(Column(first, no_wrap=True), *figures, title=title)
    for column in table.columns[1:]:
        column.no_wrap = True
    return table


def _cells(metrics: dict[str, Any], figures: dict[str, str]) -> list[str]:
    values = [metrics.get(name) for name in figures.values()]
    return [f"{v:.3f}" if isinstance(v, float) else "-" for v in values]
