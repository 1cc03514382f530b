"""The tables. Importing the package knows them all, as migrations need."""

from service.database.tables.answers import StoredAnswer
from service.database.tables.base import DIGEST, NAME, Base
from service.database.tables.fixes import CurrentFix, Fix
from service.database.tables.jobs import Job, JobEvent, JobItem
from service.database.tables.pictures import Picture, PictureBand, Sighting, Source, StoredImage

__all__ = [
    "DIGEST",
    "NAME",
    "Base",
    "CurrentFix",
    "Fix",
    "Job",
    "JobEvent",
    "JobItem",
    "Picture",
    "PictureBand",
    "Sighting",
    "Source",
    "StoredAnswer",
    "StoredImage",
]
