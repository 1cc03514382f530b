"""The process is killed at random moments; every fix that was answered is there afterwards."""

import json
import os
import random
import signal
import threading
from pathlib import Path

import httpx
import pytest

from tests.service.support.pages import photo, sha256
from tests.service.support.processes import free_port, start

KILLS = 5


@pytest.mark.slow
def test_no_fix_that_was_answered_is_lost_by_kill_9(classify_export, tmp_path):
    port, image = free_port(), photo(0)
    url, accepted, rng = f"http://127.0.0.1:{port}/v1", list[int](), random.Random(0)
    process = start(classify_export.bundle, tmp_path, port, tmp_path / "log")
    asked = httpx.post(
        f"{url}/classify", files=[("images", ("a", image))], data={"advertiser": "ada"}, timeout=30
    )
    assert asked.status_code == 200, asked.text
    for turn in range(KILLS):
        victim = threading.Timer(rng.uniform(0.2, 1.0), os.kill, (process.pid, signal.SIGKILL))
        victim.start()
        held = _held(url)
        try:
            while True:
                value = ("blue", "green", "red")[rng.randrange(3)]
                body = {
                    "advertiser": "ada", "sha256": sha256(image), "label": "colour",
                    "value": value, "before": held, "who": f"turn {turn}",
                }  # fmt: skip
                answer = httpx.post(f"{url}/fixes", json=body, timeout=10)
                assert answer.status_code == 201, answer.text
                accepted.append(answer.json()["id"])
                held = value
        except httpx.TransportError:
            process.wait(10)
        process = start(classify_export.bundle, tmp_path, port, tmp_path / "log")
    kept: list[int] = []
    before = None
    while True:
        query = {"advertiser": "ada", "limit": 500} | ({"before_id": before} if before else {})
        page = httpx.get(f"{url}/fixes", params=query).json()
        kept += [row["id"] for row in page["fixes"]]
        before = page["next_before_id"]
        if before is None:
            break
    last = httpx.post(
        f"{url}/classify", files=[("images", ("a", image))], data={"advertiser": "ada"}
    ).json()["images"][0]
    process.terminate()
    process.wait(20)
    assert len(accepted) > 20
    assert set(accepted) <= set(kept)
    assert len(kept) - len(accepted) <= KILLS  # at most one that was kept, and not answered
    assert last["cached"]
    assert last["labels"]["colour"]["value"] == _value_of_last(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line]
    assert any(line.get("path") == "/v1/fixes" and line["status"] == 201 for line in lines)


def _held(url: str) -> str | None:
    rows = httpx.get(f"{url}/fixes", params={"advertiser": "ada", "limit": 1}).json()["fixes"]
    return rows[0]["after"] if rows else None


def _value_of_last(folder: Path) -> str:
    import sqlite3

    with sqlite3.connect(folder / "service.db") as connection:
        (value,) = connection.execute("SELECT after FROM fixes ORDER BY id DESC LIMIT 1").fetchone()
    return str(value)
