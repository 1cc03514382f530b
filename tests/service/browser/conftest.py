"""A real Chromium, and the real service with a recommender and a classifier."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.service.browser.visitor import WAIT_S, Visitor
from tests.service.support.serving import Site, running
from tests.support.browser import Browser as Chromium
from tests.support.browser import install

expect.set_options(timeout=1e3 * WAIT_S)


@pytest.fixture(scope="session")
def executable() -> Chromium:
    return install()


@pytest.fixture(scope="module")  # Playwright's loop hinders asyncio in tests of other modules
def chromium(executable: Chromium) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable.executable, env={**os.environ, **executable.environment}
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(tiny_export, classify_export, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service without keys; each module of tests has advertisers of its own."""
    folder, bundles = tmp_path_factory.mktemp("site"), (tiny_export.bundle, classify_export.bundle)
    with running(folder, *bundles, settings={"max_upload_mb": 2}) as started:
        yield started


@pytest.fixture
def visitor(chromium: Browser, site: Site) -> Iterator[Visitor]:
    """Somebody new; what goes wrong on the pages fails the test."""
    with chromium.new_context(locale="en-GB", timezone_id="UTC") as context:
        visits = Visitor(context.new_page(), site.url)
        yield visits
        assert visits.problems == []
