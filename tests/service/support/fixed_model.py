"""A classifier that says the same of every picture."""

from augrank.tasks.classify.response import Answer, ClassScore, ImageAnswer, LabelAnswer, Timings
from service.backends.classify import ClassifyOptions

COLOURS = ("blue", "green", "red")


class FixedModel:
    """Says the same of every picture."""

    name, tags = "fixed", {}
    labels = {"colour": COLOURS}  # noqa: RUF012 - never changed

    def __init__(self, version: int, value: str = "blue", model: str | None = None) -> None:
        self.model, self.value = model or f"{version:064x}", value

    def check(self, options: ClassifyOptions) -> None:
        """All options fit."""

    def decode(self, files, limits) -> None:
        """It takes files."""

    def classify(self, images, options: ClassifyOptions) -> Answer:
        value = self.value
        told = LabelAnswer(
            value=value, probability=0.9, top=(ClassScore(name=value, probability=0.9),),
            set=(value,),
        )  # fmt: skip
        return Answer(
            model=self.name, bundle_version="1", engine="none", coverage=options.coverage,
            images=tuple(ImageAnswer(labels={"colour": told}) for _ in images),
            timings_ms=Timings(total=0.0),
        )  # fmt: skip
