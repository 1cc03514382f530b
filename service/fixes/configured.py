"""Values that an advertiser has configured for all of its images.

They win over what the model says, and give way to what a request or batch configures, and to fixes.
"""

from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from service.database.entries import lock_pictures, settle
from service.database.session import lock_for_adding
from service.database.tables import ConfiguredValue, Review

CONFIGURING = 7_202_515  # number of the lock of those who configure
_TABLE = ConfiguredValue.__table__
CONFIGURED = select(_TABLE.c.advertiser, _TABLE.c.label, _TABLE.c.value).where(
    _TABLE.c.advertiser.in_(bindparam("advertisers", expanding=True))
)


def configured_of(session: Session, advertisers: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return what some advertisers have configured: values by advertiser and label."""
    found: dict[str, dict[str, str]] = {}
    for row in session.execute(CONFIGURED, {"advertisers": list(advertisers)}):
        found.setdefault(row.advertiser, {})[row.label] = row.value
    return found


def rows_of(session: Session, advertiser: str) -> list[ConfiguredValue]:
    """Return the values of an advertiser, with who configured them, in the order of labels."""
    query = select(ConfiguredValue).where(ConfiguredValue.advertiser == advertiser)
    return list(session.scalars(query.order_by(ConfiguredValue.label)))


def configure(session: Session, advertiser: str, values: Mapping[str, str], who: str) -> None:
    """Replace the values of an advertiser; those that stay keep who configured them, and when.

    Confirmations of what was given in place of a class are taken back where that changes; those of
    a class hold, as it is right or not whatever is given.

    Args:
        session: that writes.
        advertiser: whose images.
        values: by label.
        who: the person.
    """
    lock_for_adding(session, CONFIGURING)  # before pictures, as whoever confirms does
    held = configured_of(session, [advertiser]).get(advertiser, {})
    changed = {label for label in {**held, **values} if held.get(label) != values.get(label)}
    session.execute(
        delete(ConfiguredValue).where(
            ConfiguredValue.advertiser == advertiser, ConfiguredValue.label.in_(changed)
        )
    )
    new = [
        {
            "advertiser": advertiser,
            "label": label,
            "value": value,
            "who": who,
            "at": datetime.now(UTC),
        }
        for label, value in values.items()
        if label in changed
    ]
    if new:
        session.execute(insert(ConfiguredValue), new)
    _reopen(session, advertiser, changed, who)


def _reopen(session: Session, advertiser: str, labels: Set[str], who: str) -> None:
    """Take confirmations back that are about what was given in place of a class until now."""
    stale = (
        Review.advertiser == advertiser,
        Review.label.in_(labels),
        Review.answer_id.is_not(None),
        Review.undone_at.is_(None),
    )
    pictures = set(session.scalars(select(Review.picture_id).where(*stale)))
    lock_pictures(session, pictures)
    session.execute(update(Review).where(*stale).values(undone_by=who, undone_at=datetime.now(UTC)))
    settle(session, pictures, advertiser)
