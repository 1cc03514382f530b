"""The inspector's page works without JavaScript; with it, it has what the script needs."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import service.pages
from tests.service.support.pages import Caller, photo, sha256

STATIC = Path(service.pages.__file__).parent / "static"
IMAGES = [photo(n) for n in range(110, 114)]


def items(text: str) -> list[dict]:
    """Return the pictures on a page, as its script reads them."""
    return [
        {
            **json.loads(html.unescape(found[1])),
            "top": json.loads(html.unescape(re.search(r'data-top="([^"]*)"', found[0])[1])),
        }
        for found in re.finditer(r'<li class="card" data-item="([^"]*)"[^>]*>', text)
    ]


def page(caller: Caller, **query) -> str:
    answer = caller.http.get("/inspect", params=query)
    assert answer.status_code == 200, answer.text
    return answer.text


def decide(caller: Caller, action: str, *chosen: dict, **fields):
    form = [json.dumps({n: each[n] for n in ("advertiser", "sha256", "value")}) for each in chosen]
    data = {"action": action, "label": "colour", "item": form, "who": "ana", **fields}
    return caller.http.post("/inspect", data=data, follow_redirects=False)


def test_the_empty_page_teaches(caller: Caller):
    text = page(caller)
    assert "curl -F images=@car.jpg" in text
    assert "http://testserver/v1/classify" in text


def test_pictures_are_shown_least_sure_first_with_their_classes(caller: Caller):
    told = {each["sha256"]: each["labels"]["colour"] for each in caller.classify(*IMAGES)}
    text = page(caller, label="colour")
    shown = items(text)
    assert [each["sha256"] for each in shown] == sorted(told, key=lambda d: told[d]["probability"])
    for each in shown:
        assert each["value"] == told[each["sha256"]]["model_value"]
        assert each["top"] == told[each["sha256"]]["top"]
    assert "4 of 4 left" in text
    for number, name in enumerate(("blue", "green", "red"), start=1):
        assert re.search(rf'data-value="{name}"><kbd>{number}</kbd> {name}<', text)
    small = re.search(r'<img src="([^"]*)"', text)[1]
    assert caller.http.get(html.unescape(small)).headers["Content-Type"] == "image/jpeg"
    assert not re.search(r"<script(?![^>]*src=)|style=|\son[a-z]+=", text)


def test_a_form_corrects_and_takes_back(caller: Caller):
    caller.classify(*IMAGES)
    first = items(page(caller, label="colour"))[0]
    right = "green" if first["value"] != "green" else "red"
    answer = decide(caller, "fix", first, value=right, back="label=colour&value=&least=0.1")
    assert answer.status_code == 303, answer.text
    assert answer.headers["Location"] == "/inspect?label=colour&least=0.1&state=open"
    (row,) = caller.history()
    assert (row["sha256"], row["after"], row["who"]) == (first["sha256"], right, "ana")
    text = page(caller, label="colour")
    assert "3 of 4 left" in text
    assert first["sha256"] not in [each["sha256"] for each in items(text)]
    corrected = page(caller, label="colour", state="corrected")
    (shown,) = items(corrected)
    assert shown["value"] == right
    assert "ana has corrected it" in corrected
    # The name is remembered.
    undone = decide(caller, "undo_fix", shown, number=row["id"], who="")
    assert undone.status_code == 303, undone.text
    assert caller.history()[0]["after"] is None
    assert "4 of 4 left" in page(caller, label="colour")


def test_a_conflict_is_shown_with_who_and_what(caller: Caller):
    caller.classify(*IMAGES)
    first = items(page(caller, label="colour"))[0]
    others = [name for name in ("blue", "green", "red") if name != first["value"]]
    caller.fix(IMAGES[0], "colour", "red")  # of another picture, or this one: no matter
    body = {
        "advertiser": "ada", "sha256": first["sha256"], "label": "colour",
        "value": others[0], "before": None, "who": "ben",
    }  # fmt: skip
    assert caller.http.post("/v1/fixes", json=body).status_code in (201, 409)
    rows = caller.history(sha256=first["sha256"])
    wanted = next(n for n in ("blue", "green", "red") if n != rows[0]["after"])
    refused = decide(caller, "fix", first, value=wanted, before="")
    assert refused.status_code == 409
    assert f"got {rows[0]['after']} by {rows[0]['who']}" in refused.text
    assert caller.history(sha256=first["sha256"]) == rows


def test_several_pictures_are_confirmed_at_once(caller: Caller):
    caller.classify(*IMAGES)
    shown = items(page(caller, label="colour"))
    assert decide(caller, "accept", *shown[:3]).status_code == 303
    assert "1 of 4 left" in page(caller, label="colour")
    confirmed = page(caller, label="colour", state="confirmed")
    assert confirmed.count("ana has confirmed it") == 3
    number = int(re.search(r'name="number" value="(\d+)"', confirmed)[1])
    assert decide(caller, "undo_review", items(confirmed)[0], number=number).status_code == 303
    assert "2 of 4 left" in page(caller, label="colour")
    assert caller.history() == []
    nothing = decide(caller, "accept")
    assert nothing.status_code == 400
    assert "no picture is chosen" in nothing.text


def test_nobody_corrects_without_a_name_or_what_is_not_there(caller: Caller):
    caller.classify(*IMAGES)
    first = items(page(caller, label="colour"))[0]
    assert "your name" in decide(caller, "fix", first, value="red", who="").text
    assert decide(caller, "fix", first, value="mauve").status_code == 400
    assert decide(caller, "fix", {**first, "advertiser": "bob"}, value="red").status_code == 404
    assert decide(caller, "fix", {**first, "sha256": "x"}, value="red").status_code == 400
    assert caller.history() == []


def test_filters_that_do_not_fit_are_messages(caller: Caller):
    caller.classify(*IMAGES)
    for query in ({"least": "much"}, {"state": "lost"}, {"label": "size"}, {"after": "x"}):
        answer = caller.http.get("/inspect", params=query)
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text
    assert "Nothing is left with this filter" in page(caller, advertiser="nobody", label="colour")
    assert len(items(page(caller, label="colour", least="0", most="1"))) == len(IMAGES)


def test_pages_go_on(caller: Caller, monkeypatch):
    monkeypatch.setattr("service.pages.inspector.PAGE", 3)
    caller.classify(*IMAGES)
    text = page(caller, label="colour")
    link = html.unescape(re.search(r'id="more" class="button quiet" href="([^"]*)"', text)[1])
    rest = caller.http.get(link).text
    found = [each["sha256"] for each in items(text) + items(rest)]
    assert sorted(found) == sorted(map(sha256, IMAGES))
    assert "From the beginning" in rest


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("name", ["inspector.js", "jobs.js"])
def test_scripts_can_be_parsed(name):
    done = subprocess.run(
        ["node", "--input-type=module", "--check"],
        input=(STATIC / name).read_bytes(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()


def test_the_page_says_whose_answer_is_shown_if_the_live_model_has_none(
    caller: Caller, monkeypatch
):
    caller.classify(*IMAGES)
    backend = caller.http.app.state.parts.classify.backend
    before = backend.model
    assert "said so" not in page(caller)
    monkeypatch.setattr(type(backend), "model", "e" * 64)
    caller.classify(IMAGES[0])
    text = page(caller)
    assert len(items(text)) == 4
    assert text.count(f"Model {before[:12]} said so") == 3
