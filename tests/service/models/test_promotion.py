"""Another model takes the live one's place, and the one before comes back."""

from pathlib import Path

import pytest

from augrank.errors import BundleError
from service.errors import BundleExpired, Conflict
from service.models.registry import REJECTED, Registry
from tests.service.models.support import Fake, Loads, promoter_of, states


def test_a_promotion_and_two_rollbacks_lead_back_to_the_first(models):
    registry, (first, second, third) = models
    loads = Loads()
    promoter = promoter_of(registry, loads)
    row = promoter.promote(second.id, "ana", "better")
    assert (row.kind, row.before_id, row.after_id, row.who) == (
        "promote", first.id, second.id, "ana",
    )  # fmt: skip
    assert promoter.digest == second.digest
    promoter.promote(third.id, "ana")
    assert states(registry) == ["retired", "retired", "live"]
    promoter.rollback("eva", "white vans")
    promoter.rollback("eva")
    assert promoter.digest == first.digest
    assert states(registry) == ["live", "retired", "retired"]
    with pytest.raises(Conflict, match="nothing to roll back to"):
        promoter.rollback("eva")
    assert [row.kind for row in registry.history()] == [
        "rollback", "rollback", "promote", "promote", "promote",
    ]  # fmt: skip


def test_rollbacks_do_not_go_in_a_circle(models):
    registry, (first, second, _) = models
    promoter = promoter_of(registry, Loads())
    promoter.promote(second.id, "ana")
    promoter.promote(first.id, "ana")  # once more
    promoter.rollback("eva")
    assert promoter.digest == second.digest
    promoter.rollback("eva")
    assert promoter.digest == first.digest
    with pytest.raises(Conflict, match="nothing to roll back to"):
        promoter.rollback("eva")
    promoter.promote(second.id, "ana")
    promoter.rollback("eva")
    assert promoter.digest == first.digest


def test_a_rollback_that_the_server_could_not_finish_may_be_tried_again(models):
    registry, (first, second, third) = models
    promoter = promoter_of(registry, Loads())
    promoter.promote(second.id, "ana")
    promoter.promote(third.id, "ana")
    finishes = promoter._deployment

    class Unfinished:
        def promote(self, bundle, switch):
            switch(Fake(bundle.digest))
            switch(Fake(third.digest))

    promoter._deployment = Unfinished()
    promoter.rollback("eva")
    assert registry.live("classify").id == third.id
    assert (registry.history()[0].kind, registry.history()[0].why) == (
        "promote", "the deployment failed",
    )  # fmt: skip
    promoter._deployment = finishes
    promoter.rollback("eva")
    promoter.rollback("eva")
    assert promoter.digest == first.digest


def test_a_model_that_is_removed_while_it_loads_does_not_become_live(models):
    registry, (first, second, _) = models
    registry.decide(second.id, {"reasons": ["worse"]}, promote=False)
    removed: list[int] = []

    def load(directory: Path, live: Fake) -> Fake:
        removed.append(Registry(registry.database, registry.folder, most=0).trim())
        return Fake(directory.name)

    promoter = promoter_of(registry, load)
    with pytest.raises(
        BundleExpired, match=f"the bundle of model {second.id} is not kept any more"
    ):
        promoter.promote(second.id, "ana", force=True)
    assert removed == [1]
    assert promoter.digest == first.digest
    assert states(registry) == ["live", "rejected", "candidate"]
    assert registry.directory(registry.live("classify")).is_dir()


def test_a_model_is_promoted_over_the_one_alone_that_it_was_compared_with(models):
    registry, (first, second, third) = models
    promoter, other = promoter_of(registry, Loads()), promoter_of(registry, Loads())
    promoter.promote(second.id, "ana", expected=first.digest)
    with pytest.raises(Conflict, match="another model is live") as caught:
        promoter.promote(third.id, "a job", expected=first.digest)
    assert caught.value.got == f"{second.digest} (model {second.id})"
    assert promoter.digest == second.digest

    def load(directory: Path, live: Fake) -> Fake:
        other.rollback("eva")  # meanwhile
        return Fake(directory.name)

    hasty = promoter_of(registry, load)
    with pytest.raises(Conflict, match="in the meantime"):
        hasty.promote(third.id, "a job", expected=second.digest)
    assert states(registry) == ["live", "retired", "candidate"]


def test_a_rollback_loads_nothing_while_the_model_before_is_kept(models):
    registry, (first, second, third) = models
    loads = Loads()
    promoter = promoter_of(registry, loads)
    promoter.promote(second.id, "ana")
    promoter.rollback("ana")
    promoter.promote(second.id, "ana")
    assert loads.loaded == [second.digest]
    promoter.promote(third.id, "ana")  # the first one goes, before the third is loaded
    promoter.rollback("ana")
    promoter.rollback("ana")
    assert loads.loaded == [second.digest, third.digest, first.digest]
    hasty = Loads()
    other = promoter_of(registry, hasty, keep_s=0.0)
    other.promote(second.id, "ana")
    other.follow()  # lets it go
    other.rollback("ana")
    assert hasty.loaded == [second.digest, first.digest]


def test_a_bundle_that_does_not_load_leaves_everything_as_it_is(models):
    registry, (first, second, _) = models
    loads = Loads()
    promoter, loads.fails = promoter_of(registry, loads), True
    with pytest.raises(BundleError, match="smoke request"):
        promoter.promote(second.id, "ana")
    assert promoter.digest == first.digest
    assert states(registry) == ["live", "candidate", "candidate"]
    assert len(registry.history()) == 1
    loads.fails = False
    promoter.promote(second.id, "ana")
    assert promoter.digest == second.digest


def test_a_rejected_model_needs_force_and_a_live_one_is_live(models):
    registry, (first, second, _) = models
    promoter = promoter_of(registry, Loads())
    registry.decide(second.id, {"reasons": ["worse"]}, promote=False)
    assert registry.get(second.id).state == REJECTED
    with pytest.raises(Conflict, match="worse"):
        promoter.promote(second.id, "ana")
    with pytest.raises(Conflict, match="live already"):
        promoter.promote(first.id, "ana")
    row = promoter.promote(second.id, "ana", "all the same", force=True)
    assert row.gate == {"reasons": ["worse"]}
