"""What an inspector looks at: the labels of kept answers, and the answers that people confirmed."""

from datetime import datetime

from sqlalchemy import DateTime, Float, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import DIGEST, NAME, Base


class AnswerLabel(Base):
    """A label of a kept answer; it goes with its answer."""

    __tablename__ = "answer_labels"

    answer_id: Mapped[int] = mapped_column(
        ForeignKey("answers.id", ondelete="CASCADE"), primary_key=True
    )
    label: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"))  # of the answer
    sha256: Mapped[str] = mapped_column(String(DIGEST))  # the file that the model has seen
    value: Mapped[str] = mapped_column(String(NAME))  # the most probable class
    probability: Mapped[float] = mapped_column(Float(53))  # of it
    set_size: Mapped[int]  # classes in the prediction set
    __table_args__ = (Index("ix_answer_labels_picture", "picture_id", "label", "answer_id"),)


class QueueEntry(Base):
    """A label of a kept answer for one advertiser who has sent its file, as the queue sorts it.

    It follows from answers, sightings, fixes and confirmations (``service/database/entries.py``).
    """

    __tablename__ = "queue_entries"

    advertiser: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    answer_id: Mapped[int] = mapped_column(
        ForeignKey("answers.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    label: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"))
    model: Mapped[str] = mapped_column(String(NAME))  # that answered: the bundle's digest
    value: Mapped[str] = mapped_column(String(NAME))  # the most probable class
    probability: Mapped[float] = mapped_column(Float(53))  # of it
    set_size: Mapped[int]  # classes in the prediction set
    state: Mapped[str] = mapped_column(String(20))  # open, corrected, confirmed
    # "": no later answer came; the model's digest: one of another model came; "-": of this one
    lane: Mapped[str] = mapped_column(String(NAME))
    __table_args__ = (
        Index(
            "ix_queue_of_advertiser",
            *("advertiser", "label", "lane", "state", "probability", "picture_id"),
        ),
        Index(
            "ix_queue_of_all",
            *("label", "lane", "state", "probability", "picture_id", "advertiser"),
        ),
        Index("ix_queue_of_picture", "picture_id", "label", "advertiser", "answer_id", "model"),
    )


class Review(Base):
    """That a person confirmed what an advertiser gets for a picture.

    Rows are added; one that is taken back says by whom. That a class is right holds for every
    answer that says so; that a default is right, or that nothing is told, holds for one answer.
    """

    __tablename__ = "reviews"

    id: Mapped[int] = mapped_column(primary_key=True)
    advertiser: Mapped[str] = mapped_column(String(NAME))
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"), index=True)
    sha256: Mapped[str] = mapped_column(String(DIGEST))  # the image that was looked at
    label: Mapped[str] = mapped_column(String(NAME))
    value: Mapped[str | None] = mapped_column(String(NAME))  # that is right; None: nothing is told
    # In place of whose class the default is right; None: the class is right
    answer_id: Mapped[int | None] = mapped_column(
        ForeignKey("answers.id", ondelete="SET NULL"), index=True
    )
    who: Mapped[str] = mapped_column(String(NAME))
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    undone_by: Mapped[str | None] = mapped_column(String(NAME))
    undone_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    __table_args__ = (  # all that the queue asks of it
        Index("ix_reviews_of_picture", "advertiser", "picture_id", "label", "value", "undone_at"),
    )
