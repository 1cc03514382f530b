"""The model card: a bundle's contents, training data and checks."""

from collections.abc import Sequence
from pathlib import Path

import jinja2

from augrank.bundle.spec import BundleSpec
from augrank.contracts.run import RunRecord
from augrank.trust.verdict import LEVEL

TEMPLATE = "model_card.md.j2"


def model_card(spec: BundleSpec, record: RunRecord, template: str = TEMPLATE) -> str:
    """Render the model card as Markdown; every figure in it is in bundle.json too.

    Args:
        spec: the finished bundle.
        record: the run that was exported.
        template: a file beside this module.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"figure": _figure, "span": _span}
    level = round(100 * LEVEL)
    return environment.get_template(template).render(spec=spec, record=record, level=level)


def _figure(value: object) -> str:
    """Format with three decimals; a dash if the figure is missing."""
    return f"{value:.3f}" if isinstance(value, float) else "-"


def _span(interval: Sequence[float] | None) -> str:
    """Format the ends of an interval; a dash if it is missing."""
    return " to ".join(_figure(end) for end in interval) if interval else "-"
