"""What of a model an advertiser may see: the totals, and its own; not who works on models."""

from collections.abc import Mapping
from typing import Any

TOTALS = ("promote", "images", "live", "accuracy", "difference", "compared")


def visible_gate(gate: Mapping[str, Any] | None, advertiser: str | None) -> dict[str, Any] | None:
    """Return what the gate says, without other advertisers.

    Args:
        gate: as ``GateResult.of`` returns it.
        advertiser: who asks; None: somebody who may see all.
    """
    if gate is None or advertiser is None:
        return dict(gate) if gate is not None else None
    own = [
        group
        for group in gate.get("groups", ())
        if group["kind"] == "advertiser" and group["name"] == advertiser
    ]
    return {**{name: gate[name] for name in TOTALS if name in gate}, "groups": own}


def visible_metrics(metrics: Mapping[str, Any], advertiser: str | None) -> dict[str, Any]:
    """Return metrics; for one advertiser only plain numbers, which name nobody."""
    if advertiser is None:
        return dict(metrics)
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}


def visible_note(text: str, advertiser: str | None) -> str:
    """Return who changed the live model, or why; for one advertiser nothing: it is not about it."""
    return text if advertiser is None else ""
