"""Promote a model and roll back, while requests go on.

    deploy beside the live one ─ smoke request ─ commit states and history ─ swap ─ keep the old

Committed first, swapped second: whenever the process ends, the database names one live model, and
a service starts with it. A request takes the backend once, when it begins, so none sees two. Other
processes look at the table and follow (follower.py).
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from augrank.bundle.load import load_bundle
from augrank.bundle.spec import Bundle
from service.backends.deployment import Deployment
from service.backends.live import Live
from service.database.session import lock_for_adding
from service.database.tables import Model, Promotion
from service.errors import Conflict
from service.models.compatible import check_compatible
from service.models.loading import Answers, LocalDeployment
from service.models.registry import (
    CHANGING,
    PROMOTE,
    ROLLBACK,
    Change,
    Registry,
    check_state,
    find_model,
    live_model,
    make_live,
    model_before,
)

log = logging.getLogger("augrank.service")
BackendT = TypeVar("BackendT", bound=Answers)
AGAIN_S = 60.0  # after which a bundle that did not load is tried again


class Promoter(Generic[BackendT]):
    """Changes what answers. Thread-safe.

    Args:
        task: of the models.
        registry: that has them.
        live: what answers now.
        deployment: where the models are: this process, or a server.
    """

    def __init__(
        self,
        task: str,
        registry: Registry,
        live: Live[BackendT],
        deployment: Deployment[BackendT],
    ) -> None:
        self.task, self.registry = task, registry
        self._live, self._deployment = live, deployment
        self._busy = threading.Lock()
        self._failed: tuple[str, float] | None = None  # what did not load when following

    @property
    def digest(self) -> str:
        """What answers in this process."""
        return self._live.current.model

    def promote(
        self,
        model_id: int,
        who: str,
        why: str = "",
        *,
        force: bool = False,
        expected: str | None = None,
    ) -> Promotion:
        """Make a candidate, or a model that was live before, the live one.

        Args:
            model_id: of the model.
            who: decides it.
            why: that person's words.
            force: also one that the gate has rejected.
            expected: digest of the live model that it was compared with; None: whichever is live.

        Raises:
            NotFound: there is no such model.
            BundleExpired: its bundle is not kept any more.
            Conflict: it is live, was rejected, lacks a class, or something else was promoted.
            BundleError: it does not load, or answers its smoke request otherwise than at export.
        """
        with self._one_at_a_time():
            model = self.registry.get(model_id)
            if model.task != self.task:
                raise Conflict("the model is of another task", expected=self.task, got=model.task)
            check_state(model, force=force)
            seen = live_as_expected(self.registry, self.task, expected)
            check_against(self.registry, model, seen)
            return self._change(model, seen, Change(PROMOTE, who, why), force=force)

    def rollback(self, who: str, why: str = "", *, expected: str | None = None) -> Promotion:
        """Make the model that was live before the live one answer again.

        Args:
            who: decides it.
            why: that person's words.
            expected: digest of the live model that shall go; None: whichever is live. Without it
                a second one who decides the same goes back one model further.

        Raises:
            BundleExpired: its bundle is not kept any more.
            Conflict: there was none, or something else was promoted.
            BundleError: it does not load.
        """
        with self._one_at_a_time():
            seen = live_as_expected(self.registry, self.task, expected)
            before = find_before(self.registry, seen)
            return self._change(before, seen, Change(ROLLBACK, who, why), force=True)

    def follow(self) -> bool:
        """Answer with the model that another process made live; return whether it has changed.

        Raises:
            AugrankError: it does not load here.
        """
        live = self.registry.live(self.task)
        if live is None or live.digest == self.digest:
            if isinstance(self._deployment, LocalDeployment):
                self._deployment.expire()
            return False
        if self._failed and self._failed[0] == live.digest and time.monotonic() < self._failed[1]:
            return False
        if not self._busy.acquire(blocking=False):
            return False  # this process is changing it
        try:
            live = self.registry.live(self.task)
            if live is None or live.digest == self.digest:
                return False
            self._failed = (live.digest, time.monotonic() + AGAIN_S)
            self._answer_with(load_bundle(self.registry.directory(live)))
            self._failed = None
        finally:
            self._busy.release()
        log.info("model %d, %s, answers now: it was promoted elsewhere", live.id, live.digest[:12])
        return True

    def _answer_with(self, bundle: Bundle[Any]) -> None:
        """Let a bundle that was promoted elsewhere answer here.

        A server has it already, and who promoted it tidies up there: other processes may still
        ask for the version before.
        """
        if isinstance(self._deployment, LocalDeployment):
            self._deployment.promote(bundle, self._live.replace)
        else:
            self._live.replace(self._deployment.deployed(bundle))

    def _change(
        self, model: Model, seen: Model | None, change: Change, *, force: bool
    ) -> Promotion:
        """Deploy a model, write that it is live, and let it answer."""
        rows: list[Promotion] = []

        def switch(backend: BackendT) -> None:
            if backend.model == model.digest:
                rows.append(commit(self.registry, model.id, seen, change, force=force))
            elif rows and seen is not None:  # the server could not finish: the one before answers
                kind = PROMOTE if change.kind == ROLLBACK else ROLLBACK
                failed = Change(kind, change.who, "the deployment failed")
                rows.append(commit(self.registry, seen.id, model, failed, force=True))
            self._live.replace(backend)

        bundle: Any = load_bundle(self.registry.directory(model))
        self._deployment.promote(bundle, switch)
        log.info("%s: model %d, %s, answers now", change.kind, model.id, model.digest[:12])
        return rows[0]

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise Conflict(
                "another model is being promoted or rolled back",
                remedy="Wait some seconds, and look at the list.",
            )
        try:
            yield
        finally:
            self._busy.release()


def live_as_expected(registry: Registry, task: str, expected: str | None = None) -> Model | None:
    """Return the live model; ``commit`` makes sure that it still is.

    Args:
        registry: that has the models.
        task: of the model.
        expected: its digest; None: whichever is live.

    Raises:
        Conflict: another one is live.
    """
    live = registry.live(task)
    if expected is not None and (live is None or live.digest != expected):
        raise Conflict(
            "another model is live than was expected",
            expected=expected,
            got=f"{live.digest} (model {live.id})" if live else "none",
            remedy="Look at the list, and decide again.",
        )
    return live


def check_against(registry: Registry, model: Model, live: Model | None) -> None:
    """Check that a model can take the place of the live one.

    Raises:
        BundleExpired: its bundle is not kept any more.
        Conflict: it lacks a class or a label.
        BundleError: it was modified.
    """
    new = load_bundle(registry.directory(model)).spec
    if live is not None and live.path:
        check_compatible(new, load_bundle(registry.directory(live)).spec)


def find_before(registry: Registry, live: Model | None) -> Model:
    """Return the model that a rollback leads to.

    Raises:
        Conflict: there is none.
    """
    before = None
    if live is not None:
        with registry.database.reads() as session:
            before = model_before(session, live)
    if before is None:
        raise Conflict(
            "there is nothing to roll back to",
            expected="a model that was live before",
            got="the first one",
        )
    return before


def commit(
    registry: Registry, model_id: int, seen: Model | None, change: Change, *, force: bool = False
) -> Promotion:
    """Write that a model is the live one, with its history, in one transaction.

    Args:
        registry: that has the model.
        model_id: of it.
        seen: the live model that was compared with.
        change: who, and why.
        force: also a model that was rejected.

    Raises:
        Conflict: another model was made live in the meantime, or this one was rejected or removed.
    """
    with registry.database.writes() as session:
        lock_for_adding(session, CHANGING)
        model = find_model(session, model_id)
        now = live_model(session, model.task)
        if (now.id if now else None) != (seen.id if seen else None):
            raise Conflict(
                "somebody else has changed the live model in the meantime",
                expected=f"model {seen.id}" if seen else "none",
                got=f"model {now.id}" if now else "none",
                remedy="Look at the list, and decide again.",
            )
        check_state(model, force=force)
        registry.directory(model)  # it may have been removed, under the same lock
        return make_live(session, model, now, change)
