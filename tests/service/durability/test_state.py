"""Whatever order fixes, undos, answers, promotions and restarts come in: nothing is lost or stale.

The same on both databases; each answer is the live model's, unless a person has corrected it.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select, update

from service.answers.classify import ClassifyRequest, ClassifyService
from service.backends.bundles import CLASSIFY
from service.backends.classify import ClassifyOptions
from service.database.session import Database
from service.database.tables import (
    AnswerLabel,
    CurrentFix,
    ReviewItem,
    Sighting,
    StoredAnswer,
    StoredImage,
)
from service.errors import Conflict
from service.fixes import history as fixes
from service.fixes.history import Correction
from service.fixes.queue import QueueFilter, queue_page
from service.fixes.reviews import Confirmation, confirm, undo_review
from service.images.store import ImageStore
from service.jobs.queue import DONE, EVERYBODY, add_job
from service.models.loading import LocalDeployment
from service.models.promotion import Promoter
from service.models.registry import Registry
from service.retraining.collect import collect, holding
from service.retraining.data.dataset import Accepted, Row, extended
from service.retraining.jobs import RETRAIN
from service.retraining.review import FILTERS, accept_proposals
from tests.service.support.bundles import another
from tests.service.support.fixed_model import COLOURS, FixedModel
from tests.service.support.pages import photo, sha256

ADVERTISERS = ("ada", "bob")
# Two encodings of each of three pictures.
FILES = [(photo(n), photo(n, ".jpg")) for n in (40, 41, 42)]
NUMBERS = {sha256(file): number for number, files in enumerate(FILES) for file in files}


class ServiceMachine(RuleBasedStateMachine):
    """The service beside a model of it: lists of what holds, and of what was promoted.

    Args:
        new_url: makes a database.
        bundles: of two models; the first one says "blue" of every picture, the other one "green".
    """

    def __init__(self, new_url: Callable[[], str], bundles: tuple[Path, Path]) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="augrank-service-")
        self.url, self.bundles = new_url(), bundles
        self.rows, self.newest = 0, 0
        self.held: dict[tuple[str, int], list[str | None]] = {}  # values, the last one holds
        self.last: dict[tuple[str, int], tuple[int, str | None]] = {}  # last row, what was before
        self.confirmed: dict[tuple[str, int, str], int] = {}  # by advertiser, picture and value
        self.dataset: tuple[Row, ...] = ()

    @initialize()
    def open(self) -> None:
        folder = Path(self.folder.name)
        self.database, self.images = Database(self.url), ImageStore(folder, 2**30)
        registry = Registry(self.database, folder)
        self.models = [registry.start_with(self.bundles[0]), registry.add(self.bundles[1])]
        self.says = {self.models[0].digest: "blue", self.models[1].digest: "green"}
        self.promoted = [0]  # places in models, the last one is live
        self.start()
        for picture in range(len(FILES)):
            self.ask("ada", picture, 0)

    def start(self) -> None:
        """Start the service with the live model, as a process does."""
        registry = Registry(self.database, Path(self.folder.name))
        live = registry.live(CLASSIFY)
        assert live is not None
        self.service = ClassifyService(
            self.database, self.load(live.digest), self.images, max_answers=6, trim_every=1
        )
        deployment = LocalDeployment(
            self.service.live, lambda directory, live: self.load(directory.name)
        )
        self.promoter = Promoter(CLASSIFY, registry, self.service.live, deployment)

    def load(self, digest: str) -> FixedModel:
        return FixedModel(0, self.says[digest], digest)

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    def ask(self, advertiser: str, picture: int, encoding: int):
        return self.answers(advertiser, FILES[picture][encoding])[0]

    def answers(self, advertiser: str, *images: bytes):
        return self.service(ClassifyRequest(advertiser, images, ClassifyOptions(), {}))

    def holds(self, advertiser: str, picture: int) -> str | None:
        return (self.held.get((advertiser, picture)) or [None])[-1]

    @property
    def live(self) -> str:
        return self.models[self.promoted[-1]].digest

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

    @rule(advertiser=st.sampled_from(ADVERTISERS), picture=st.integers(0, 2))
    def accept(self, advertiser, picture) -> None:
        told = self.ask(advertiser, picture, 0).labels["colour"]
        given = [Confirmation(sha256(FILES[picture][0]), told.value)]
        with self.database.writes() as session:
            (row,) = confirm(session, advertiser, "colour", given, "ana")
        self.confirmed[advertiser, picture, told.value] = row.id

    @rule(advertiser=st.sampled_from(ADVERTISERS))
    def take_back(self, advertiser) -> None:
        own = [each for each in self.confirmed if each[0] == advertiser]
        if own:
            with self.database.writes() as session:
                undo_review(session, advertiser, self.confirmed.pop(own[0]), "eva")

    @rule()
    def restart(self) -> None:
        self.database.close()
        self.database = Database(self.database.url)
        self.database.migrate()
        self.start()

    @rule()
    def promote(self) -> None:
        other = 1 - self.promoted[-1]
        self.promoter.promote(self.models[other].id, "ana")
        self.promoted.append(other)

    @rule()
    def rollback(self) -> None:
        if len(self.promoted) == 1:
            with pytest.raises(Conflict, match="nothing to roll back to"):
                self.promoter.rollback("eva")
            return
        self.promoter.rollback("eva")
        self.promoted.pop()

    @rule()
    def learn(self) -> None:
        """Make the next version of the dataset, as a retraining without review does."""
        with self.database.writes() as session:
            job = add_job(session, RETRAIN, EVERYBODY, {}, 1)
            _, missing = collect(session, job.id, {"colour": COLOURS}, self.images)
            assert missing == 0
            session.flush()
            accept_proposals(session, job.id, FILTERS)
            items = session.scalars(select(ReviewItem).where(ReviewItem.job_id == job.id))
            accepted = [_accepted(item) for item in items]
            self.dataset = extended(self.dataset, holding(session), accepted).rows
            own = ReviewItem.job_id == job.id
            session.execute(update(ReviewItem).where(own).values(taken=True))
            job.state = DONE
            held = dict(session.execute(select(CurrentFix.fix_id, CurrentFix.value)).all())
        learned = {NUMBERS[row.picture]: row.labels.get("colour") for row in self.dataset}
        for row in self.dataset:
            assert all(held[number] == row.labels[name] for name, number in row.fixes.items())
        for picture in range(len(FILES)):
            said = {self.holds(advertiser, picture) for advertiser in ADVERTISERS} - {None}
            assert learned.get(picture) in said or not learned.get(picture)
            if len(said) == 1:
                assert learned[picture] in said

    @invariant()
    def answers_are_what_holds(self) -> None:
        if not hasattr(self, "service"):
            return
        every = [file for files in FILES for file in files]
        for advertiser in ADVERTISERS:
            for answer in self.answers(advertiser, *every):
                expected = self.holds(advertiser, NUMBERS[answer.sha256])
                told = answer.labels["colour"]
                assert answer.model_digest == self.live
                assert told.value == (expected or self.says[self.live])
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

    @invariant()
    def the_queue_is_what_is_kept(self) -> None:
        """Find in the queue what follows from all the other tables, for each advertiser alone."""
        if not hasattr(self, "service"):
            return
        for advertiser in ADVERTISERS:
            shown = self.shown(advertiser)
            assert self.queue(advertiser, "all") == shown
            done = {p for p in shown if self.holds(advertiser, p)}
            done |= {p for p, (said, _) in shown.items() if (advertiser, p, said) in self.confirmed}
            left = {picture: told for picture, told in shown.items() if picture not in done}
            assert self.queue(advertiser, "open") == left

    def shown(self, advertiser: str) -> dict[int, tuple[str, bool]]:
        """Return what the queue must show: by picture the answer, and whether it is the live's."""
        query = (
            select(StoredImage.sha256, StoredAnswer.model, AnswerLabel.value)
            .join(AnswerLabel, AnswerLabel.answer_id == StoredAnswer.id)
            .join(Sighting, Sighting.sha256 == AnswerLabel.sha256)
            .join(StoredImage, StoredImage.sha256 == AnswerLabel.sha256)
            .where(Sighting.advertiser == advertiser)
            .order_by(StoredAnswer.model == self.live, StoredAnswer.id)
        )
        with self.database.reads() as session:
            rows = session.execute(query).all()
        return {NUMBERS[digest]: (value, model == self.live) for digest, model, value in rows}

    def queue(self, advertiser: str, state: str) -> dict[int, tuple[str, bool]]:
        given = QueueFilter("colour", advertiser, state=state, live=self.live)
        with self.database.reads() as session:
            items = queue_page(session, given, None, 100)
        found = {NUMBERS[item.sha256]: (item.value, item.live) for item in items}
        assert len(found) == len(items)  # each picture once
        return found


def _accepted(item: ReviewItem) -> Accepted:
    shows = sha256(FILES[NUMBERS[item.sha256]][0])
    return Accepted(
        fix_id=item.fix_id, picture=item.sha256, shows=shows, file=item.sha256,
        advertiser=item.advertiser, label=item.label, value=item.value,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("new_url", "examples"), [("sqlite", 6), ("postgresql", 2)], indirect=["new_url"]
)
def test_whatever_comes_in_whatever_order(new_url, examples, classify_export, tmp_path):
    bundles = classify_export.bundle, another(classify_export.bundle, tmp_path, "2.0")
    run_state_machine_as_test(
        lambda: ServiceMachine(new_url, bundles),
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
