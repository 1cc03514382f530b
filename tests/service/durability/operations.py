"""Random operations on a real service that is killed again and again: nothing lost, stale, leaked.

    python -m tests.service.durability.operations BUNDLE --operations 10000 --kills 20
    python -m tests.service.durability.operations BUNDLE --postgres      # kills the database, too

Several advertisers ask about the same pictures and correct them, each in a thread of its own that
knows what must hold. A fix whose answer was lost by a kill may hold or not; the next answer tells.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.service.support.pages import photo, sha256
from tests.service.support.processes import PostgresServer, free_port, start
from tests.support.patience import PATIENCE_S

PICTURES = 5
ADVERTISERS = ("ada", "bob", "cyd")
CLASSES = ("blue", "green", "red")
FILES = [(photo(n), photo(n, ".jpg")) for n in range(80, 80 + PICTURES)]


@dataclass
class Report:
    """What was done and what was wrong."""

    operations: int = 0
    kills: int = 0
    fixes: int = 0  # that were answered with 201
    lost: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # answers that nobody may get


@dataclass
class _Held:
    """What may hold for a picture, and the last row of its history."""

    values: set[str | None] = field(default_factory=lambda: {None})
    last: tuple[int, str | None] | None = None  # a fix, and what was before; None: do not undo
    encoding: int = 0  # of the file that was asked about last


class Person:
    """Asks and corrects for one advertiser, and knows what must be answered."""

    def __init__(self, advertiser: str, root: str, seed: int, report: Report) -> None:
        self.advertiser, self._report = advertiser, report
        self._rng, self._root = random.Random(seed), root
        self._held = [_Held() for _ in range(PICTURES)]
        self.accepted: set[int] = set()  # rows that were answered
        self._http = httpx.Client(base_url=f"{root}/v1", timeout=PATIENCE_S)

    def close(self) -> None:
        self._http.close()

    def step(self) -> None:
        """Do one operation; after a kill, wait until the service is back."""
        number = self._rng.randrange(PICTURES)
        doing = self._rng.choice(
            (self._ask, self._ask, self._fix, self._fix, self._undo, self._see)
        )
        try:
            doing(number)
        except httpx.TransportError:
            self._wait()
        self._report.operations += 1

    def _ask(self, number: int) -> None:
        encoding = self._held[number].encoding = self._rng.randrange(2)
        answer = self._http.post(
            "/classify",
            files=[("images", ("a", FILES[number][encoding]))],
            data={"advertiser": self.advertiser},
        )
        if not self._is(answer, 200):
            return
        told = answer.json()["images"][0]["labels"]["colour"]
        value = told["value"] if told["source"] == "fixed" else None
        held = self._held[number]
        if value not in held.values:
            self._report.stale.append(f"{self.advertiser} {number}: {value} not in {held.values}")
        held.values = {value}

    def _fix(self, number: int) -> None:
        self._ask(number)  # what a person sees
        held, value = self._held[number], self._rng.choice(CLASSES)
        (before,) = held.values
        seen = before if self._rng.random() < 0.8 else self._rng.choice((None, *CLASSES))
        held.values, last = {before, value}, held.last
        held.last = None  # until the answer is there
        answer = self._http.post("/fixes", json=self._body(number, value=value, before=seen))
        if before not in (seen, value):
            held.values, held.last = {before}, last
            self._is(answer, 409)
            return
        if self._is(answer, 201):
            row = answer.json()
            held.values = {value}
            if row["id"] in self.accepted:
                held.last = last
            elif before != value:  # else it may be one whose answer was lost
                held.last = (row["id"], before)
            if row["id"] not in self.accepted:
                self.accepted.add(row["id"])
                self._report.fixes += 1
        self._ask(number)

    def _undo(self, number: int) -> None:
        held = self._held[number]
        if held.last is None or len(held.values) > 1:
            return
        row, before = held.last
        (now,) = held.values
        held.values, held.last = {now, before}, None
        body = {"advertiser": self.advertiser, "who": self.advertiser}
        answer = self._http.post(f"/fixes/{row}/undo", json=body)
        if self._is(answer, 201):
            held.values = {before}
            self.accepted.add(answer.json()["id"])
            self._report.fixes += 1
        self._ask(number)

    def _see(self, number: int) -> None:
        """Look at the histories, of the own and of another advertiser."""
        query = {"advertiser": self.advertiser, "limit": 50}
        answer = self._http.get("/fixes", params=query)
        if self._is(answer, 200):
            for row in answer.json()["fixes"]:
                if row["advertiser"] != self.advertiser or row["who"] != self.advertiser:
                    self._report.leaked.append(f"{self.advertiser} sees {row}")

    def _body(self, number: int, **more: Any) -> dict[str, Any]:
        return {
            "advertiser": self.advertiser,
            "sha256": sha256(FILES[number][self._held[number].encoding]),
            "label": "colour",
            "who": self.advertiser,
            **more,
        }

    def _is(self, answer: httpx.Response, status: int) -> bool:
        """Check an answer; 503 is what a database that is gone gives."""
        if answer.status_code in (500, 503):
            self._wait()
            return False
        if answer.status_code != status:
            self._report.refused.append(f"{answer.request.url.path}: {answer.text[:200]}")
        return answer.status_code == status

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self._root}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the service is not back after {PATIENCE_S} s")

    def check_history(self) -> None:
        """Find every row that was answered, and no other advertiser's."""
        kept, query = set(), {"advertiser": self.advertiser, "limit": "500"}
        while True:
            page = self._http.get("/fixes", params=query).json()
            kept |= {row["id"] for row in page["fixes"]}
            if page["next_before_id"] is None:
                break
            query["before_id"] = page["next_before_id"]
        self._report.lost += [f"{self.advertiser}: row {row}" for row in self.accepted - kept]
        for number in range(PICTURES):
            self._ask(number)


def run_operations(
    bundle: Path, folder: Path, operations: int, kills: int, postgres: PostgresServer | None = None
) -> Report:
    """Let several advertisers do operations on a service that is killed now and then.

    Args:
        bundle: of a classifier of colours.
        folder: for the database, the images and the log.
        operations: in all.
        kills: of the service; every third one of the database too, if there is one of its own.
        postgres: the database; None: SQLite.
    """
    port, rng, report = free_port(), random.Random(0), Report()
    options = ["--database", postgres.url] if postgres is not None else []
    root, log = f"http://127.0.0.1:{port}", folder / "log"
    process = start(bundle, folder, port, log, *options)
    people = [Person(name, root, n, report) for n, name in enumerate(ADVERTISERS)]
    failures: list[BaseException] = []

    def work(person: Person) -> None:
        try:
            while report.operations < operations and not failures:
                person.step()
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=work, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    try:
        for number in range(kills):
            _until(lambda due=(number + 1) * operations // (kills + 1): (
                report.operations >= due or not any(thread.is_alive() for thread in threads)
            ))  # fmt: skip
            time.sleep(rng.uniform(0, 0.05))
            if postgres is not None and number % 3 == 2:
                postgres.kill()
                time.sleep(rng.uniform(0, 0.5))
                postgres.start()
            else:
                os.kill(process.pid, signal.SIGKILL)
                process.wait(PATIENCE_S)
                process = start(bundle, folder, port, log, *options)
            report.kills += 1
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        for person in people:
            person.check_history()
    finally:
        for person in people:
            person.close()
        process.terminate()
        process.wait(PATIENCE_S)
    return report


def _until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="bundle of a classifier with a label colour")
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL server of its own")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="augrank-operations-") as name:
        folder, postgres = Path(name), None
        if given.postgres:
            postgres = PostgresServer(folder / "postgres")
            postgres.start()
        report = run_operations(given.bundle, folder, given.operations, given.kills, postgres)
        if postgres is not None:
            postgres.stop()
    print(json.dumps(vars(report)))
    if report.lost or report.stale or report.leaked or report.refused:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
