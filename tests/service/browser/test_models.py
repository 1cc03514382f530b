"""The page of models in a real browser: look at candidates, promote, roll back."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from service.database.session import Database
from service.models.evaluation import EvaluatedImage
from service.models.gate import judge
from service.models.registry import Registry
from tests.service.browser import filling
from tests.service.browser.visitor import OFFLINE, Visitor
from tests.service.support.bundles import another
from tests.service.support.pages import photo, sha256
from tests.service.support.serving import Site, running

pytestmark = pytest.mark.slow
COLOURS = ("blue", "green", "red")
PHOTOS = [photo(400 + number) for number in range(12)]


@dataclass
class Shelf:
    """A service of its own, since all advertisers share the live model, and how to add models."""

    site: Site
    bundle: Path
    folder: Path
    versions: Iterator[int]

    def add(self, mistakes: int, *, promote: bool = True) -> int:
        """Add a candidate that was evaluated and judged; return its number.

        Args:
            mistakes: of its evaluation.
            promote: what the gate says.
        """
        bundle = another(self.bundle, self.folder, f"2.{next(self.versions)}")
        database = Database(f"sqlite:///{self.site.folder / 'service.db'}")
        try:
            registry = Registry(database, self.site.folder)
            model, live = registry.add(bundle), registry.live("classify")
            filling.evaluate(self.site, live.digest, evaluation(3))
            filling.evaluate(self.site, model.digest, evaluation(mistakes))
            gate = judge(evaluation(3), {"new": evaluation(mistakes)}).of("new")
            registry.decide(model.id, gate, promote=promote)
            return model.id
        finally:
            database.close()

    def live(self) -> int:
        rows = filling.call(self.site, "GET", "/models", params={"task": "classify"})["models"]
        return int(next(row["id"] for row in rows if row["state"] == "live"))


def evaluation(mistakes: int) -> list[EvaluatedImage]:
    found = []
    for number, data in enumerate(PHOTOS):
        truth = COLOURS[number % 3]
        told = COLOURS[(number + 1) % 3] if number < mistakes else truth
        found.append(EvaluatedImage(sha256(data), "ada", "colour", truth, told, 0.8))
    return found


@pytest.fixture(scope="module")
def shelf(classify_export, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("shelf")
    with running(folder / "site", classify_export.bundle) as site:
        filling.classify(site, "ada", PHOTOS)
        yield Shelf(site, classify_export.bundle, folder, count(1))


@pytest.fixture
def visitor(chromium: Browser, shelf: Shelf) -> Iterator[Visitor]:
    with chromium.new_context(locale="en-GB", timezone_id="UTC") as context:
        visits = Visitor(context.new_page(), shelf.site.url)
        yield visits
        assert visits.problems == []


def test_a_candidate_is_promoted_in_a_dialog_by_keys(visitor, shelf):
    number = shelf.add(mistakes=0)
    visitor.open("/models?task=classify")
    visitor.tab_to(f'button[data-action=promote][data-id="{number}"]')
    visitor.press("Enter")
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Promote model {number}")
    visitor.press("Escape")
    expect(dialog).to_be_hidden()
    assert shelf.live() != number
    assert visitor.page.evaluate("document.activeElement.dataset.id") == str(number)
    visitor.press("Enter")
    visitor.tab_to("#confirm-who")
    visitor.page.keyboard.type("ana")
    visitor.tab_to("#confirm-why")
    visitor.page.keyboard.type("fewer mistakes")
    visitor.press("Enter")
    expect(visitor.page.locator("#message")).to_contain_text("is live now")
    assert shelf.live() == number
    expect(visitor.page.locator(".card.live")).to_contain_text(f"model {number}")
    expect(visitor.page.locator("section[aria-labelledby=history]")).to_contain_text(
        "fewer mistakes"
    )


def test_the_model_before_is_rolled_back_to(visitor, shelf):
    before, number = shelf.live(), shelf.add(mistakes=1)
    filling.call(shelf.site, "POST", f"/models/{number}/promote", json={"who": "ana"})
    visitor.open("/models?task=classify")
    visitor.page.click("button[data-action=rollback]")
    visitor.page.fill("#confirm-who", "eva")
    visitor.page.click("#confirm-go")
    expect(visitor.page.locator("#message")).to_contain_text("is live now")
    assert shelf.live() == before
    expect(visitor.page.locator(".card.live")).to_contain_text("by eva")


def test_without_a_name_the_dialog_stays(visitor, shelf):
    number = shelf.add(mistakes=1)
    visitor.open("/models?task=classify")
    visitor.page.click(f'button[data-action=promote][data-id="{number}"]')
    visitor.page.click("#confirm-go")
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    assert shelf.live() != number


def test_what_the_gate_refused_needs_a_reason(visitor, shelf):
    number = shelf.add(mistakes=9, promote=False)
    visitor.open("/models?task=classify")
    row = visitor.page.locator("tr", has=visitor.page.locator(f'button[data-id="{number}"]'))
    expect(row).to_contain_text("rejected")
    expect(row).to_contain_text("%")
    visitor.page.click(f'button[data-action=promote][data-id="{number}"]')
    expect(visitor.page.locator("#confirm-text")).to_contain_text("The gate has refused it")
    visitor.page.fill("#confirm-who", "ana")
    visitor.page.click("#confirm-go")
    expect(visitor.page.get_by_role("dialog")).to_be_visible()  # why is missing
    assert shelf.live() != number


def test_a_cell_of_the_confusion_shows_its_pictures(visitor, shelf):
    number = shelf.add(mistakes=4)
    visitor.open(f"/models?task=classify&model={number}")
    visitor.tab_to('a[aria-label="2 of blue taken for green"]')
    visitor.press("Enter")
    pictures = visitor.page.locator(".cards img")
    expect(pictures).to_have_count(2)
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        picture.evaluate("picture => picture.decode()")
        assert picture.evaluate("picture => picture.naturalWidth") > 0


def test_a_service_that_is_gone_is_told(visitor, shelf):
    number = shelf.add(mistakes=1)
    visitor.open("/models?task=classify")
    visitor.page.click(f'button[data-action=promote][data-id="{number}"]')
    visitor.page.fill("#confirm-who", "ana")
    visitor.page.context.set_offline(True)
    visitor.page.click("#confirm-go")
    expect(visitor.page.locator("#message")).to_contain_text("does not answer")
    visitor.forgive(OFFLINE)
    expect(visitor.page.locator(f'button[data-id="{number}"]')).to_be_enabled()
