"""Answer a batch: one answer or error per request, in order, with a cache before the task."""

import time
from collections.abc import Sequence
from typing import Generic, cast

from augrank.bundle.spec import Bundle, BundleSpec
from augrank.errors import AugrankError
from augrank.runtime.cache import AnswerCache
from augrank.tasks.base import AnswerT, PlanT, RequestBody, RequestT, Task
from augrank.tasks.isolation import isolated, pass_good


def answer_batch(
    task: Task[RequestT, PlanT, AnswerT], requests: Sequence[RequestT | AugrankError]
) -> list[AnswerT | AugrankError]:
    """Answer the requests of a batch together.

    Args:
        task: a loaded task.
        requests: parsed requests, or errors in place of those that could not be parsed.

    Returns:
        One answer or error per request, in order.
    """

    def plan_and_answer(good: list[RequestT]) -> list[AnswerT | AugrankError]:
        return pass_good([isolated(task.plan, request) for request in good], task.answer)

    return pass_good(requests, plan_and_answer)


class CachedTask(Generic[RequestT, PlanT, AnswerT]):
    """A task with a cache of answers to repeated requests.

    Args:
        task: computes the answers.
        size_bytes: memory limit of the cached answers.
    """

    def __init__(self, task: Task[RequestT, PlanT, AnswerT], size_bytes: int) -> None:
        self.task = task
        self.cache = AnswerCache(size_bytes)

    @property
    def bundle(self) -> Bundle[BundleSpec]:
        """The task's bundle."""
        return self.task.bundle

    @property
    def engine(self) -> str:
        """The task's engine, for the log."""
        return self.task.engine

    def parse(self, body: RequestBody) -> RequestT:
        """Read a request's options."""
        return self.task.parse(body)

    def plan(self, request: RequestT) -> PlanT:
        """Check everything in a request except its image."""
        return self.task.plan(request)

    def warm_up(self) -> None:
        """Warm the task up; its answers are not cached."""
        self.task.warm_up()

    def answer(self, plans: Sequence[PlanT]) -> list[AnswerT | AugrankError]:
        """Answer from the cache if possible, and let the task answer the rest together."""
        kept = [self._cached(plan) for plan in plans]
        missing = [plan for plan, answer in zip(plans, kept, strict=True) if answer is None]
        computed = self.task.answer(missing)
        for plan, answer in zip(missing, computed, strict=True):
            if not isinstance(answer, AugrankError) and answer.reusable:
                self.cache.put(plan.cache_key, answer)
        rest = iter(computed)
        return [next(rest) if answer is None else answer for answer in kept]

    def _cached(self, plan: PlanT) -> AnswerT | None:
        """Return the cached answer, marked as such and with the time of this request."""
        answer = self.cache.get(plan.cache_key)
        if answer is None:
            return None
        total_ms = round((time.perf_counter() - plan.started) * 1e3, 3)
        timings = type(answer.timings_ms)(total=total_ms)  # type: ignore[call-arg]
        return cast(AnswerT, answer.model_copy(update={"cached": True, "timings_ms": timings}))
