"""Pictures of the pages for the documentation: docs/images/service_*.png.

    python -m tests.service.browser.screenshots            (or: make screenshots)

The real service runs with the bundles of the two demos; the photos are those of the demo's day.
Corrections are what the renderer knows to be right. Only the candidates on the page of models are
made for the picture: copies of the live bundle, whose evaluation is the live one with mistakes
mended or added.
"""

import csv
import io
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from service.database.session import Database
from service.models.evaluation import EvaluatedImage
from service.models.gate import judge
from service.models.registry import Registry
from tests.service.browser import filling
from tests.service.support.bundles import another
from tests.service.support.keyed import make_key
from tests.service.support.pages import sha256
from tests.service.support.serving import ROOT, Site, running
from tests.support.browser import install
from tests.support.servers import serving

OUT = ROOT / "docs" / "images"
CATALOGUE = ROOT / "examples" / "catalogue"
WIDE, NARROW = (1280, 1000, 1500), (360, 780, 1100)  # width, height, at most so high
MOST_BYTES = 300_000
SHOPS = ("atelier_nord", "maison_sud", "northwind")
SHOWN, EVALUATED = 40, 120  # photos
CONTEXTS = (
    {"campaign_type": "Promotional", "industry": "Retail"},
    {"campaign_type": "Newsletter", "industry": "Hospitality"},
    {"campaign_type": "Newsletter", "industry": "Retail"},
)


@dataclass(frozen=True)
class Photo:
    """A photo of the day, and what it shows."""

    data: bytes
    truth: str


@dataclass(frozen=True)
class Addresses:
    """The pages, once there is something on them."""

    recommend: str
    jobs: str = "/jobs"
    inspect: str = "/inspect?label=kind"
    review: str = "/review"
    models: str = "/models?task=classify"
    docs: str = "/docs"


def main(
    recommender: Annotated[Path, typer.Option(help="Bundle of make demo.")] = ROOT
    / "build/demo/dist/bundle",
    classifier: Annotated[Path, typer.Option(help="Bundle of make demo-classify.")] = ROOT
    / "build/demo-classify/dist/bundle",
    day: Annotated[Path, typer.Option(help="Photos that the classifier never saw.")] = ROOT
    / "build/demo-classify/day",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = OUT,
) -> None:
    """Take pictures of all pages."""
    photos = _photos(day)
    out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="augrank-screenshots-") as folder,
        _hosting(photos) as host,
        running(
            Path(folder) / "site", recommender, classifier,
            settings={"allow_loopback": 1, "per_host": 10, "catalogue": CATALOGUE},
        ) as site,
        _browser() as browser,
    ):  # fmt: skip
        pages = _fill(site, classifier, Path(folder), photos, host)
        for name, path in vars(pages).items():
            _picture(browser, site.url + path, out / f"service_{name}.png", "light", WIDE)
            if name != "docs":
                file = out / f"service_{name}_narrow.png"
                _picture(browser, site.url + path, file, "dark", NARROW)
        database = _database(site)
        make_key(database, "ana")
        database.close()
        _wait_until_closed(site)
        _picture(browser, f"{site.url}/login", out / "service_login.png", "light", (640, 420, 420))


def _photos(day: Path) -> list[Photo]:
    with (day / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [Photo((day / row["relative_im_path"]).read_bytes(), row["kind"]) for row in rows]


def _fill(site: Site, classifier: Path, folder: Path, photos: list[Photo], host: str) -> Addresses:
    """Give the pages something to show; return where they are."""
    fixes = _inspect(site, photos[:SHOWN])
    _models(site, classifier, folder, photos[SHOWN : SHOWN + EVALUATED])
    with filling.writing(site) as session:
        filling.failed_batch(session, SHOPS[2], "the disk is full: free some space", 640)
        filling.open_review(session, fixes)
    question = _recommend(site)
    urls = [f"{host}/{number}.png" for number in range(SHOWN + EVALUATED, len(photos))]
    batch = {"advertiser": SHOPS[0], "urls": urls}
    job = filling.call(site, "POST", "/batches", json=batch)["id"]
    query = {"advertiser": SHOPS[0]}
    while filling.call(site, "GET", f"/batches/{job}", params=query)["answered"] < len(urls) // 3:
        time.sleep(0.1)
    return Addresses(recommend=f"/q/{question}")


def _recommend(site: Site) -> str:
    """Ask about a picture in several contexts; return the last question."""
    images = sorted(file for file in (CATALOGUE / "images").rglob("*") if file.is_file())
    question = ""
    for number, context in enumerate(CONTEXTS):
        image = images[(7 * (number + 1)) % len(images)].read_bytes()
        choices = filling.call(site, "GET", "/recommend/options")
        known = {column["name"]: column["values"] for column in choices["context"]}
        given = {
            name: context.get(name) if context.get(name) in values else values[0]
            for name, values in known.items()
            if values
        }
        fields = {"target": choices["targets"][0]["name"], "context": filling.as_json(given)}
        question = filling.recommend(site, SHOPS[0], image, **fields)
    return question


def _inspect(site: Site, photos: list[Photo]) -> list[dict[str, Any]]:
    """Send photos of three shops, and correct some; return the fixes for the review."""
    fixes = []
    for number, shop in enumerate(SHOPS):
        own = photos[number :: len(SHOPS)]
        answers = filling.classify(site, shop, [photo.data for photo in own])
        wrong = [
            (answer, photo)
            for answer, photo in zip(answers, own, strict=True)
            if answer["labels"]["kind"]["value"] != photo.truth
        ]
        for answer, photo in wrong[: len(wrong) // 2 + 1]:
            fix = filling.fix(site, shop, answer["sha256"], "kind", photo.truth, "ana")
            told = answer["labels"]["kind"]
            fixes.append(
                {
                    "fix_id": fix,
                    "advertiser": shop,
                    "sha256": answer["sha256"],
                    "label": "kind",
                    "value": photo.truth,
                    "reasons": [],
                    "proposal": "keep",
                    "told": {"value": told["value"], "probability": told["probability"]},
                }
            )
    return fixes


def _models(site: Site, bundle: Path, folder: Path, photos: list[Photo]) -> None:
    """Add two candidates with evaluations: one that is better, one that is worse."""
    told = [
        answer["labels"]["kind"]
        for start in range(0, len(photos), 50)
        for answer in filling.classify(
            site, SHOPS[1], [photo.data for photo in photos[start : start + 50]]
        )
    ]
    live = [
        EvaluatedImage(
            sha256(photo.data), SHOPS[n % 3] if n % 4 else "", "kind", photo.truth,
            answer["model_value"], answer["probability"],
        )
        for n, (photo, answer) in enumerate(zip(photos, told, strict=True))
    ]  # fmt: skip
    rng = random.Random(0)
    classes = sorted({photo.truth for photo in photos})
    better = [replace(each, predicted=each.truth) if rng.random() < 0.8 else each for each in live]
    worse = [
        replace(each, predicted=rng.choice(classes)) if rng.random() < 0.12 else each
        for each in live
    ]
    database = _database(site)
    registry = Registry(database, site.folder)
    current = registry.live("classify")
    assert current is not None
    filling.evaluate(site, current.digest, live)
    for version, images in (("1.1", worse), ("1.2", better)):
        model = registry.add(another(bundle, folder, version))
        filling.evaluate(site, model.digest, images)
        verdict = judge(live, {model.digest: images})
        passed = verdict.chosen == model.digest
        registry.decide(model.id, verdict.of(model.digest), promote=passed)
    database.close()


def _database(site: Site) -> Database:
    return Database(f"sqlite:///{site.folder / 'service.db'}")


def _wait_until_closed(site: Site) -> None:
    while httpx.get(f"{site.url}/v1/jobs").status_code != 401:
        time.sleep(0.2)


@contextmanager
def _hosting(photos: list[Photo]) -> Iterator[str]:
    """Serve the photos, for a batch of URLs; give the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = int(Path(self.path).stem)
            self.send_response(200)
            self.send_header("Content-Length", str(len(photos[number].data)))
            self.end_headers()
            self.wfile.write(photos[number].data)

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    with serving(Handler) as server:
        yield server.url


@contextmanager
def _browser() -> Iterator[Browser]:
    found = install()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found.executable, env={**os.environ, **found.environment}
        )
        yield browser
        browser.close()


def _picture(
    browser: Browser, url: str, file: Path, scheme: Any, size: tuple[int, int, int]
) -> None:
    """Take a picture of a page from its top, and write it with 256 colours."""
    width, height, most = size
    with browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        locale="en-GB",
        timezone_id="UTC",
        reduced_motion="reduce",
    ) as context:
        page = context.new_page()
        page.goto(url)
        page.wait_for_load_state("networkidle")
        _settle(page)
        ends = page.evaluate("document.getElementById('main').getBoundingClientRect().bottom")
        shown = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    shown = shown.crop((0, 0, width, min(most, round(ends) + 16, shown.height)))
    for colours in (256, 128, 64, 32):
        stream = io.BytesIO()
        shown.quantize(colours, dither=Image.Dither.FLOYDSTEINBERG).save(
            stream, "PNG", optimize=True
        )
        if stream.tell() <= MOST_BYTES:
            break
    file.write_bytes(stream.getvalue())
    print(f"{file.name}: {shown.width} x {shown.height}, {stream.tell() / 1e3:.0f} KB")


def _settle(page: Page) -> None:
    """Wait until all pictures that are seen are there, and nothing has the focus."""
    page.evaluate(
        """async () => {
          document.activeElement?.blur();
          const pictures = [...document.images].filter(each => each.src);
          pictures.forEach(each => { each.loading = 'eager'; });
          await Promise.all(pictures.map(each => each.decode().catch(() => {})));
        }"""
    )


if __name__ == "__main__":
    typer.run(main)
