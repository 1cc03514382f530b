"""The inspector in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from tests.service.browser import filling
from tests.service.browser.visitor import OFFLINE, WAIT_S, Visitor
from tests.service.support.bundles import another
from tests.service.support.pages import photo
from tests.service.support.serving import running

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


def class_button(value: str) -> str:
    return f'#classes button[data-value="{value}"]'


def test_enter_after_a_click_is_about_the_next_picture_and_no_second_click(visitor, site):
    opened(visitor, site, "inspect-mouse", 4)
    wrong = next(name for name in COLOURS if name != current(visitor))
    visitor.page.click(class_button(wrong))
    saved(visitor, 1)
    visitor.press("Enter")  # it is right
    saved(visitor, 2)
    assert [row["after"] for row in fixes(site, "inspect-mouse")] == [wrong]
    visitor.page.click("#undo")
    saved(visitor, 1)
    visitor.press("Enter")  # not another undo
    saved(visitor, 2)
    visitor.page.click(".card:not([data-state=done]) .pick >> nth=1")
    visitor.press("Enter")
    saved(visitor, 3)
    assert len(fixes(site, "inspect-mouse")) == 1


def test_enter_after_a_class_that_was_chosen_by_keys_is_about_the_next_picture(visitor, site):
    opened(visitor, site, "inspect-tabs", 3)
    wrong = next(name for name in COLOURS if name != current(visitor))
    visitor.tab_to(class_button(wrong))
    visitor.press("Enter")
    saved(visitor, 1)
    visitor.press("Enter")
    saved(visitor, 2)
    assert [row["after"] for row in fixes(site, "inspect-tabs")] == [wrong]


def test_without_the_keys_of_the_page_the_focus_stays_where_it_is(visitor, site):
    opened(visitor, site, "inspect-no-keys", 2)
    visitor.page.evaluate("localStorage.setItem('augrank.keys', 'off')")
    wrong = next(name for name in COLOURS if name != current(visitor))
    visitor.tab_to(class_button(wrong))
    visitor.press("Enter")
    saved(visitor, 1)
    focused = visitor.page.evaluate("document.activeElement.dataset.value")
    assert focused == wrong


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
    visitor.until(lambda: fixes(site, "inspect-offline"))
    assert [row["after"] for row in fixes(site, "inspect-offline")] == [COLOURS[other]]


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
        page.set_default_timeout(1e3 * WAIT_S)
        page.goto(f"{site.url}/inspect?label=colour&advertiser=inspect-plain")
        page.click("summary:has-text('Correct it')")
        page.fill("form.actions input[name=who]", "ana")
        page.click("form.actions button[value=green]")
        expect(page.locator("#progress")).to_contain_text("0 of 1 left, 1 done")
    (row,) = fixes(site, "inspect-plain")
    assert (row["after"], row["who"]) == ("green", "ana")


def test_what_the_advertiser_gets_is_judged_and_not_the_models_class(
    chromium, classify_export, tmp_path
):
    rules = {"colour": {"default": None, "least": 1.0, "only_for": {}}}  # it is never sure enough
    bundle = another(classify_export.bundle, tmp_path, "unsure", tags=rules)
    with running(tmp_path / "site", bundle) as site, chromium.new_context() as context:
        visitor = Visitor(context.new_page(), site.url)
        opened(visitor, site, "inspect-given", 3)
        told = current(visitor)
        question = visitor.page.locator("#question")
        expect(question).to_have_text(re.compile(rf"^colour: not told; {told} at \d+ %\?$"))
        visitor.page.fill("#sure", "0")
        visitor.page.click("#confirm-sure")  # of classes that are told
        expect(visitor.page.locator("#problem")).to_contain_text("No picture on this page")
        visitor.page.evaluate("document.activeElement.blur()")
        visitor.press("Enter")
        saved(visitor, 1)
        expect(visitor.page.locator(".card[data-state=done] .value")).to_have_text("not told")
        assert fixes(site, "inspect-given") == []
        told = current(visitor)
        visitor.press(str(COLOURS.index(told) + 1))
        saved(visitor, 2)
        (row,) = fixes(site, "inspect-given")
        assert row["after"] == told
        images = [photo(100 + number) for number in range(3)]
        answers = filling.classify(site, "inspect-given", images)
        given = {each["sha256"]: each["labels"]["colour"]["value"] for each in answers}
        assert [value for value in given.values() if value] == [told]
        assert given[row["sha256"]] == told
        visitor.press("k", "Enter")  # it is right as it is now
        saved(visitor, 2)
        visitor.press("u", "u")
        saved(visitor, 1)
        expect(question).to_have_text(re.compile(rf"^colour: not told; {told} at"))
        assert visitor.problems == []
