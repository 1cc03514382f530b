"""What the marketer's page shows of an answer: cards, in words and as bars."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from augrank.images.augmentations import ORIGINAL
from augrank.tasks.recommend.response import AlternateScore, Answer, CandidateScore, Score
from augrank.tasks.recommend.wording import decimals
from augrank.trust.verdict import LEVEL
from service.answers.recommend import RecommendAnswer
from service.backends.recommend import RecommendBackend

BAR = 200  # width of a bar, in its own units
MARGIN = 0.06  # of the scale, on both sides
SHOWN_HASH = 12  # characters of a digest, in URLs
MAX_NAME = 40


@dataclass(frozen=True)
class Scale:
    """The scale that all bars of an answer share."""

    low: float
    high: float

    @classmethod
    def of(cls, scores: Iterable[Score]) -> "Scale":
        """Return a scale on which all intervals fit."""
        ends = [end for score in scores for end in score.interval]
        low, high = min(ends), max(ends)
        margin = MARGIN * ((high - low) or 0.01)
        return cls(max(0.0, low - margin), min(1.0, high + margin))

    def place(self, probability: float) -> float:
        """Return where a probability is on a bar, 0 to BAR."""
        return round(BAR * (probability - self.low) / ((self.high - self.low) or 1.0), 1)


@dataclass(frozen=True)
class Bar:
    """An interval on the scale, and the original's probability, in units of BAR."""

    left: float
    width: float
    mean: float
    original: float


@dataclass(frozen=True)
class Card:
    """A version of the picture, or another picture."""

    name: str
    picture: str  # URL
    probability: str
    interval: str
    difference: str  # empty for the original
    judgement: str
    tone: str  # good, bad or soft
    bar: Bar
    best: bool
    details: str  # the steps of a version, or attributes of another picture
    download: str  # URL; empty if there is nothing to download
    path: str = ""  # of another picture, to ask about it


@dataclass(frozen=True)
class Shown:
    """An answer on the page."""

    answer: RecommendAnswer
    target: str
    better: str  # which way is better, in words
    cards: tuple[Card, ...]
    others: tuple[Card, ...]
    scale: tuple[str, str]  # its ends, in words
    best: Card  # the winning picture, to download
    conditions: str  # the context, in words


def show(answer: RecommendAnswer, backend: RecommendBackend) -> Shown:
    """Return what the page shows of an answer."""
    scores = (*answer.candidates, *answer.alternates)
    scale = Scale.of(scores)
    cards = tuple(_version(answer, score, scale, backend) for score in answer.candidates)
    others = tuple(_other(answer, score, scale, backend) for score in answer.alternates)
    digits = decimals((scale.low, scale.high))
    return Shown(
        answer=answer,
        target=spaced(answer.target),
        better="higher is better" if answer.direction == "maximize" else "lower is better",
        cards=cards,
        others=others,
        scale=(f"{scale.low:.{digits}%}", f"{scale.high:.{digits}%}"),
        best=next(card for card in cards if card.best),
        conditions=", ".join(str(value) for value in answer.context.values()),
    )


def preview_url(backend: RecommendBackend, advertiser: str, sha256: str, name: str) -> str:
    """Return the URL of a small picture of a version."""
    digest = backend.augmentations[name].hash[:SHOWN_HASH]
    query = urlencode({"advertiser": advertiser, "hash": digest})
    return f"/v1/versions/{sha256}/{quote(name)}?{query}"


def thumbnail_url(backend: RecommendBackend, path: str) -> str:
    """Return the URL of a small picture of the catalogue."""
    query = urlencode({"path": path, "model": backend.model[:SHOWN_HASH]})
    return f"/v1/catalogue/thumbnail?{query}"


def spaced(name: str) -> str:
    """Return a name of a column, a target or a version as words."""
    return name.replace("_", " ")


def stem(path: str) -> str:
    """Return the name of a catalogue image as words."""
    name = path.rsplit("/", 1)[-1].rsplit(".", 1)[0].replace("-", " ").replace("_", " ")
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def _version(
    answer: RecommendAnswer, score: CandidateScore, scale: Scale, backend: RecommendBackend
) -> Card:
    url = preview_url(backend, answer.advertiser, answer.sha256, score.name)
    details = "; ".join(_step(step) for step in score.parameters)
    return Card(
        **_common(answer, score, scale, is_original=score.name == ORIGINAL),
        name="original" if score.name == ORIGINAL else spaced(score.name),
        picture=url,
        best=score.name == answer.best_candidate.name,
        details=details,
        download=f"{url}&full=true",
    )


def _other(
    answer: RecommendAnswer, score: AlternateScore, scale: Scale, backend: RecommendBackend
) -> Card:
    chosen = answer.best_alternate is not None and answer.best_alternate.path == score.path
    at_hand = backend.catalogue.folder is not None
    details = ", ".join(str(value) for value in score.attributes.values() if value)
    return Card(
        **_common(answer, score, scale, is_original=False),
        name=stem(score.path),
        picture=thumbnail_url(backend, score.path),
        best=chosen,
        details=details,
        download=f"/v1/catalogue/image?{urlencode({'path': score.path})}" if at_hand else "",
        path=score.path,
    )


def _common(answer: Answer, score: Score, scale: Scale, *, is_original: bool) -> dict[str, Any]:
    """Return the fields that all cards have."""
    low, high = score.interval
    digits = decimals(score.interval)
    judgement, tone = ("The picture as it is.", "soft") if is_original else _judged(answer, score)
    return {
        "probability": f"{score.probability:.{digits}%}",
        "interval": f"{100 * LEVEL:.0f} % interval: {low:.{digits}%} to {high:.{digits}%}",
        "difference": "" if is_original else _difference(score),
        "judgement": judgement,
        "tone": tone,
        "bar": Bar(
            left=scale.place(low),
            width=max(1.0, round(scale.place(high) - scale.place(low), 1)),
            mean=scale.place(score.probability),
            original=scale.place(answer.probability),
        ),
    }


def _difference(score: Score) -> str:
    digits = decimals(score.difference_interval)
    low, high = (100 * end for end in score.difference_interval)
    return (
        f"{100 * score.difference:+.{digits}f} points against the original "
        f"({low:+.{digits}f} to {high:+.{digits}f})"
    )


def _judged(answer: Answer, score: Score) -> tuple[str, str]:
    """Return what a difference means, and its tone."""
    if score.better:
        return "Better.", "good"
    low, high = score.difference_interval
    if answer.direction == "minimize":
        low, high = -high, -low
    return ("Probably worse.", "bad") if high < 0 else ("No clear difference.", "soft")


def _step(step: dict[str, object]) -> str:
    """Return an augmentation's step in words: ``brightness, factor 1.5``."""
    params = step.get("params") or {}
    assert isinstance(params, dict)
    given = (f"{spaced(name)} {_value(value)}" for name, value in params.items())
    return ", ".join((str(step["op"]), *given))


def _value(value: object) -> str:
    """Return a parameter; a range of one value is the value."""
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        return str(value[0])
    return str(value)
