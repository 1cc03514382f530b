"""What speaks against a fix as an example to learn from; each reason is plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.retraining.data.dataset import Row

SMALL, UNREADABLE, DUPLICATE = "small", "unreadable", "duplicate"
CONFLICT, CONTRADICTS, UNLIKELY = "conflict", "contradicts", "unlikely"
KEEP, DROP = "keep", "drop"
UNCERTAIN = "The label may be wrong."
Reason = dict[str, Any]  # ``kind``, and what it is about


@dataclass(frozen=True, kw_only=True)
class Item:
    """A fix that is looked at.

    Attributes:
        id: of the review item.
        fix_id: of the fix.
        sha256: of the image.
        advertiser: whose fix it is.
        label: in question.
        value: that it says is right.
        size: width and height in pixels; None if the image cannot be read.
        shows: ``picture`` of the row that shows the same, or sha256 of the first item that does.
    """

    id: int
    fix_id: int
    sha256: str
    advertiser: str
    label: str
    value: str
    size: tuple[int, int] | None
    shows: str


def reasons_of(
    items: Sequence[Item], rows: Sequence[Row], least_px: int
) -> dict[int, list[Reason]]:
    """Return what speaks against each item, by its id: all but the out-of-fold check.

    Args:
        items: in the order of their fixes.
        rows: of the dataset so far.
        least_px: shorter sides of fewer pixels are too small.
    """
    by_picture = {row.picture: row for row in rows}
    together: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        if item.size is not None:
            together.setdefault((item.shows, item.label), []).append(item)
    found: dict[int, list[Reason]] = {}
    for item in items:
        reasons = found[item.id] = []
        if item.size is None:
            reasons.append({"kind": UNREADABLE})
            continue
        if min(item.size) < least_px:
            width, height = item.size
            reasons.append({"kind": SMALL, "width": width, "height": height, "least": least_px})
        reasons += _against_others(item, together[item.shows, item.label])
        reasons += _against_row(item, by_picture.get(item.shows))
    return found


def _against_others(item: Item, same: Sequence[Item]) -> list[Reason]:
    """Compare an item with all about the same picture and label, itself among them."""
    others = [each for each in same if each.value != item.value]
    if others:
        told = [
            {"advertiser": each.advertiser, "value": each.value, "fix_id": each.fix_id}
            for each in others
        ]
        return [{"kind": CONFLICT, "others": told}]
    first = min(same, key=lambda each: each.fix_id)
    if first is item:
        return []
    about = {"fix_id": first.fix_id, "advertiser": first.advertiser}
    return [{"kind": DUPLICATE, "of": "fix", **about}]


def _against_row(item: Item, row: Row | None) -> list[Reason]:
    """Compare an item with the row of the dataset that shows the same."""
    known = row.labels.get(item.label) if row is not None else None
    if row is None or known is None:
        return []
    if known == item.value:
        return [{"kind": DUPLICATE, "of": "dataset", "advertiser": row.advertiser}]
    if item.label in row.fixes and row.advertiser == item.advertiser:
        return []  # the same people have changed their mind
    return [{"kind": CONTRADICTS, "value": known, "advertiser": row.advertiser}]


def proposal_of(reasons: Sequence[Reason]) -> str:
    """Return what is done with an item if nobody looks at it."""
    return DROP if reasons else KEEP


def in_words(reason: Reason, advertiser: str | None) -> str:
    """Say what speaks against an item.

    Args:
        reason: of the filters.
        advertiser: the only one that the reader may know of; None: all.
    """
    kind = reason["kind"]
    if kind == UNREADABLE:
        return "The image cannot be read, or is not kept any more."
    if kind == SMALL:
        return (
            f"The image is small: {reason['width']} x {reason['height']} pixels, "
            f"at least {reason['least']} are wanted."
        )
    if kind in (DUPLICATE, CONTRADICTS) and not _visible(reason, advertiser):
        # Of another advertiser: not even that there is something to compare with.
        return "It adds nothing new." if kind == DUPLICATE else UNCERTAIN
    if kind == DUPLICATE:
        if reason["of"] == "dataset":
            return "The dataset holds this picture with this label."
        return "Another fix says the same of this picture."
    if kind == CONFLICT:
        told = [each for each in reason["others"] if _visible(each, advertiser)]
        return f"Fixes of this picture disagree: {_told(told)}." if told else UNCERTAIN
    if kind == CONTRADICTS:
        return f"The dataset holds this picture as {reason['value']}."
    return (
        f"Models that have not seen it say {reason['value']} "
        f"({reason['probability']:.0%}): the label may be wrong."
    )


def _visible(about: Mapping[str, Any], advertiser: str | None) -> bool:
    """Return whether a reader may know; the base of the dataset is nobody's."""
    return advertiser is None or about.get("advertiser") in ("", advertiser)


def _told(others: Sequence[Mapping[str, Any]]) -> str:
    words = [f"{each['advertiser']} says {each['value']}" for each in others]
    return ", ".join(dict.fromkeys(words))
