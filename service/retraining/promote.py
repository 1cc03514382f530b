"""Promote a model where nothing answers: services follow what the table says."""

from service.models.promotion import check_against, commit, live_as_expected
from service.models.registry import PROMOTE, Change, Registry


def promote_row(registry: Registry, model_id: int, who: str, expected: str) -> None:
    """Make a candidate the live model.

    Args:
        registry: that has the models.
        model_id: of the candidate.
        who: decides it.
        expected: digest of the live model that it was compared with.

    Raises:
        Conflict: it may not be, or something else was promoted.
    """
    model = registry.get(model_id)
    seen = live_as_expected(registry, model.task, expected)
    check_against(registry, model, seen)
    commit(registry, model.id, seen, Change(PROMOTE, who))
