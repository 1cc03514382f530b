"""The review of fixes in a real browser, by keys alone."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from service.database.tables import ReviewItem
from tests.service.browser import filling
from tests.service.browser.visitor import OFFLINE, Visitor
from tests.service.support.pages import photo

pytestmark = pytest.mark.slow
ADVERTISER = "review"


@pytest.fixture
def job(site) -> Iterator[int]:
    """A retraining with four fixes to look through; ended afterwards, for one may run at a time."""
    answers = filling.classify(site, ADVERTISER, [photo(500 + number) for number in range(4)])
    fixes = []
    for answer in answers:
        held = answer["labels"]["colour"]
        body = {
            "advertiser": ADVERTISER,
            "sha256": answer["sha256"],
            "label": "colour",
            "value": "green",
            "before": held["value"] if held["fix"] else None,
            "who": "eva",
        }
        row = filling.call(site, "POST", "/fixes", json=body)
        fixes.append(
            {"fix_id": row["id"], **{k: body[k] for k in ("advertiser", "sha256", "value")}}
        )
    with filling.writing(site) as session:
        number = filling.open_review(session, fixes)
    yield number
    with filling.writing(site) as session:
        filling.end_review(session, number)


def decisions(site, job: int) -> list[ReviewItem]:
    with filling.writing(site) as session:
        query = session.query(ReviewItem).filter_by(job_id=job).filter(ReviewItem.at.is_not(None))
        found = query.order_by(ReviewItem.at).all()
        session.expunge_all()
    return found


def opened(visitor: Visitor) -> None:
    visitor.open("/review")
    expect(visitor.page.locator("#item")).to_be_visible()
    visitor.tab_to("#who")
    visitor.page.keyboard.type("ana")
    visitor.press("Tab")


def waiting(visitor: Visitor, left: int) -> None:
    expect(visitor.page.locator("#status")).to_contain_text(
        f"{left} of 4 fixes wait" if left else "All 4 fixes are decided"
    )


def test_keep_drop_relabel_and_crop_by_keys(visitor, site, job):
    opened(visitor)
    waiting(visitor, 4)
    expect(visitor.page.locator("#question")).to_contain_text("green?")
    expect(visitor.page.locator("#reasons")).to_contain_text("40")  # what is objected to is first
    visitor.press("d")
    waiting(visitor, 3)
    visitor.press("3")
    waiting(visitor, 2)
    visitor.press("c")
    expect(visitor.page.locator("#box")).to_be_visible()
    visitor.tab_to("#left")
    visitor.page.keyboard.press("Control+a")
    visitor.page.keyboard.type("25")
    visitor.tab_to("#apply")
    visitor.press("Enter")
    waiting(visitor, 1)
    visitor.press("k")
    waiting(visitor, 0)
    found = decisions(site, job)
    assert [each.decision for each in found] == ["drop", "relabel", "crop", "keep"]
    assert {each.who for each in found} == {"ana"}
    assert found[1].relabelled == "red"
    assert found[2].crop == [0.25, 0.1, 0.9, 0.9]


def test_the_last_decision_is_taken_back(visitor, site, job):
    opened(visitor)
    visitor.press("k")
    waiting(visitor, 3)
    visitor.press("u")
    waiting(visitor, 4)
    assert decisions(site, job) == []


def test_the_review_ends_only_when_all_is_decided(visitor, site, job):
    opened(visitor)
    expect(visitor.page.locator("#finish")).to_be_disabled()
    for left in (3, 2, 1, 0):
        visitor.press("k")
        waiting(visitor, left)
    expect(visitor.page.locator("#finish")).to_be_enabled()
    expect(visitor.page.locator("#nothing")).to_contain_text("You have decided about every fix")


def test_a_service_that_is_gone_is_told_and_nothing_is_decided(visitor, site, job):
    opened(visitor)
    visitor.page.context.set_offline(True)
    visitor.press("k")
    expect(visitor.page.locator("#problem")).to_contain_text("Nothing was changed; try again")
    visitor.forgive(OFFLINE)
    visitor.reconnect()
    visitor.press("k")
    waiting(visitor, 3)
    assert len(decisions(site, job)) == 1
