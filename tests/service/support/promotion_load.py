"""Promotions and rollbacks of a real service under load: failed requests, latency, duration.

    python -m tests.service.support.promotion_load BUNDLE --requests 10000

Persons ask at a fixed rate, half of them about known pictures; meanwhile bundles are promoted, each
loaded anew, and rolled back. Latencies during a change are compared with those between changes.
Ends in one line of JSON.
"""

import argparse
import json
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from service.database.session import Database
from service.models.registry import Registry
from tests.service.support.bundles import another
from tests.service.support.pages import photo
from tests.service.support.processes import free_port, start

PERSONS, KNOWN = 4, 20
AFTER_S = 0.5  # after a change, that counts as during it


@dataclass
class Load:
    """What the persons saw.

    Attributes:
        url: of the service.
        images: that are new, in turns.
        rate: requests per second of all persons.
        seen: when each request began and ended.
        failed: what was not answered.
    """

    url: str
    images: list[bytes]
    rate: float
    seen: list[tuple[float, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def person(self, number: int) -> None:
        """Ask until the load ends."""
        with httpx.Client(base_url=self.url, timeout=60) as http:
            due = time.perf_counter() + number / self.rate
            turn = 0
            while not self.ended.is_set():
                due += PERSONS / self.rate
                time.sleep(max(0.0, due - time.perf_counter()))
                turn += 1
                image = self.images[
                    turn % KNOWN if turn % 2 else (number + PERSONS * turn) % len(self.images)
                ]
                began = time.perf_counter()
                try:
                    answer = http.post(
                        "/v1/classify",
                        files=[("images", ("a", image))],
                        data={"advertiser": f"person {number}"},
                    )
                    if answer.status_code != 200:
                        self.failed.append(answer.text[:200])
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                self.seen.append((began, time.perf_counter()))
                due = max(due, time.perf_counter() - 1.0)  # no endless queue


def change(http: httpx.Client, path: str) -> tuple[float, float]:
    """Promote or roll back; return when it began and ended."""
    began = time.perf_counter()
    answer = http.post(path, json={"who": "load"})
    assert answer.status_code == 201, answer.text
    return began, time.perf_counter()


def measure(bundle: Path, folder: Path, requests: int, rate: float, rounds: int) -> dict:
    """Run the load; return the figures."""
    port, url = free_port(), ""
    url = f"http://127.0.0.1:{port}"
    process = start(bundle, folder / "service", port, folder / "log")
    database = Database(f"sqlite:///{(folder / 'service/service.db').absolute()}")
    registry = Registry(database, folder / "service", most=rounds + 2)
    versions = [registry.add(another(bundle, folder, f"{n}.0")).id for n in range(2, rounds + 2)]
    database.close()
    load = Load(url, [photo(n) for n in range(min(requests // 4, 2000))], rate)
    threads = [threading.Thread(target=load.person, args=(n,)) for n in range(PERSONS)]
    for thread in threads:
        thread.start()
    promotions, rollbacks = [], []
    pause = requests / rate / (2 * rounds + 1)
    with httpx.Client(base_url=url, timeout=600) as http:
        time.sleep(pause)
        for version in versions:
            promotions.append(change(http, f"/v1/models/{version}/promote"))
            time.sleep(pause)
            rollbacks.append(change(http, "/v1/models/rollback"))
            time.sleep(pause)
    while len(load.seen) < requests:
        time.sleep(0.1)
    load.ended.set()
    for thread in threads:
        thread.join()
    process.terminate()
    process.wait(30)
    return _figures(load, promotions, rollbacks, rate)


def _figures(
    load: Load,
    promotions: list[tuple[float, float]],
    rollbacks: list[tuple[float, float]],
    rate: float,
) -> dict:
    changes = [*promotions, *rollbacks]
    first = min(began for began, _ in load.seen) + 2.0  # connections, first answers
    during, between = [], []
    for began, ended in load.seen:
        inside = any(ended > start and began < end + AFTER_S for start, end in changes)
        if began > first:
            (during if inside else between).append(1e3 * (ended - began))
    quantiles = {
        name: [round(float(np.quantile(told, q)), 1) for q in (0.5, 0.99)]
        for name, told in (("during", during), ("between", between))
    }
    return {
        "requests": len(load.seen),
        "rate": rate,
        "failed": len(load.failed),
        "errors": load.failed[:3],
        "during": len(during),
        "p50_p99_ms": quantiles,
        "p99_ratio": round(quantiles["during"][1] / quantiles["between"][1], 2),
        "promotion_s": [round(end - start, 2) for start, end in promotions],
        "rollback_s": [round(end - start, 3) for start, end in rollbacks],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second")
    parser.add_argument("--rounds", type=int, default=5, help="promotions, each rolled back")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="augrank-promotion-") as name:
        figures = measure(given.bundle, Path(name), given.requests, given.rate, given.rounds)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
