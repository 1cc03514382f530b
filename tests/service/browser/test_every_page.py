"""What holds for every page: axe, the keyboard, 360 pixels, no errors, no other hosts."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import expect

from tests.service.browser import filling
from tests.service.browser.visitor import TWO_VIEWS, VIEWS, Visitor
from tests.service.support.pages import photo
from tests.service.support.serving import Site
from tests.support.tiny_run import make_image

pytestmark = pytest.mark.slow
OWN = "every-page"  # advertiser
UNUSED = "every-page-of-nobody"


@dataclass(frozen=True)
class Filled:
    """What is in the service for its pages to show."""

    question: str
    job: int
    review: int


@pytest.fixture(scope="module")
def filled(site: Site) -> Iterator[Filled]:
    answers = filling.classify(site, OWN, [photo(700 + number) for number in range(5)])
    fixes = []
    for answer in answers[:2]:
        number = filling.fix(site, OWN, answer["sha256"], "colour", "green")
        told = {"advertiser": OWN, "sha256": answer["sha256"], "value": "green"}
        fixes.append({"fix_id": number, **told})
    question = filling.recommend(
        site, OWN, jpeg(3), target="open_rate",
        context='{"campaign_type": "Newsletter", "industry": "Retail"}',
    )  # fmt: skip
    with filling.writing(site) as session:
        job = filling.failed_batch(session, OWN, "the worker ended three times")
        review = filling.open_review(session, fixes)
    yield Filled(question, job, review)
    with filling.writing(site) as session:
        filling.end_review(session, review)


def jpeg(number: int) -> bytes:
    stream = io.BytesIO()
    make_image(number).resize((400, 300)).save(stream, "JPEG")
    return stream.getvalue()


PAGES = {
    "marketer": f"/?advertiser={OWN}",
    "marketer, empty": f"/?advertiser={UNUSED}",
    "marketer, catalogue": f"/?advertiser={OWN}&search=image",
    "answer": "/q/{question}",
    "inspector": f"/inspect?label=colour&advertiser={OWN}",
    "inspector, corrected": f"/inspect?label=colour&advertiser={OWN}&state=corrected",
    "inspector, empty": f"/inspect?advertiser={UNUSED}",
    "review": "/review",
    "models": "/models?task=classify",
    "models, recommend": "/models?task=recommend",
    "jobs": f"/jobs?advertiser={OWN}",
    "jobs, empty": f"/jobs?advertiser={UNUSED}",
    "jobs of all": "/jobs",
    "job": "/jobs/{job}",
    "job, review": "/jobs/{review}",
    "docs": "/docs",
}


@pytest.fixture
def opened(visitor: Visitor, filled: Filled, request: pytest.FixtureRequest) -> Visitor:
    visitor.open(PAGES[request.param].format(**vars(filled)))
    visitor.page.wait_for_load_state("networkidle")
    return visitor


every_page = pytest.mark.parametrize("opened", PAGES, indirect=True)


@every_page
def test_axe_finds_nothing_in_light_and_dark_mode_wide_and_narrow(opened):
    is_long = opened.page.url.endswith("/docs")
    assert opened.axe(TWO_VIEWS if is_long else VIEWS) == []


@every_page
def test_tab_reaches_everything_in_sight_and_nothing_is_wider_than_360_pixels(opened):
    assert opened.unreached_by_tab() == []
    assert opened.overflowing() == []


def test_dialogs_are_as_accessible(visitor, filled):
    visitor.open(f"/inspect?label=colour&advertiser={OWN}")
    visitor.press("?")
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    assert visitor.axe() == []
    assert visitor.overflowing() == []
    visitor.press("Escape")
    expect(visitor.page.get_by_role("dialog")).to_be_hidden()
    visitor.open("/review")
    visitor.page.locator("#item").wait_for()
    visitor.press("c")
    assert visitor.axe() == []
    assert visitor.overflowing() == []


def test_an_address_that_is_none_leads_back(visitor):
    answer = visitor.page.goto(f"{visitor.url}/nowhere")
    assert answer is not None
    assert answer.status == 404
    visitor.forgive("status of 404")
    assert visitor.axe() == []
    assert visitor.unreached_by_tab() == []
    visitor.page.get_by_role("link", name="To the first page").click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Recommend")


def test_the_pages_lead_to_each_other_by_keys(visitor):
    visitor.open("/")
    for name in ("Inspect", "Models", "Jobs", "Recommend"):
        link = visitor.page.locator("header nav").get_by_role("link", name=name)
        address = link.get_attribute("href")
        visitor.tab_to(f'header nav a[href="{address}"]')
        visitor.press("Enter")
        expect(visitor.page.get_by_role("heading", level=1)).to_have_text(name)
        expect(visitor.page.locator("header nav [aria-current=page]")).to_have_text(name)
