"""Whether requests that the live model answers are answered by another one, too."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.bundle.spec import BundleSpec
from augrank.models.context import CategoricalColumn
from service.errors import Conflict

Need = tuple[str, Collection[str], Collection[str]]  # what, of the live model, of the other


def check_compatible(new: BundleSpec, live: BundleSpec) -> None:
    """Check that a bundle has everything that people and programs ask the live one for.

    More classes are welcome; a class that is missing would make fixes and settings invalid.

    Raises:
        Conflict: something is missing; names it.
    """
    if new.task != live.task:
        raise Conflict("the bundle is of another task", expected=live.task, got=new.task)
    for what, needed, offered in _NEEDS[new.task](new, live):
        if missing := [name for name in needed if name not in offered]:
            raise Conflict(
                f"the bundle lacks {what} of the live model: {', '.join(missing)}",
                expected=", ".join(needed),
                got=", ".join(offered) or "none",
                remedy="Train it on data that has them.",
            )


def _of_classifiers(new: ClassifySpec, live: ClassifySpec) -> Iterator[Need]:
    yield "labels", live.labels, new.labels
    classes = {head.label: head.classes for head in new.heads}
    for head in live.heads:
        yield f"classes of {head.label}", head.classes, classes[head.label]
    yield "ranks", live.ranks, new.ranks
    if live.rules is not None:
        yield "review kinds", tuple(live.rules.rules), tuple(new.rules.rules if new.rules else ())


def _of_recommenders(new: RecommendSpec, live: RecommendSpec) -> Iterator[Need]:
    yield "targets", _targets(live), _targets(new)
    yield "augmentations", live.augmentations.names, new.augmentations.names
    columns = {column.name: column for column in new.context}
    yield "context columns", [column.name for column in live.context], list(columns)
    for column in live.context:
        other = columns[column.name]
        yield f"the kind of {column.name}", (column.kind,), (other.kind,)
        if isinstance(column, CategoricalColumn) and isinstance(other, CategoricalColumn):
            yield f"values of {column.name}", column.values, other.values


def _targets(spec: RecommendSpec) -> list[str]:
    return [head.target.name for head in spec.heads]


_NEEDS: dict[str, Callable[[Any, Any], Iterator[Need]]] = {
    "classify": _of_classifiers,
    "recommend": _of_recommenders,
}
