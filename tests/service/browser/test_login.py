"""Logins in a real browser, and what a key of one advertiser gets to see."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Browser, expect

from service.access.identity import Role
from service.database.session import Database
from tests.service.browser.visitor import Visitor
from tests.service.support.keyed import make_key
from tests.service.support.pages import photo
from tests.service.support.serving import running
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Keys:
    url: str
    admin: str
    ada: str  # may correct for the advertiser ada
    reader: str  # may look at the advertiser bob


@pytest.fixture(scope="module")
def keys(classify_export, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    folder = tmp_path_factory.mktemp("keyed")
    database = Database(f"sqlite:///{folder / 'service.db'}")
    database.migrate()
    admin = make_key(database, "root")
    ada = make_key(database, "ana", "ada", Role.CORRECT)
    reader = make_key(database, "bo", "bob", Role.READ)
    database.close()
    with running(folder, classify_export.bundle) as site:
        for advertiser, number in (("ada", 600), ("bob", 601)):
            answer = httpx.post(
                f"{site.url}/v1/classify",
                headers={"Authorization": f"Bearer {admin}"},
                files={"images": photo(number)},
                data={"advertiser": advertiser},
                timeout=PATIENCE_S,
            )
            assert answer.status_code == 200, answer.text
        yield Keys(site.url, admin, ada, reader)


@pytest.fixture
def visitor(chromium: Browser, keys: Keys) -> Iterator[Visitor]:
    with chromium.new_context(locale="en-GB") as context:
        visits = Visitor(context.new_page(), keys.url)
        yield visits
        assert visits.problems == []


def log_in(visitor: Visitor, key: str) -> None:
    """Type a key, by the keyboard alone: the field has the focus."""
    expect(visitor.page.locator("#key")).to_be_focused()
    visitor.page.keyboard.type(key)
    visitor.press("Enter")


def test_a_page_asks_for_a_key_and_comes_back(visitor, keys):
    visitor.open("/inspect?label=colour")
    assert visitor.page.url.startswith(f"{keys.url}/login?next=")
    assert visitor.axe() == []
    assert visitor.unreached_by_tab() == []
    assert visitor.overflowing() == []
    visitor.page.focus("#key")
    log_in(visitor, keys.ada)
    visitor.page.wait_for_url(f"{keys.url}/inspect?label=colour")
    expect(visitor.page.locator(".who")).to_contain_text("ana")
    expect(visitor.page.locator(".card[data-item]")).to_have_count(1)
    expect(visitor.page.locator("#main")).not_to_contain_text("bob")


def test_a_wrong_key_is_told_and_typed_again(visitor, keys):
    visitor.open("/login")
    log_in(visitor, "aug_wrong")
    problem = visitor.page.locator("#problem")
    expect(problem).to_be_visible()
    visitor.forgive("status of 401")
    assert visitor.axe() == []
    visitor.page.focus("#key")
    log_in(visitor, keys.admin)
    visitor.page.wait_for_url(f"{keys.url}/")
    expect(visitor.page.locator(".who")).to_contain_text("root")


def test_a_logout_ends_the_session(visitor, keys):
    visitor.open("/login?next=/jobs")
    log_in(visitor, keys.ada)
    visitor.page.wait_for_url(f"{keys.url}/jobs")
    cookies = visitor.page.context.cookies()
    (cookie,) = [each for each in cookies if each["name"] == "augrank_session"]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    visitor.tab_to(".who button")
    visitor.press("Enter")
    visitor.page.wait_for_url(f"{keys.url}/login")
    visitor.page.context.add_cookies([cookie])  # a copy of it is of no use
    visitor.open("/jobs")
    assert "/login" in visitor.page.url


def test_a_form_without_its_token_is_refused(visitor, keys):
    visitor.open("/login?next=/jobs")
    log_in(visitor, keys.ada)
    visitor.page.wait_for_url(f"{keys.url}/jobs")
    status = visitor.page.evaluate("async () => (await fetch('/logout', {method: 'POST'})).status")
    assert status == 403
    visitor.forgive("status of 403")
    visitor.open("/jobs")
    expect(visitor.page.locator(".who")).to_contain_text("ana")


def test_who_may_only_read_is_not_offered_more(visitor, keys):
    visitor.open("/login?next=/jobs")
    log_in(visitor, keys.reader)
    visitor.page.wait_for_url(f"{keys.url}/jobs")
    names = visitor.page.locator("header nav a").all_inner_texts()
    assert "Inspect" not in names
    assert {"Recommend", "Models", "Jobs"} <= set(names)
    answer = visitor.page.goto(f"{keys.url}/inspect")
    assert answer is not None
    assert answer.status == 403
    visitor.forgive("status of 403")
    expect(visitor.page.get_by_role("alert")).to_contain_text("the role correct")
    assert visitor.axe() == []


def test_pages_of_one_advertiser_show_nothing_of_others(visitor, keys):
    visitor.open("/login?next=/models")
    log_in(visitor, keys.reader)
    visitor.page.wait_for_url(f"{keys.url}/models")
    for path in ("/?advertiser=ada", "/models", "/jobs", "/docs"):
        visitor.open(path)
        expect(visitor.page.locator("#main")).not_to_contain_text("ada")
    answer = visitor.page.goto(f"{keys.url}/jobs?advertiser=ada")
    assert answer is not None
    assert answer.status == 404
    visitor.forgive("status of 404")
