"""A person of one advertiser, who asks and corrects and knows what must be answered."""

import hashlib
import random
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from augrank.errors import ServerError
from benchmarks.durability.subject import Subject
from benchmarks.durability.tally import Tally
from benchmarks.service import server
from benchmarks.service.server import answered

RIGHT = 0.8  # share of fixes that name what holds; the others may be conflicts
POLL_S = 0.05
PAGE = 500  # rows of a history
OK, CREATED, CONFLICT = 200, 201, 409
GONE = 503  # while the database is away


@dataclass
class _Held:
    """What may hold for a picture, and the last row of its history."""

    values: set[str | None] = field(default_factory=lambda: {None})
    last: tuple[int, str | None] | None = None  # a fix, and what was before; None: do not undo
    encoding: int = 0  # of the file that was asked about last


class Person:
    """Does random operations, one after the other, and keeps a tally of what was wrong.

    A fix whose answer was lost by a kill may hold or not: the next answer tells.

    Args:
        advertiser: whose pictures and fixes they are; nobody else may correct for it.
        root: the service's URL.
        subject: the label and the pictures.
        seed: of the choices.
        ended: set when the run is over, so that nobody waits for a service that was stopped.
    """

    def __init__(
        self, advertiser: str, root: str, subject: Subject, seed: int, ended: threading.Event
    ) -> None:
        self.tally = Tally()
        self._advertiser, self._root, self._subject = advertiser, root, subject
        self._rng, self._ended = random.Random(f"{seed} {advertiser}"), ended
        self._held = [_Held() for _ in subject.pictures]
        self._accepted: set[int] = set()  # rows that were answered
        self._http = httpx.Client(base_url=f"{root}/v1", timeout=server.START_S)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def step(self) -> None:
        """Do one operation; if a kill cut it off, wait until the service is back.

        Raises:
            ServerError: it does not come back.
        """
        number = self._rng.randrange(len(self._held))
        operation = self._rng.choice(
            (self._ask, self._ask, self._fix, self._fix, self._undo, self._see)
        )
        try:
            operation(number)
        except httpx.TransportError:
            self._wait()
        self.tally.operations += 1

    def check_history(self) -> None:
        """Look for every row that was answered, and ask about each picture once more.

        Raises:
            DataError: the service refuses, though nothing is killed any more.
        """
        kept = set[int]()
        query: dict[str, Any] = {"advertiser": self._advertiser, "limit": PAGE}
        while True:
            page = answered(self._http.get("/fixes", params=query))
            self._check_rows(page["fixes"])
            kept |= {row["id"] for row in page["fixes"]}
            if page["next_before_id"] is None:
                break
            query["before_id"] = page["next_before_id"]
        missing = sorted(self._accepted - kept)
        self.tally.lost += [f"{self._advertiser}: row {row}" for row in missing]
        for number in range(len(self._held)):
            self._ask(number)

    def _ask(self, number: int) -> None:
        held = self._held[number]
        held.encoding = self._rng.randrange(2)
        answer = self._http.post(
            "/classify",
            files=[("images", ("a", self._file(number)))],
            data={"advertiser": self._advertiser},
        )
        if not self._is(answer, OK):
            return
        told = answer.json()["images"][0]["labels"][self._subject.label]
        value = told["value"] if told["source"] == "fixed" else None
        if value not in held.values:
            text = f"{self._advertiser}, picture {number}: {value}, not of {held.values}"
            self.tally.stale.append(text)
        held.values = {value}

    def _fix(self, number: int) -> None:
        self._ask(number)  # what a person sees
        held, value = self._held[number], self._rng.choice(self._subject.classes)
        if len(held.values) > 1:
            return
        (before,) = held.values
        seen = before
        if self._rng.random() > RIGHT:
            seen = self._rng.choice((None, *self._subject.classes))
        held.values, last = {before, value}, held.last
        held.last = None  # until the answer is there
        answer = self._http.post("/fixes", json=self._correction(number, value, seen))
        if before not in (seen, value):
            held.values, held.last = {before}, last
            self._is(answer, CONFLICT)
            return
        if self._is(answer, CREATED):
            row = answer.json()["id"]
            held.values = {value}
            if row in self._accepted:
                held.last = last
            elif before != value:  # else it may be one whose answer was lost
                held.last = (row, before)
            self._accept(row)
        self._ask(number)

    def _undo(self, number: int) -> None:
        held = self._held[number]
        if held.last is None or len(held.values) > 1:
            return
        row, before = held.last
        (now,) = held.values
        held.values, held.last = {now, before}, None
        body = {"advertiser": self._advertiser, "who": self._advertiser}
        answer = self._http.post(f"/fixes/{row}/undo", json=body)
        if self._is(answer, CREATED):
            held.values = {before}
            self._accept(answer.json()["id"])
        self._ask(number)

    def _see(self, number: int) -> None:
        """Look at the own history, in which no other advertiser's rows may be."""
        query: dict[str, Any] = {"advertiser": self._advertiser, "limit": 50}
        answer = self._http.get("/fixes", params=query)
        if self._is(answer, OK):
            self._check_rows(answer.json()["fixes"])

    def _accept(self, row: int) -> None:
        if row not in self._accepted:
            self._accepted.add(row)
            self.tally.fixes += 1

    def _check_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        own = (self._advertiser, self._advertiser)
        others = [row for row in rows if (row["advertiser"], row["who"]) != own]
        self.tally.leaked += [f"{self._advertiser} sees {row}" for row in others]

    def _correction(self, number: int, value: str, seen: str | None) -> dict[str, Any]:
        return {
            "advertiser": self._advertiser,
            "sha256": hashlib.sha256(self._file(number)).hexdigest(),
            "label": self._subject.label,
            "value": value,
            "before": seen,
            "who": self._advertiser,
        }

    def _file(self, number: int) -> bytes:
        return self._subject.pictures[number][self._held[number].encoding]

    def _is(self, answer: httpx.Response, status: int) -> bool:
        """Check an answer; a database that is gone gives 503."""
        if answer.status_code == GONE:
            self._wait()
            return False
        if answer.status_code != status:
            text = f"{answer.request.url.path}: {answer.status_code} {answer.text[:200]}"
            self.tally.refused.append(text)
        return answer.status_code == status

    def _wait(self) -> None:
        self.tally.unanswered += 1
        deadline = time.monotonic() + server.START_S
        while time.monotonic() < deadline and not self._ended.is_set():
            with suppress(httpx.TransportError):
                if httpx.get(f"{self._root}/readyz").status_code == OK:
                    return
            time.sleep(POLL_S)
        if not self._ended.is_set():
            raise ServerError(
                "the service did not come back after it was killed",
                expected=f"{self._root}/readyz within {server.START_S:.0f} s",
                got="no answer, or 503",
                remedy="Its log, service.log, is in the folder --out.",
            )
