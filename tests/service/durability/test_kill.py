"""The process is killed at random moments; every fix that was answered is there afterwards."""

import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.support.pages import photo, sha256
from tests.service.support.processes import free_port, start
from tests.support.patience import PATIENCE_S

KILLS = 5


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """A client whose requests fail only if the process is killed: it keeps no idle connection."""
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(timeout=PATIENCE_S, limits=limits) as client:
        yield client


@pytest.mark.slow
def test_no_fix_that_was_answered_is_lost_by_kill_9(classify_export, tmp_path, http):
    port, image = free_port(), photo(0)
    url, accepted, rng = f"http://127.0.0.1:{port}/v1", list[int](), random.Random(0)
    process = start(classify_export.bundle, tmp_path, port, tmp_path / "log")
    asked = {"files": [("images", ("a", image))], "data": {"advertiser": "ada"}}
    answer = http.post(f"{url}/classify", **asked)
    assert answer.status_code == 200, answer.text
    for turn in range(KILLS):
        held, due = _held(http, url), len(accepted) + rng.randrange(5, 15)
        kill = threading.Timer(rng.uniform(0, 0.05), os.kill, (process.pid, signal.SIGKILL))
        try:
            while True:
                if len(accepted) == due:
                    kill.start()
                value = ("blue", "green", "red")[rng.randrange(3)]
                body = {
                    "advertiser": "ada", "sha256": sha256(image), "label": "colour",
                    "value": value, "before": held, "who": f"turn {turn}",
                }  # fmt: skip
                answer = http.post(f"{url}/fixes", json=body)
                assert answer.status_code == 201, answer.text
                accepted.append(answer.json()["id"])
                held = value
        except httpx.TransportError:
            process.wait(PATIENCE_S)
        process = start(classify_export.bundle, tmp_path, port, tmp_path / "log")
    kept: list[int] = []
    before = None
    while True:
        query = {"advertiser": "ada", "limit": 500} | ({"before_id": before} if before else {})
        page = http.get(f"{url}/fixes", params=query).json()
        kept += [row["id"] for row in page["fixes"]]
        before = page["next_before_id"]
        if before is None:
            break
    last = http.post(f"{url}/classify", **asked).json()["images"][0]
    process.terminate()
    process.wait(PATIENCE_S)
    assert len(accepted) > 20
    assert set(accepted) <= set(kept)
    assert len(kept) - len(accepted) <= KILLS  # at most one that was kept, and not answered
    assert last["cached"]
    assert last["labels"]["colour"]["value"] == _value_of_last(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line]
    assert any(line.get("path") == "/v1/fixes" and line["status"] == 201 for line in lines)


def _held(http: httpx.Client, url: str) -> str | None:
    rows = http.get(f"{url}/fixes", params={"advertiser": "ada", "limit": 1}).json()["fixes"]
    return rows[0]["after"] if rows else None


def _value_of_last(folder: Path) -> str:
    import sqlite3

    with sqlite3.connect(folder / "service.db") as connection:
        (value,) = connection.execute("SELECT after FROM fixes ORDER BY id DESC LIMIT 1").fetchone()
    return str(value)
