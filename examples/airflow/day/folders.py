"""The folders of a day in S3."""

from dataclasses import dataclass

from augrank.aws.s3 import S3Folder
from export.sagemaker.answers import AnswerFolder


@dataclass(frozen=True)
class Day:
    """A day, ``dt=YYYY-MM-DD`` in every folder.

    PHOTOS/dt=.../              images, and reviews.csv
    REVIEWS/collected/dt=.../   images.json: what the day consists of
    REVIEWS/answers/dt=.../     IMAGE.out
    REVIEWS/decided/dt=.../     decisions.parquet, before it is verified
    REVIEWS/decisions/dt=.../   decisions.parquet and _SUCCESS
    """

    dt: str
    photos: S3Folder
    collected: S3Folder
    answers: S3Folder
    decided: S3Folder
    decisions: S3Folder

    @classmethod
    def of(cls, photos: str, reviews: str, dt: str) -> "Day":
        """Return a day's folders.

        Args:
            photos: ``s3://BUCKET/FOLDER`` of the images of all days.
            reviews: ``s3://BUCKET/FOLDER`` of everything that is made of them.
            dt: the day, ``YYYY-MM-DD``.

        Raises:
            BadRequest: one of them is none.
        """
        out = S3Folder.parse(reviews, "--reviews")

        def folder(name: str) -> S3Folder:
            return S3Folder(out.bucket, f"{out.prefix}{name}/").partition(dt)

        return cls(
            dt,
            S3Folder.parse(photos, "--photos").partition(dt),
            folder("collected"),
            folder("answers"),
            folder("decided"),
            folder("decisions"),
        )

    @property
    def batch(self) -> AnswerFolder:
        """The images, and their answers."""
        return AnswerFolder(self.photos, self.answers)
