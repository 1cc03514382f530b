"""Whatever order fixes, undos, answers and restarts come in: nothing is lost, stale or leaked."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from augrank.tasks.classify.response import Answer, ClassScore, ImageAnswer, LabelAnswer, Timings
from service.answers.classify import ClassifyRequest, ClassifyService
from service.backends.classify import ClassifyOptions
from service.database.session import Database
from service.errors import Conflict
from service.fixes import history as fixes
from service.fixes.history import Correction
from tests.service.support.pages import photo, sha256

COLOURS = ("blue", "green", "red")
ADVERTISERS = ("ada", "bob")
# Two encodings of each of three pictures.
FILES = [(photo(n), photo(n, ".jpg")) for n in (40, 41, 42)]


class FixedModel:
    """Says "blue" of every picture."""

    name, tags = "fixed", {}
    labels = {"colour": COLOURS}  # noqa: RUF012 - never changed

    def __init__(self, version: int) -> None:
        self.model = f"{version:064x}"

    def check(self, options: ClassifyOptions) -> None:
        """All options fit."""

    def classify(self, images, options: ClassifyOptions) -> Answer:
        told = LabelAnswer(
            value="blue", probability=0.9, top=(ClassScore(name="blue", probability=0.9),),
            set=("blue",),
        )  # fmt: skip
        return Answer(
            model=self.name, bundle_version="1", engine="none", coverage=options.coverage,
            images=tuple(ImageAnswer(labels={"colour": told}) for _ in images),
            timings_ms=Timings(total=0.0),
        )  # fmt: skip


class ServiceMachine(RuleBasedStateMachine):
    """The service beside a model of it: a list of fixes for each advertiser and picture."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="augrank-service-")
        self.version, self.rows, self.newest = 0, 0, 0
        self.held: dict[tuple[str, int], list[str | None]] = {}  # values, the last one holds
        self.last: dict[tuple[str, int], tuple[int, str | None]] = {}  # last row, what was before

    @initialize()
    def open(self) -> None:
        self.database = Database(f"sqlite:///{Path(self.folder.name) / 'service.db'}")
        self.database.migrate()
        self.service = ClassifyService(
            self.database, FixedModel(self.version), max_answers=4, trim_every=1
        )
        for picture in range(len(FILES)):
            self.ask("ada", picture, 0)

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    def ask(self, advertiser: str, picture: int, encoding: int):
        image = FILES[picture][encoding]
        request = ClassifyRequest(advertiser, (image,), ClassifyOptions(), {})
        return self.service(request)[0]

    def holds(self, advertiser: str, picture: int) -> str | None:
        return (self.held.get((advertiser, picture)) or [None])[-1]

    @rule(
        advertiser=st.sampled_from(ADVERTISERS),
        picture=st.integers(0, 2),
        encoding=st.integers(0, 1),
        value=st.sampled_from(COLOURS),
        seen=st.sampled_from(("now", None, *COLOURS)),
    )
    def correct(self, advertiser, picture, encoding, value, seen) -> None:
        self.ask(advertiser, picture, encoding)
        now = self.holds(advertiser, picture)
        before = now if seen == "now" else seen
        correction = Correction(
            advertiser, sha256(FILES[picture][encoding]), "colour", value, before, "ana"
        )
        try:
            with self.database.writes() as session:
                row = fixes.correct(session, correction)
        except Conflict:
            assert now not in (before, value)
            return
        assert now in (before, value)
        if row.id <= self.newest:
            assert now == value  # said again by the same person
            return
        self.newest = row.id
        self.rows += 1
        self.held.setdefault((advertiser, picture), [None]).append(value)
        self.last[advertiser, picture] = (row.id, now)

    @rule(advertiser=st.sampled_from(ADVERTISERS), picture=st.integers(0, 2))
    def undo(self, advertiser, picture) -> None:
        if (advertiser, picture) not in self.last:
            return
        number, before = self.last[advertiser, picture]
        now = self.holds(advertiser, picture)
        with self.database.writes() as session:
            row = fixes.undo(session, advertiser, number, "eva")
        self.newest = row.id
        self.rows += 1
        self.held[advertiser, picture].append(before)
        self.last[advertiser, picture] = (row.id, now)

    @rule()
    def restart(self) -> None:
        self.database.close()
        self.database = Database(self.database.url)
        self.database.migrate()
        self.service = ClassifyService(
            self.database, FixedModel(self.version), max_answers=4, trim_every=1
        )

    @rule()
    def retrain(self) -> None:
        self.version += 1
        self.service = ClassifyService(
            self.database, FixedModel(self.version), max_answers=4, trim_every=1
        )

    @invariant()
    def answers_are_what_holds(self) -> None:
        if not hasattr(self, "service"):
            return
        for advertiser in ADVERTISERS:
            for picture in range(len(FILES)):
                for encoding in (0, 1):
                    told = self.ask(advertiser, picture, encoding).labels["colour"]
                    expected = self.holds(advertiser, picture)
                    assert told.value == (expected or "blue")
                    assert told.source == ("fixed" if expected else "classified")

    @invariant()
    def no_row_is_lost(self) -> None:
        if not hasattr(self, "service"):
            return
        with self.database.reads() as session:
            counts = [
                len(fixes.history(session, advertiser, None, None, 10_000))
                for advertiser in ADVERTISERS
            ]
        assert sum(counts) == self.rows


TestService = ServiceMachine.TestCase
TestService.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
