"""The model card: what the bundle is, what it was trained on, and how it was checked."""

from augrank.bundle.recommend_spec import RecommendSpec
from augrank.contracts.recommend_run import RecommendRun
from augrank.models.context import CategoricalColumn


def model_card(spec: RecommendSpec, record: RecommendRun) -> str:
    """Markdown for people; every figure is one that bundle.json carries."""
    sections = [
        f"# {spec.name} {spec.version}",
        _purpose(spec),
        "## Targets\n\n" + _targets(spec),
        "## Context\n\n" + _context(spec),
        "## Augmentations\n\n" + _augmentations(spec, record),
        "## Parity with training\n\n" + _parity(spec),
        _limits(),
    ]
    return "\n\n".join(sections) + "\n"


def _purpose(spec: RecommendSpec) -> str:
    count = spec.alternates.count if spec.alternates else 0
    return (
        f"Ranks augmented versions of an image, and {count} alternates of the catalogue, by the "
        f"probability of each campaign target. Backbone {spec.backbone} at {spec.image_size} px, "
        f"served as {spec.precision}; one XGBoost head for each target, Platt-calibrated."
    )


def _targets(spec: RecommendSpec) -> str:
    lines = [
        "| target | better is | accuracy | majority | ceiling | AUC | Brier | inputs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for head in spec.heads:
        ceiling = (head.metrics.get("ceiling") or {}).get("expected_accuracy")
        figures = [head.metrics.get(key) for key in ("accuracy", "majority_accuracy")]
        figures += [ceiling, head.metrics.get("auc"), head.metrics.get("brier")]
        shown = [_figure(value) for value in figures]
        way = "higher" if head.target.direction == "maximize" else "lower"
        cells = [head.target.name, way, *shown, " + ".join(head.inputs)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _context(spec: RecommendSpec) -> str:
    if not spec.context:
        return "None: the heads look at the image alone."
    lines = []
    for column in spec.context:
        if isinstance(column, CategoricalColumn):
            lines.append(f"- `{column.name}`: " + ", ".join(v or "(blank)" for v in column.values))
        else:
            lines.append(
                f"- `{column.name}`: a number, {column.low:g} to {column.high:g} in training"
            )
    return "\n".join(lines)


def _augmentations(spec: RecommendSpec, record: RecommendRun) -> str:
    accuracy = _figure(record.backbone_metrics.get("test_accuracy"))
    names = ", ".join(spec.augmentations.names)
    return (
        f"Set `{spec.augmentations.name}` ({spec.augmentation_hash[:12]}): {names}. "
        f"The backbone names the right one for {accuracy} of held-out candidates."
    )


def _parity(spec: RecommendSpec) -> str:
    lines = [
        "| graph | questions | max abs. difference of p | rank correlation | same best | cosine |",
        "|---|---|---|---|---|---|",
    ]
    for name, f in spec.parity.items():
        lines.append(
            f"| {name} | {f.images} | {f.max_probability_difference:.4f} | "
            f"{f.rank_correlation:.4f} | {f.top1_agreement:.1%} | {f.embedding_cosine:.5f} |"
        )
    return "\n".join(lines)


def _limits() -> str:
    return (
        "## Limits\n\nProbabilities hold for images and campaigns like those of the training "
        "manifest. A candidate's score says what such images did on average; it is no experiment "
        "on this one. Measure the choice, and feed the outcome back as a manifest row."
    )


def _figure(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-"
