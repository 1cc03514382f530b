"""Which advertisers there are: each opens with its first image, batch, key or configured value.

Whoever may see all of them may also mistype one. Sending under a new name opens an advertiser;
looking at one that nobody has opened is an error, since an empty list would hide the slip.
"""

import difflib

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from service.access.identity import Identity
from service.database.session import Database
from service.database.tables import ApiKey, ConfiguredValue, Job, Sighting
from service.errors import NotFound

SHOWN = 3  # names that are like one


def check_known(database: Database, identity: Identity, advertiser: str) -> None:
    """Check that somebody may look at an advertiser, and that there is one of this name.

    Args:
        database: of the service.
        identity: who asks; the advertiser of a key is always known to that key.
        advertiser: that is asked about.

    Raises:
        NotFound: it is another's, or there is none.
    """
    identity.check(advertiser)
    if identity.advertiser is not None:
        return
    with database.reads() as session:
        if _is_known(session, advertiser):
            return
        known = session.scalars(select(Sighting.advertiser).distinct())
        close = difflib.get_close_matches(advertiser, known, SHOWN)
    raise NotFound(
        f"there is no advertiser {advertiser!r} yet",
        expected=" or ".join(close) or "one that has sent an image",
        got=advertiser,
        remedy="Look at the spelling; an advertiser is there from its first image on.",
    )


def _is_known(session: Session, advertiser: str) -> bool:
    return any(
        session.scalar(select(exists().where(table.advertiser == advertiser)))
        for table in (Sighting, Job, ApiKey, ConfiguredValue)
    )
