"""The marketer's page: without a script it answers by pages, with one by parts of them."""

import re
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient

from service.access.identity import Identity, Role
from service.app import create_app
from service.pages.access import PageReader
from service.pages.recommendation import BAR, Scale, show
from service.settings import ServiceSettings
from tests.service.support.fixed_model import FixedModel
from tests.service.support.marketing import CONTEXT, Marketer, picture
from tests.service.support.pages import sha256

FIELDS = {"target": "open_rate", **{f"context.{name}": value for name, value in CONTEXT.items()}}
VOID = {"meta", "link", "img", "input", "br", "rect", "line"}


class Tree(HTMLParser):
    """The elements of a page: (tag, attributes, text)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict, list[str]]] = []
        self._open: list[int] = []
        self.feed(text)
        assert self._open == [], "an element is not closed"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data):
        for place in self._open:
            self.elements[place][2].append(data)

    def all(self, tag: str, **attributes) -> list[tuple[dict, str]]:
        """Return attributes and text of the elements that have these attributes."""
        return [
            (found, " ".join("".join(text).split()))
            for name, found, text in self.elements
            if name == tag and all(found.get(key) == value for key, value in attributes.items())
        ]

    def one(self, tag: str, **attributes) -> tuple[dict, str]:
        (found,) = self.all(tag, **attributes)
        return found

    def ids(self) -> list[str]:
        return [found["id"] for _, found, _ in self.elements if "id" in found]


def page(marketer: Marketer, path: str = "/", status: int = 200, **query) -> Tree:
    answer = marketer.http.get(path, params=query)
    assert answer.status_code == status, answer.text
    return Tree(answer.text)


def send(marketer: Marketer, image: bytes | None = None, **fields):
    """Post the form as a browser without a script does."""
    data = {"advertiser": "ada", "sha256": "", **FIELDS, **fields}
    file = ("a.png", image) if image is not None else ("", b"")  # no file was chosen
    return marketer.http.post("/", data=data, files={"image": file}, follow_redirects=False)


def parts(marketer: Marketer, image: bytes | None = None, **fields):
    """Post the form as the script does."""
    data = {"advertiser": "ada", **FIELDS, **fields}
    files = {"image": ("a.png", image)} if image is not None else None
    headers = {"X-Fragment": "answer"}
    return marketer.http.post("/", data=data, files=files, headers=headers)


def test_the_empty_page_teaches(marketer: Marketer):
    tree = page(marketer)
    assert tree.one("h1")[1] == "Recommend"
    assert "brighter, darker, turned" in tree.one("div", id="empty")[1]
    assert "up to 1 MB" in tree.one("p", id="formats")[1]
    assert "Nothing yet" in tree.one("section", id="history")[1]
    assert "hidden" in tree.one("p", id="problem")[0]
    assert tree.one("p", id="status")[0]["role"] == "status"


def test_each_field_has_a_label_and_the_bundles_values(marketer: Marketer):
    tree = page(marketer)
    labels = {found["for"]: text for found, text in tree.all("label")}
    assert labels == {
        "image": "Picture",
        "target": "Target",
        "campaign-type": "Campaign type",
        "industry": "Industry",
        "product-type": "Product type",
        "advertiser": "Advertiser",
        "search": "Search the catalogue",
    }
    assert set(labels) <= set(tree.ids())
    assert len(tree.ids()) == len(set(tree.ids()))
    values = [found["value"] for found, _ in tree.all("option")]
    assert values == [
        "open_rate", "unsubscribe_rate", "Newsletter", "Promotional", "Automotive", "Retail",
        "", "car", "van",
    ]  # fmt: skip
    assert tree.one("input", id="advertiser")[0]["value"] == "default"


def test_the_page_has_no_inline_script_or_style(marketer: Marketer):
    text = marketer.http.get(send(marketer, picture(0)).headers["location"]).text
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", text)
    for found, _ in Tree(text).all("script"):
        assert marketer.http.get(found["src"]).status_code == 200
    for found, _ in Tree(text).all("link"):
        assert marketer.http.get(found["href"]).status_code == 200


def test_without_a_script_the_form_leads_to_cards(marketer: Marketer):
    sent = send(marketer, picture(1))
    assert sent.status_code == 303
    answer = marketer.ask(sha256=sha256(picture(1)))
    assert sent.headers["location"] == f"/q/{answer['question']}"
    tree = page(marketer, sent.headers["location"])
    assert tree.one("p", id="verdict")[1] == answer["verdict"]["text"]
    cards = [text for found, text in tree.all("li") if "card" in found.get("class", "").split()]
    names = [score["name"] for score in answer["candidates"]]
    assert len(cards) == len(names) + len(answer["alternates"])
    for place, (text, score) in enumerate(zip(cards, answer["candidates"], strict=False), 1):
        assert text.startswith(f"{place}. {score['name']}")
        assert f"{score['probability']:.1%}" in text
        low, high = score["interval"]
        assert f"90 % interval: {low:.1%} to {high:.1%}" in text
        assert ("points against the original" in text) == (score["name"] != "original")
    best = [found for found, _ in tree.all("li") if "best" in found.get("class", "").split()]
    assert best
    selected = [found["value"] for found, _ in tree.all("option") if "selected" in found]
    assert selected == ["open_rate", "Newsletter", "Retail"]
    assert tree.one("input", id="sha256")[0]["value"] == answer["sha256"]
    # What is chosen now is asked about the same picture, without the file.
    other = send(marketer, sha256=answer["sha256"], target="unsubscribe_rate")
    assert other.status_code == 303
    assert other.headers["location"] != sent.headers["location"]


def test_pictures_of_the_cards_are_there(marketer: Marketer):
    tree = page(marketer, send(marketer, picture(2)).headers["location"])
    pictures = [found["src"] for found, _ in tree.all("img") if "src" in found]
    assert len([source for source in pictures if source.startswith("/v1/versions/")]) == 7
    for source in pictures:
        found = marketer.http.get(source)
        assert found.status_code == 200, source
        assert found.headers["content-type"] == "image/jpeg"
        assert "immutable" in found.headers["cache-control"]
    download = marketer.http.get(tree.one("a", id="download")[0]["href"])
    assert download.status_code == 200
    assert "attachment" in download.headers["content-disposition"]


def test_the_script_gets_the_parts_that_change(marketer: Marketer):
    image = picture(3)
    first = parts(marketer, image)
    assert first.status_code == 200
    assert "<html" not in first.text
    tree = Tree(first.text)
    found, _ = tree.one("section", id="answer")
    assert found["data-sha256"] == sha256(image)
    assert marketer.http.get(found["data-link"]).status_code == 200
    assert found["data-link"] in tree.one("section", id="history")[1] or tree.all(
        "a", href=found["data-link"]
    )
    second = parts(marketer, sha256=sha256(image), **{"context.industry": "Automotive"})
    assert "Automotive" in Tree(second.text).one("h2", id="answer-heading")[1]
    assert len(Tree(second.text).all("time")) == 2


def test_older_questions_are_a_page_away(marketer: Marketer, monkeypatch):
    monkeypatch.setattr("service.pages.marketer.IN_HISTORY", 2)
    image = picture(3)
    tokens = [
        marketer.ask(image, context={"campaign_type": campaign, "industry": industry})["question"]
        for campaign in ("Newsletter", "Promotional")
        for industry in ("Automotive", "Retail")
    ][::-1]
    found, tree = [], page(marketer, advertiser="ada")
    assert tree.all("a", id="newest") == []
    for _ in range(2):
        found += [each["href"] for each, _ in tree.all("a") if "/q/" in each.get("href", "")]
        for link, _ in tree.all("a", id="older"):
            path, _, part = link["href"].partition("#")
            assert part == "history"
            tree = Tree(marketer.http.get(path).text)
    assert found == [f"/q/{token}" for token in tokens]
    assert tree.all("a", id="older") == []
    assert tree.one("a", id="newest")[0]["href"] == "/?advertiser=ada#history"
    fragment = marketer.http.get(path, headers={"X-Fragment": "history"})
    assert "<html" not in fragment.text
    assert len(Tree(fragment.text).all("time")) == 2
    page(marketer, advertiser="bob", before=tokens[0], status=404)


def test_a_picture_of_the_catalogue_is_found_and_picked(marketer: Marketer):
    tree = page(marketer, search="van 003")
    assert "open" in tree.one("details", id="catalogue")[0]
    ((found, text),) = tree.all("button", name="catalogue")
    assert (found["value"], found["form"], text) == ("image_003.png", "ask", "image 003")
    grid = marketer.http.get("/", params={"search": "van"}, headers={"X-Fragment": "catalogue"})
    assert "<html" not in grid.text
    assert len(Tree(grid.text).all("button")) == 12
    assert "12 found for “van”" in " ".join(grid.text.split())
    sent = send(marketer, catalogue="image_003.png")
    assert sent.status_code == 303
    nothing = page(marketer, search="zebra")
    assert "fewer or other words" in nothing.one("div", id="catalogue-grid")[1]


def test_errors_say_what_to_do_and_the_page_stays(marketer: Marketer):
    broken = send(marketer, b"hello")
    assert broken.status_code == 415
    tree = Tree(broken.text)
    found, text = tree.one("p", id="problem")
    assert "hidden" not in found
    assert "Save the image as JPEG, PNG or WebP" in text
    selected = [found["value"] for found, _ in tree.all("option") if "selected" in found]
    assert selected == ["open_rate", "Newsletter", "Retail"]
    assert tree.one("input", id="advertiser")[0]["value"] == "ada"
    nothing = send(marketer)
    assert nothing.status_code == 400
    assert "Drop a picture into the field" in Tree(nothing.text).one("p", id="problem")[1]
    large = parts(marketer, bytes(2**20 + 1))
    assert large.status_code == 413
    assert large.json()["error"]["remedy"]
    odd = parts(marketer, picture(4), target="open")
    assert odd.status_code == 422
    assert "did you mean open_rate?" in odd.json()["error"]["message"]
    assert parts(marketer, picture(4), advertiser="a\nb").status_code == 400
    assert marketer.http.get("/q/nothing").status_code == 404
    for path in ("/q/a%00b", "/?advertiser=a%00b"):
        assert marketer.http.get(path).status_code == 422
    assert parts(marketer, sha256="\0" * 64).status_code == 400


def test_a_link_whose_picture_is_gone_says_so(marketer: Marketer):
    link = send(marketer, picture(5)).headers["location"]
    store = marketer.http.app.state.parts
    with store.database.writes() as session:
        from service.database.tables import StoredAnswer

        session.query(StoredAnswer).delete()
    assert marketer.http.get(link).status_code == 200  # it is computed again
    with store.database.writes() as session:
        session.query(StoredAnswer).delete()
    store.images.path(sha256(picture(5))).unlink()
    tree = page(marketer, link, status=410)
    assert "Send the file itself again" in tree.one("p", id="problem")[1]


def test_to_look_at_a_link_asks_nothing(marketer: Marketer):
    link = send(marketer, picture(6)).headers["location"]
    before = marketer.questions()
    page(marketer, link)
    assert marketer.questions() == before


def test_text_of_others_is_no_markup(marketer: Marketer):
    name = "<b onclick=x>&"
    send(marketer, picture(7), advertiser=name)
    text = marketer.http.get("/", params={"advertiser": name}).text
    assert "<b onclick" not in text
    assert Tree(text).one("input", id="advertiser")[0]["value"] == name
    assert len(Tree(text).all("time")) == 1


@pytest.fixture
def of_ada(marketer: Marketer):
    """Somebody who sees ada alone, in the place of a key."""
    dependency = PageReader.__metadata__[0].dependency
    identity = Identity("eva", "ada", Role.READ)
    marketer.http.app.dependency_overrides[dependency] = lambda: identity
    return marketer


def test_a_key_of_one_advertiser_sees_no_other(of_ada: Marketer):
    own = send(of_ada, picture(8)).headers["location"]
    page(of_ada, own)
    with of_ada.http.app.state.parts.database.writes() as session:
        from service.database.tables import Question

        session.query(Question).update({"advertiser": "bob"})
    stranger = of_ada.http.get(own)
    unknown = of_ada.http.get("/q/" + "x" * 22)
    assert stranger.status_code == unknown.status_code == 404
    assert "bob" not in stranger.text
    assert of_ada.http.get("/", params={"advertiser": "bob"}).status_code == 404
    assert send(of_ada, picture(8), advertiser="bob").status_code == 404


def test_without_a_recommender_the_page_says_how_to_start_one(database, tmp_path):
    app = create_app(ServiceSettings(folder=tmp_path), database, FixedModel(0))
    with TestClient(app) as http:
        text = http.get("/").text
    tree = Tree(text)
    assert "python -m service dist/bundle" in text
    assert tree.all("a", href="/inspect")


def test_bars_share_a_scale(marketer: Marketer, recommend_backend):
    marketer.ask(picture(9))
    parts_of_app = marketer.http.app.state.parts
    with parts_of_app.database.reads() as session:
        from service.answers.questions import history

        (question,) = history(session, "ada")
    shown = show(parts_of_app.recommend.again(question), recommend_backend)
    for card in (*shown.cards, *shown.others):
        bar = card.bar
        assert 0 <= bar.left <= bar.mean <= bar.left + bar.width + 0.2 <= BAR + 0.2
    assert len({card.bar.original for card in (*shown.cards, *shown.others)}) == 1
    assert shown.best.best


def test_a_scale_of_one_point_has_a_width():
    class Point:
        interval = (0.5, 0.5)

    scale = Scale.of([Point()])  # type: ignore[list-item]
    assert scale.low < 0.5 < scale.high
    assert 0 < scale.place(0.5) < BAR
