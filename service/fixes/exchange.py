"""Fixes as files: CSV for spreadsheets, JSON lines for programs, Ground Truth for SageMaker.

    advertiser,sha256,image_url,label,value,who,why,at,model_value
    dealer_007,9f86d0...,https://cdn.example.com/1.jpg,colour,burgundy,ana,"not red",2026-11-...,red

The history has what ``intake`` replays; what holds now has the columns above. ``intake`` reads
both. What a spreadsheet would take for a formula in a CSV file has an apostrophe before it, which
``intake`` removes: at the beginning of a cell, and within it after what another spreadsheet splits
cells at.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from service.database.session import Database
from service.database.tables import CurrentFix, Fix, Source
from service.fixes.manifest import Manifest, manifest_lines

Format = Literal["csv", "jsonl", "ground_truth"]
CURRENT = ("advertiser", "sha256", "image_url", "label", "value", "who", "why", "at", "model_value")
HISTORY = ("id", *CURRENT[:4], "before", *CURRENT[4:], "undoes")
CHUNK = 1000  # rows that are read at once
# Where a formula may begin: in a cell; and after a line break, a tab or a semicolon in it, since a
# spreadsheet that splits lines at semicolons, as in German, knows nothing of quotes within a line.
_FORMULA = re.compile(r"^(?='*[=+\-@\t\r])|(?<=[;\t\r\n])(?='*[=+\-@])")
_ESCAPED = re.compile(r"^'(?='*[=+\-@\t\r])|(?<=[;\t\r\n])'(?='*[=+\-@])")


@dataclass(frozen=True)
class Export:
    """Which fixes are written, and how.

    Attributes:
        format: of the file.
        history: all rows, instead of what holds now; a manifest has what holds now.
        advertiser: whose fixes; None: all.
        source: of a manifest's images: a prefix before ``ab/abcd...``, as they are in the folder
            ``images/kept``.
        classes: of each label of the model, whose numbers a manifest has; others come after them.
        model: digest of the model that answers now; None: unknown.
    """

    format: Format
    history: bool = False
    advertiser: str | None = None
    source: str = "images/kept/"
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    model: str | None = None


def export_lines(database: Database, export: Export) -> Iterator[str]:
    """Yield the lines of a file, with their ends; few rows are in memory at a time."""
    if export.format == "ground_truth":
        manifest = Manifest(export.advertiser, export.source, export.classes, export.model)
        yield from manifest_lines(database, manifest)
        return
    columns = HISTORY if export.history else CURRENT
    if export.format == "csv":
        yield _csv_line(columns)
    for row in _rows(database, export):
        if export.format == "csv":
            yield _csv_line([escaped(_cell(row[name])) for name in columns])
        else:
            yield json.dumps({name: row[name] for name in columns}, ensure_ascii=False) + "\n"


def escaped(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula; ``unescaped`` gives it back."""
    return _FORMULA.sub("'", cell)


def unescaped(cell: str) -> str:
    """Return what ``escaped`` was given."""
    return _ESCAPED.sub("", cell)


def _rows(database: Database, export: Export) -> Iterator[dict[str, Any]]:
    """Yield the rows in the order in which they were written."""
    last = 0
    while True:
        with database.reads() as session:
            query = select(Fix).where(Fix.id > last).order_by(Fix.id).limit(CHUNK)
            if not export.history:
                query = query.where(_holds())
            if export.advertiser is not None:
                query = query.where(Fix.advertiser == export.advertiser)
            fixes = list(session.scalars(query))
            urls = _urls(session, fixes)
        for fix in fixes:
            yield {
                "id": fix.id,
                "advertiser": fix.advertiser,
                "sha256": fix.sha256,
                "image_url": urls.get((fix.advertiser, fix.sha256)),
                "label": fix.label,
                "before": fix.before,
                "value": fix.after,
                "who": fix.who,
                "why": fix.why,
                "at": _iso(fix.at),
                "model_value": fix.model_value,
                "undoes": fix.undoes,
            }
        if len(fixes) < CHUNK:
            return
        last = fixes[-1].id


def _holds() -> Any:
    return exists().where(
        CurrentFix.advertiser == Fix.advertiser,
        CurrentFix.picture_id == Fix.picture_id,
        CurrentFix.label == Fix.label,
        CurrentFix.fix_id == Fix.id,
    )


def _urls(session: Session, fixes: Sequence[Fix]) -> dict[tuple[str, str], str]:
    """Return a URL at which each image was found, by advertiser and sha256."""
    rows = session.execute(
        select(Source.advertiser, Source.sha256, Source.url)
        .where(Source.sha256.in_(sorted({fix.sha256 for fix in fixes})))
        .order_by(Source.url.desc())
    )
    return {(advertiser, sha256): url for advertiser, sha256, url in rows}


def _csv_line(cells: Sequence[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\r\n").writerow(cells)
    return stream.getvalue()


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
