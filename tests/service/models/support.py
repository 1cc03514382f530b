"""Models that are only a digest, and what promotes them, for tests of promotion."""

import threading
from pathlib import Path

from augrank.errors import BundleError
from service.backends.live import Live
from service.models.loading import Load, LocalDeployment
from service.models.promotion import Promoter
from service.models.registry import Registry
from tests.support.patience import PATIENCE_S


class Fake:
    """A backend that is only a digest."""

    def __init__(self, model: str) -> None:
        self.model = model


class Loads:
    """Loads fakes, and counts."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.gate: threading.Barrier | None = None
        self.fails = False

    def __call__(self, directory: Path, live: Fake) -> Fake:
        if self.fails:
            raise BundleError("the smoke request is answered otherwise")
        self.loaded.append(directory.name)
        if self.gate is not None:
            self.gate.wait(PATIENCE_S)
        return Fake(directory.name)


def promoter_of(registry: Registry, loads: Load[Fake], keep_s: float = 60.0) -> Promoter[Fake]:
    live = Live(Fake(registry.live("classify").digest))
    return Promoter("classify", registry, live, LocalDeployment(live, loads, keep_s))


def states(registry: Registry) -> list[str]:
    return [model.state for model in reversed(registry.models())]
