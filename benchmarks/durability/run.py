"""Let people of several advertisers do operations on a service that is killed again and again."""

import random
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from augrank.bundle.classify_spec import ClassifyBundle
from augrank.errors import BadRequest, one_of
from augrank.reporting import Advance, Reporter
from benchmarks.durability.killable_service import KillableService
from benchmarks.durability.person import Person
from benchmarks.durability.postgres import PostgresServer, check_postgres
from benchmarks.durability.subject import Subject
from benchmarks.durability.tally import Tally

SQLITE, POSTGRESQL = "sqlite", "postgresql"
TITLES = {SQLITE: "SQLite", POSTGRESQL: "PostgreSQL"}
ADVERTISERS = ("ada", "bob", "cyd")
DATABASE_EVERY = 3  # kills of the service, after which the database is killed, too
POLL_S = 0.01
MAX_DELAY_S, MAX_AWAY_S = 0.05, 0.5  # before a kill; of the database


@dataclass(frozen=True)
class DurabilityConfig:
    """The amount of work, for each database."""

    databases: tuple[str, ...] = (SQLITE,)
    operations: int = 10_000
    kills: int = 20  # of the service
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what would otherwise fail only after a database was measured.

        Raises:
            BadRequest: a database is not known or not installed, or there are too many kills.
        """
        for name in self.databases or ("",):
            if name not in TITLES:
                raise BadRequest(
                    "unknown database",
                    expected=f"{one_of(TITLES, name)}, or several, with commas",
                    got=repr(name),
                )
        if POSTGRESQL in self.databases:
            check_postgres()
        if self.kills >= self.operations:
            raise BadRequest(
                "there are too many kills",
                expected=f"--kills below the {self.operations:,} of --operations",
                got=f"{self.kills:,}",
                remedy="Between two kills, something must be done.",
            )


@dataclass
class DatabaseRun:
    """What came of the operations on one database."""

    tally: Tally = field(default_factory=Tally)
    kills: int = 0  # of the service
    database_kills: int = 0
    seconds: float = 0.0


def run_operations(
    bundle: ClassifyBundle,
    folder: Path,
    config: DurabilityConfig,
    postgres: PostgresServer | None,
    reporter: Reporter,
) -> DatabaseRun:
    """Let people work on a service until there are enough operations, and look what was kept.

    Args:
        bundle: of a classifier.
        folder: for the service's images and log, and for an SQLite database.
        config: the amount of work.
        postgres: the database, which is killed, too; None: SQLite.
        reporter: shows the progress.

    Raises:
        BadRequest: the classifier has no label.
        DataError: the service does not start again, or refuses at the end.
        ServerError: the service, or PostgreSQL, does not come back.
    """
    subject, run, ended = Subject.of(bundle.spec, config.seed), DatabaseRun(), threading.Event()
    settings: dict[str, object] = {"requests_per_s": 0}
    if postgres is not None:
        settings["database"] = postgres.url
    title, start = TITLES[SQLITE if postgres is None else POSTGRESQL], time.perf_counter()
    with ExitStack() as stack:
        service = stack.enter_context(KillableService(bundle.directory, folder, settings))
        people = [
            stack.enter_context(closing(Person(name, service.root, subject, config.seed, ended)))
            for name in ADVERTISERS
        ]
        pool = stack.enter_context(ThreadPoolExecutor(len(people)))
        stack.callback(ended.set)
        working = [pool.submit(_work, each, people, config.operations, ended) for each in people]
        advance = stack.enter_context(reporter.bar(title, config.operations, "operations"))
        progress = _Progress(people, working, advance)
        _kill(service, postgres, config, run, progress)
        progress.wait_for(config.operations)
        for future in working:
            future.result()
        run.seconds = time.perf_counter() - start
        for person in people:
            person.check_history()
    run.tally = Tally.of_all(person.tally for person in people)
    return run


def _work(
    person: Person, people: Sequence[Person], operations: int, ended: threading.Event
) -> None:
    while not ended.is_set() and _done(people) < operations:
        person.step()


def _done(people: Iterable[Person]) -> int:
    return sum(person.tally.operations for person in people)


class _Progress:
    """Shows how much is done, while something is waited for."""

    def __init__(
        self, people: Sequence[Person], working: Sequence[Future[None]], advance: Advance
    ) -> None:
        self._people, self._working, self._advance = people, working, advance
        self._shown, self.text = 0, ""

    def wait_for(self, operations: int) -> None:
        """Wait until so many are done, or a person has ended; raise the error of one."""
        running = True
        while running and (done := _done(self._people)) < operations:
            self._advance(done - self._shown, self.text)
            self._shown = done
            ended = wait(self._working, POLL_S, FIRST_COMPLETED).done
            for future in ended:
                future.result()
            running = not ended


def _kill(
    service: KillableService,
    postgres: PostgresServer | None,
    config: DurabilityConfig,
    run: DatabaseRun,
    progress: _Progress,
) -> None:
    """Kill the service, and now and then the database, at random moments of the operations."""
    rng, kinds = random.Random(config.seed), list[str]()
    for number in range(1, config.kills + 1):
        kinds.append("service")
        if postgres is not None and number % DATABASE_EVERY == 0:
            kinds.append("database")
    for number, kind in enumerate(kinds, 1):
        progress.wait_for(number * config.operations // (len(kinds) + 1))
        time.sleep(rng.uniform(0, MAX_DELAY_S))
        if kind == "service":
            service.kill_and_start()
            run.kills += 1
        elif postgres is not None:
            postgres.kill()
            time.sleep(rng.uniform(0, MAX_AWAY_S))
            postgres.start_again()
            run.database_kills += 1
        progress.text = f"{number} of {len(kinds)} kills"
