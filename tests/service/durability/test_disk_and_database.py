"""A full disk or a database that is gone: a clear status, nothing lost, and then it works again."""

import errno
from pathlib import Path

import pytest
from sqlalchemy import event, text

from tests.service.support.pages import Caller, photo

LARGE = "x" * 1900


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_full_disk_is_said_and_nothing_is_lost(caller: Caller):
    image, parts = photo(50), caller.http.app.state.parts
    caller.classify(image)
    first = caller.fix(image, "colour", "green", why="before").json()
    engine, full = parts.database.engine, True

    def limit(connection, _record, _proxy) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages if full else 1_000_000}")

    event.listen(engine, "checkout", limit)
    held, refused = "green", None
    for number in range(40):  # until the free space within the pages is used
        value = ("red", "blue")[number % 2]
        answer = caller.fix(image, "colour", value, before=held, who=f"p{number}", why=LARGE)
        if answer.status_code != 201:
            refused = answer
            break
        held = value
    assert refused is not None
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (507, "disk_full")
    assert "nothing was changed" in error["message"]
    assert caller.classify(image)[0]["labels"]["colour"]["value"] == held  # it goes on to answer
    full = False
    again = caller.fix(image, "colour", "green", before=held, who="eva")
    assert again.status_code == 201, again.text
    rows = caller.history()
    assert rows[-1]["id"] == first["id"]
    assert rows[0]["after"] == "green"
    event.remove(engine, "checkout", limit)


def test_without_space_for_its_file_an_image_is_answered(caller: Caller, monkeypatch):
    image, images = photo(51), caller.http.app.state.parts.images

    def fails(self, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", fails)
    (answer,) = caller.classify(image)
    assert answer["error"] is None
    assert images.read(answer["sha256"]) is None
    fixed = caller.fix(image, "colour", "green")
    assert fixed.status_code == 201
    monkeypatch.undo()
    caller.classify(image)  # sent again, with space: it is kept now
    assert images.read(answer["sha256"]) == image


def test_a_database_that_is_gone_is_said_and_works_again(caller: Caller):
    image, database = photo(52), caller.http.app.state.parts.database
    caller.classify(image)
    assert caller.fix(image, "colour", "green").status_code == 201
    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE fixes RENAME TO hidden"))
    told = caller.http.get("/v1/fixes", params={"advertiser": "ada"})
    assert told.status_code >= 500
    assert told.json()["error"]["code"] in ("unavailable", "internal")
    assert "hidden" not in told.text
    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE hidden RENAME TO fixes"))
    assert [row["after"] for row in caller.history()] == ["green"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_service_that_cannot_reach_its_database_is_not_ready(caller: Caller, tmp_path):
    image, file = photo(53), tmp_path / "service.db"
    caller.classify(image)
    caller.http.app.state.parts.database.engine.dispose()
    for path in tmp_path.glob("service.db*"):
        path.rename(path.with_name(f"away-{path.name}"))
    file.mkdir()  # where the database was
    assert caller.http.get("/readyz").status_code == 503
    gone = caller.fix(image, "colour", "green")
    assert (gone.status_code, gone.json()["error"]["code"]) == (503, "unavailable")
    file.rmdir()
    for path in tmp_path.glob("away-service.db*"):
        path.rename(path.with_name(path.name.removeprefix("away-")))
    assert caller.http.get("/readyz").status_code == 200
    assert caller.fix(image, "colour", "green").status_code == 201
