"""The systems that classify, from the source documents, and what was printed about them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from simulation.render import Kind

SystemName = Literal["review", "popularity", "inventory"]
RULES = Path(__file__).with_name("review_rules.yaml")


@dataclass(frozen=True)
class Bar:
    """What a figure of a label has to reach on new images."""

    figure: str  # macro_f1, accuracy or worst_recall
    bound: float
    aim: float


@dataclass(frozen=True)
class System:
    """A system: its images, what is asked about them, and what was printed.

    Attributes:
        title: of its section.
        kind: of the rendered images.
        group: column of those whose images are never divided.
        labels: columns that are classified; those of ``quantiles`` are scores.
        bars: of each label's figures: name, bound and aim.
        quantiles: classes of equal size from a column of scores.
        ranks: columns of scores; their truth is in ``truth``.
        truth: column of what can be known about the scores.
        rules: file of rules for credit.
        credit: the class that earns credit, by review kind.
        colour: the label that is also told by the foreground's colour in CIELAB.
        printed: rows of a table: what, and its figure in the source.
    """

    title: str
    kind: Kind
    group: str
    labels: tuple[str, ...] = ()
    bars: tuple[tuple[str, tuple[Bar, ...]], ...] = ()
    quantiles: tuple[tuple[str, int], ...] = ()
    ranks: tuple[str, ...] = ()
    truth: str = ""
    rules: Path | None = None
    credit: tuple[tuple[str, str], ...] = ()
    colour: str = ""
    printed: tuple[tuple[str, str], ...] = ()

    def fit_options(self) -> list[object]:
        """Return options of ``python -m training fit``."""
        options: list[object] = ["--task", "classify"]
        if self.labels:
            options += ["--labels", ",".join(self.labels)]
        for name, classes in self.quantiles:
            options += ["--quantiles", f"{name}={classes}"]
        if self.ranks:
            options += ["--ranks", ",".join(self.ranks)]
        return options


SYSTEMS: dict[SystemName, System] = {
    "review": System(
        title="Review inspection",
        kind="review",
        group="uploader",
        labels=("kind",),
        bars=(("kind", (Bar("macro_f1", 0.97, 0.98),)),),
        rules=RULES,
        credit=(("Style Review", "full-length"), ("Product Review", "product")),
        printed=(
            ("F1 of a pretrained ResNet, 9 classes of real photos", "0.98"),
            ("F1 of a MobileNet on the same photos", "0.88"),
        ),
    ),
    "popularity": System(
        title="Popularity",
        kind="review",
        group="uploader",
        quantiles=(("likes", 3),),
        ranks=("likes",),
        truth="appeal",
        printed=(
            ("accuracy of tertiles by a ResNet-50, real pictures (chance 33.3 %)", "40.7 %"),
            ("a ranking", "named as future work"),
        ),
    ),
    "inventory": System(
        title="Inventory tagging",
        kind="inventory",
        group="advertiser",
        labels=("type", "colour"),
        bars=(
            ("type", (Bar("accuracy", 0.97, 0.99),)),
            ("colour", (Bar("accuracy", 0.9, 0.92), Bar("worst_recall", 0.75, 0.8))),
        ),
        colour="colour",
        printed=(
            ("accuracy", "not printed; it decays with every new advertiser"),
            ("best published accuracy of car colours, real photos", "88.9 %"),
        ),
    ),
}
