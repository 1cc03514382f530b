"""The inspector in a real browser."""

import pytest
from playwright.sync_api import expect

from tests.service.browser import filling
from tests.service.browser.visitor import OFFLINE, Visitor
from tests.service.support.pages import photo

pytestmark = pytest.mark.slow
COLOURS = ("blue", "green", "red")


def opened(visitor: Visitor, site, advertiser: str, count: int = 4, first: int = 100) -> str:
    """Send pictures, and open their queue; return its address."""
    filling.classify(site, advertiser, [photo(first + n) for n in range(count)])
    address = f"/inspect?label=colour&advertiser={advertiser}"
    visitor.open(address)
    visitor.page.fill("#who", "ana")
    visitor.page.evaluate("document.activeElement.blur()")
    return address


def fixes(site, advertiser: str) -> list[dict]:
    rows = filling.call(site, "GET", "/fixes", params={"advertiser": advertiser})["fixes"]
    return [row for row in rows if row["label"] == "colour"]


def current(visitor: Visitor) -> str:
    """Return what the picture that is looked at is told to be."""
    return str(visitor.page.locator(".card[data-current]").get_attribute("data-told"))


def saved(visitor: Visitor, count: int) -> None:
    expect(visitor.page.locator('.card[data-state="done"]')).to_have_count(count)


def test_the_least_sure_comes_first_and_keys_decide(visitor, site):
    opened(visitor, site, "inspect-keys")
    sure = [
        float(str(card.get_attribute("data-probability")))
        for card in visitor.page.locator(".card[data-probability]").all()
    ]
    assert len(sure) == 4
    assert sure == sorted(sure)
    told = current(visitor)
    other = next(number for number, name in enumerate(COLOURS) if name != told)
    visitor.press(str(other + 1))
    saved(visitor, 1)
    visitor.press("Enter")
    saved(visitor, 2)
    (row,) = fixes(site, "inspect-keys")
    assert (row["after"], row["who"]) == (COLOURS[other], "ana")
    expect(visitor.page.locator("#progress")).to_contain_text("2 of 4 left, 2 done")
    visitor.open("/inspect?label=colour&advertiser=inspect-keys")
    expect(visitor.page.locator(".card[data-item]")).to_have_count(2)


def test_undo_takes_the_last_decision_back(visitor, site):
    opened(visitor, site, "inspect-undo", 2)
    told = current(visitor)
    other = next(number for number, name in enumerate(COLOURS) if name != told)
    visitor.press(str(other + 1))
    saved(visitor, 1)
    visitor.press("u")
    saved(visitor, 0)
    newest, oldest = fixes(site, "inspect-undo")
    assert newest["undoes"] == oldest["id"]
    assert newest["after"] is None
    expect(visitor.page.locator("#progress")).to_contain_text("2 of 2 left")


def test_all_that_the_model_is_sure_of_is_confirmed_at_once(visitor, site):
    address = opened(visitor, site, "inspect-batch", 6)
    visitor.page.fill("#sure", "0")
    visitor.page.click("#confirm-sure")
    saved(visitor, 6)
    visitor.open(address)
    expect(visitor.page.locator("#main")).to_contain_text("Nothing is left with this filter")
    assert fixes(site, "inspect-batch") == []


def test_ticked_pictures_are_confirmed(visitor, site):
    opened(visitor, site, "inspect-ticks", 3)
    visitor.page.check("#tick-1")
    visitor.page.check("#tick-3")
    visitor.page.click("#accept button:not([type=button])")
    saved(visitor, 2)
    expect(visitor.page.locator("#progress")).to_contain_text("1 of 3 left")


def test_filters_choose_what_is_shown(visitor, site):
    opened(visitor, site, "inspect-filters", 6)
    told = [
        str(card.get_attribute("data-told"))
        for card in visitor.page.locator(".card[data-told]").all()
    ]
    value = max(set(told), key=told.count)
    visitor.page.select_option("#value", value)
    visitor.page.locator("form[aria-label='Which pictures'] button").click()
    expect(visitor.page.locator(".card[data-told]")).to_have_count(told.count(value))
    visitor.page.fill("#least", "1")
    visitor.page.locator("form[aria-label='Which pictures'] button").click()
    expect(visitor.page.locator("#main")).to_contain_text("Nothing is left with this filter")
    visitor.page.select_option("#state", "confirmed")
    visitor.page.fill("#least", "")
    visitor.page.locator("form[aria-label='Which pictures'] button").click()
    expect(visitor.page.locator(".card[data-told]")).to_have_count(0)


def test_what_somebody_else_has_said_meanwhile_is_shown(visitor, site):
    opened(visitor, site, "inspect-conflict", 1)
    card = visitor.page.locator(".card[data-item]")
    sha256 = card.evaluate("card => JSON.parse(card.dataset.item).sha256")
    told = current(visitor)
    theirs, mine = [name for name in COLOURS if name != told]
    filling.fix(site, "inspect-conflict", sha256, "colour", theirs, "eva")
    visitor.press(str(COLOURS.index(mine) + 1))
    conflict = visitor.page.locator("#conflict-text")
    expect(conflict).to_contain_text(f"eva has said {theirs}")
    expect(conflict).to_contain_text(f"you say {mine}")
    visitor.forgive("status of 409")
    assert fixes(site, "inspect-conflict")[0]["after"] == theirs  # nothing was overruled
    assert visitor.page.evaluate("document.activeElement.id") == "theirs"
    visitor.press("Tab", "Enter")  # mine
    saved(visitor, 1)
    row = fixes(site, "inspect-conflict")[0]
    assert (row["before"], row["after"], row["who"]) == (theirs, mine, "ana")


def test_a_decision_that_cannot_be_sent_is_kept_in_the_browser(visitor, site):
    address = opened(visitor, site, "inspect-offline", 2)
    told = current(visitor)
    other = next(number for number, name in enumerate(COLOURS) if name != told)
    visitor.page.context.set_offline(True)
    visitor.press(str(other + 1))
    expect(visitor.page.locator("#unsaved-text")).to_contain_text("1 of your decisions")
    visitor.forgive(OFFLINE)
    assert fixes(site, "inspect-offline") == []
    visitor.reconnect()
    visitor.open(address)  # it is sent although the page was closed
    expect(visitor.page.locator("#unsaved")).to_be_hidden()
    for _ in range(100):
        if rows := fixes(site, "inspect-offline"):
            break
        visitor.page.wait_for_timeout(50)
    assert [row["after"] for row in rows] == [COLOURS[other]]


def test_without_a_name_nothing_is_decided(visitor, site):
    opened(visitor, site, "inspect-name", 1)
    visitor.page.fill("#who", "")
    visitor.page.evaluate("document.activeElement.blur()")
    visitor.press("Enter")
    expect(visitor.page.locator("#problem")).to_contain_text("Write your name first")
    assert visitor.page.evaluate("document.activeElement.id") == "who"
    saved(visitor, 0)


def test_without_scripts_a_picture_is_corrected_by_its_form(chromium, site):
    filling.classify(site, "inspect-plain", [photo(130)])
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{site.url}/inspect?label=colour&advertiser=inspect-plain")
        page.click("summary:has-text('Correct it')")
        page.fill("form.actions input[name=who]", "ana")
        page.click("form.actions button[value=green]")
        expect(page.locator("#progress")).to_contain_text("0 of 1 left, 1 done")
    (row,) = fixes(site, "inspect-plain")
    assert (row["after"], row["who"]) == ("green", "ana")
