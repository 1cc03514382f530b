"""The tables. Importing the package knows them all, as migrations need."""

from service.database.tables.access import ApiKey, LoginSession
from service.database.tables.answers import StoredAnswer
from service.database.tables.base import DIGEST, NAME, Base
from service.database.tables.fixes import ConfiguredValue, CurrentFix, Fix
from service.database.tables.inspections import AnswerLabel, QueueEntry, Review
from service.database.tables.jobs import Job, JobEvent, JobItem
from service.database.tables.models import Exposure, Model, PastExposure, Placement, Promotion
from service.database.tables.outcomes import KEY, Assignment, Outcome
from service.database.tables.pictures import Picture, Sighting, Source, StoredImage
from service.database.tables.questions import Question
from service.database.tables.retraining import Dataset, ReviewItem

__all__ = [
    "DIGEST",
    "KEY",
    "NAME",
    "AnswerLabel",
    "ApiKey",
    "Assignment",
    "Base",
    "ConfiguredValue",
    "CurrentFix",
    "Dataset",
    "Exposure",
    "Fix",
    "Job",
    "JobEvent",
    "JobItem",
    "LoginSession",
    "Model",
    "Outcome",
    "PastExposure",
    "Picture",
    "Placement",
    "Promotion",
    "Question",
    "QueueEntry",
    "Review",
    "ReviewItem",
    "Sighting",
    "Source",
    "StoredAnswer",
    "StoredImage",
]
