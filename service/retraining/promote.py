"""Promote a model where nothing answers: services follow what the table says."""

from service.models.promotion import check_against, commit
from service.models.registry import PROMOTE, Change, Registry


def promote_row(registry: Registry, model_id: int, who: str) -> None:
    """Make a candidate the live model.

    Raises:
        Conflict: it may not be, or something else was promoted.
    """
    model = registry.get(model_id)
    seen = registry.live(model.task)
    check_against(registry, model, seen)
    commit(registry, model.id, seen, Change(PROMOTE, who))
