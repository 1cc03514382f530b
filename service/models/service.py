"""What a service does with models: one object for each application."""

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily

from service.backends.deployment import Deployment
from service.backends.live import Live
from service.errors import NotFound
from service.models.exposures import Exposures
from service.models.follower import Chore, Follower
from service.models.promotion import Promoter
from service.models.registry import Registry
from service.models.watch import Watch

FLUSH_S, WATCH_S = 1.0, 600.0  # between writing what was answered, and looks of the watch


class Models:
    """The registry, what promotes, what follows, and the watch.

    Args:
        registry: of the models.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.exposures, self.watch = Exposures(registry.database), Watch(registry.database)
        self._promoters: dict[str, Promoter[Any]] = {}
        self._follower: Follower | None = None

    def add(self, task: str, live: Live[Any], deployment: Deployment[Any]) -> None:
        """Let the models of a task be changed.

        Args:
            task: of them.
            live: what answers now.
            deployment: where they are.
        """
        self._promoters[task] = Promoter(task, self.registry, live, deployment)

    def promoter(self, task: str) -> Promoter[Any]:
        """Return what changes the models of a task.

        Raises:
            NotFound: this service has none.
        """
        if task not in self._promoters:
            raise NotFound(
                f"this service has no model of the task {task}",
                expected=", ".join(self._promoters) or "a bundle at its start",
                got=task,
            )
        return self._promoters[task]

    @property
    def answering(self) -> dict[str, str]:
        """The digest of what answers in this process, by task."""
        return {task: each.digest for task, each in self._promoters.items()}

    def start(self, chores: Sequence[Chore] = ()) -> None:
        """Begin to follow, and to watch.

        Args:
            chores: done beside it.
        """
        own = [(self.exposures.flush, FLUSH_S), (self._look, WATCH_S)]
        self._follower = Follower(list(self._promoters.values()), [*own, *chores])
        self._follower.start()

    def stop(self) -> None:
        """End; what was noted is written."""
        if self._follower is not None:
            self._follower.stop()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the metrics for Prometheus."""
        alarm = GaugeMetricFamily(
            "augrank_model_alarm",
            "1 if people correct the live model more often than the one before.",
            labels=("task",),
        )
        live = GaugeMetricFamily(
            "augrank_model_answering", "The model that answers here.", labels=("task", "digest")
        )
        alarms = self.watch.alarms()
        for task, digest in self.answering.items():
            if task in alarms:
                alarm.add_metric((task,), float(alarms[task]))
            live.add_metric((task, digest), 1.0)
        return [alarm, live]

    def _look(self) -> None:
        self.watch.check()
        self.exposures.trim()
        self.registry.trim()
