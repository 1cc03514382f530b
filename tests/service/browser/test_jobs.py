"""The pages of jobs in a real browser."""

import pytest
from playwright.sync_api import expect

from tests.service.browser import filling
from tests.service.browser.visitor import OFFLINE

pytestmark = pytest.mark.slow


def batch(site, advertiser: str, count: int) -> int:
    """Add a batch whose URLs are all skipped: they are not of the public net."""
    urls = [f"http://127.0.0.1:9/{number}.jpg" for number in range(count)]
    body = {"advertiser": advertiser, "urls": urls}
    return int(filling.call(site, "POST", "/batches", json=body)["id"])


def test_progress_appears_by_itself(visitor, site):
    visitor.open("/jobs?advertiser=jobs-progress")
    expect(visitor.page.locator("#main")).to_contain_text("There are no such jobs")
    number = batch(site, "jobs-progress", 5)
    visitor.open(f"/jobs/{number}")
    expect(visitor.page.locator("#live")).to_contain_text("done")
    expect(visitor.page.locator("#live")).to_contain_text("5 of 5, 5 skipped")
    expect(visitor.page.locator(".log li").first).to_be_visible()
    visitor.open("/jobs?advertiser=jobs-progress")
    expect(visitor.page.get_by_role("link", name=str(number), exact=True)).to_be_visible()


def test_a_job_that_failed_is_tried_again_by_keys(visitor, site):
    with filling.writing(site) as session:
        number = filling.failed_batch(session, "jobs-retry", "the worker ended three times")
    visitor.open("/jobs?advertiser=jobs-retry")
    row = visitor.page.locator("tbody tr")
    expect(row).to_contain_text("failed: the worker ended three times")
    visitor.tab_to(f'button[aria-label="Try job {number} again"]')
    visitor.press("Enter")
    visitor.page.wait_for_url(f"**/jobs/{number}")
    expect(visitor.page.locator("#live")).to_contain_text("done")
    expect(visitor.page.locator(".log")).to_contain_text("tried again")


def test_states_are_filters(visitor, site):
    with filling.writing(site) as session:
        filling.failed_batch(session, "jobs-filter", "a disk was full")
    visitor.open("/jobs?advertiser=jobs-filter")
    visitor.page.select_option("#state", "done")
    visitor.page.get_by_role("button", name="Show").click()
    expect(visitor.page.locator("#main")).to_contain_text("There are no such jobs")
    visitor.page.get_by_role("link", name="Show all").click()
    expect(visitor.page.locator("tbody")).to_contain_text("a disk was full")


def test_a_service_that_is_gone_is_told_and_looked_for_again(visitor, site):
    with filling.writing(site) as session:
        number = filling.failed_batch(session, "jobs-gone", "a disk was full")
        job = session.get_one(filling.Job, number)
        job.state, job.kind, job.finished_at = "running", "other", None  # no worker takes it
    visitor.open(f"/jobs/{number}")
    visitor.page.context.set_offline(True)
    expect(visitor.page.locator("#problem")).to_contain_text("cannot be reached; trying again")
    visitor.forgive(OFFLINE)
    visitor.reconnect()
    expect(visitor.page.locator("#problem")).to_be_hidden()
    with filling.writing(site) as session:
        filling.end_review(session, number)
    expect(visitor.page.locator("#live")).to_contain_text("done")
