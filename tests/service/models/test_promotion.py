"""Another model takes the live one's place: no request fails, and every crash leaves one model."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from augrank.bundle.load import load_bundle
from augrank.bundle.spec import Bundle
from augrank.errors import BundleError
from augrank.serving.model_folder import ModelConfig
from service.app import create_app
from service.backends.classify import BundleBackend
from service.backends.live import Live
from service.backends.remote.torchserve_management import TorchServeManagement, Version
from service.backends.remote.torchserve_promotion import TorchServeDeployment
from service.commands.app import app as commands
from service.database.session import Database
from service.database.tables import Model
from service.errors import BackendUnavailable, Conflict
from service.models.loading import Load, LocalDeployment
from service.models.promotion import Promoter
from service.models.registry import REJECTED, Registry
from service.settings import ServiceSettings
from tests.service.conftest import new_database
from tests.service.support.bundles import another
from tests.service.support.pages import Caller, photo

FOLLOW_S = 20.0  # on a machine that does other things; see docs/service.md for what was measured


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
            self.gate.wait(20)
        return Fake(directory.name)


@pytest.fixture
def models(database: Database, classify_export, tmp_path) -> tuple[Registry, list[Model]]:
    """A registry whose first model is live, with two candidates."""
    registry = Registry(database, tmp_path / "folder")
    found = [registry.start_with(classify_export.bundle)]
    for version in ("2.0", "3.0"):
        found.append(registry.add(another(classify_export.bundle, tmp_path, version)))
    return registry, found


def promoter_of(registry: Registry, loads: Load[Fake], keep_s: float = 60.0) -> Promoter[Fake]:
    live = Live(Fake(registry.live("classify").digest))
    return Promoter("classify", registry, live, LocalDeployment(live, loads, keep_s))


def states(registry: Registry) -> list[str]:
    return [model.state for model in reversed(registry.models())]


def test_a_promotion_and_two_rollbacks_lead_back_to_the_first(models):
    registry, (first, second, third) = models
    loads = Loads()
    promoter = promoter_of(registry, loads)
    row = promoter.promote(second.id, "ana", "better")
    assert (row.kind, row.before_id, row.after_id, row.who) == (
        "promote", first.id, second.id, "ana",
    )  # fmt: skip
    assert promoter.digest == second.digest
    promoter.promote(third.id, "ana")
    assert states(registry) == ["retired", "retired", "live"]
    promoter.rollback("eva", "white vans")
    promoter.rollback("eva")
    assert promoter.digest == first.digest
    assert states(registry) == ["live", "retired", "retired"]
    with pytest.raises(Conflict, match="nothing to roll back to"):
        promoter.rollback("eva")
    assert [row.kind for row in registry.history()] == [
        "rollback", "rollback", "promote", "promote", "promote",
    ]  # fmt: skip


def test_rollbacks_do_not_go_in_a_circle(models):
    registry, (first, second, _) = models
    promoter = promoter_of(registry, Loads())
    promoter.promote(second.id, "ana")
    promoter.promote(first.id, "ana")  # once more
    promoter.rollback("eva")
    assert promoter.digest == second.digest
    promoter.rollback("eva")
    assert promoter.digest == first.digest
    with pytest.raises(Conflict, match="nothing to roll back to"):
        promoter.rollback("eva")
    promoter.promote(second.id, "ana")
    promoter.rollback("eva")
    assert promoter.digest == first.digest


def test_a_rollback_that_the_server_could_not_finish_may_be_tried_again(models):
    registry, (first, second, third) = models
    promoter = promoter_of(registry, Loads())
    promoter.promote(second.id, "ana")
    promoter.promote(third.id, "ana")
    finishes = promoter._deployment

    class Unfinished:
        def promote(self, bundle, switch):
            switch(Fake(bundle.digest))
            switch(Fake(third.digest))

    promoter._deployment = Unfinished()
    promoter.rollback("eva")
    assert registry.live("classify").id == third.id
    assert (registry.history()[0].kind, registry.history()[0].why) == (
        "promote", "the deployment failed",
    )  # fmt: skip
    promoter._deployment = finishes
    promoter.rollback("eva")
    promoter.rollback("eva")
    assert promoter.digest == first.digest


def test_a_model_that_is_removed_while_it_loads_does_not_become_live(models):
    registry, (first, second, _) = models
    registry.decide(second.id, {"reasons": ["worse"]}, promote=False)
    removed: list[int] = []

    def load(directory: Path, live: Fake) -> Fake:
        removed.append(Registry(registry.database, registry.folder, most=0).trim())
        return Fake(directory.name)

    promoter = promoter_of(registry, load)
    with pytest.raises(Conflict, match=f"the bundle of model {second.id} is not kept any more"):
        promoter.promote(second.id, "ana", force=True)
    assert removed == [1]
    assert promoter.digest == first.digest
    assert states(registry) == ["live", "rejected", "candidate"]
    assert registry.directory(registry.live("classify")).is_dir()


def test_a_model_is_promoted_over_the_one_alone_that_it_was_compared_with(models):
    registry, (first, second, third) = models
    promoter, other = promoter_of(registry, Loads()), promoter_of(registry, Loads())
    promoter.promote(second.id, "ana", expected=first.digest)
    with pytest.raises(Conflict, match="another model is live") as caught:
        promoter.promote(third.id, "a job", expected=first.digest)
    assert caught.value.got == f"{second.digest} (model {second.id})"
    assert promoter.digest == second.digest

    def load(directory: Path, live: Fake) -> Fake:
        other.rollback("eva")  # meanwhile
        return Fake(directory.name)

    hasty = promoter_of(registry, load)
    with pytest.raises(Conflict, match="in the meantime"):
        hasty.promote(third.id, "a job", expected=second.digest)
    assert states(registry) == ["live", "retired", "candidate"]


class FakeServer:
    """The management API of a TorchServe whose versions answer with the bundle of their name."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)

    def versions(self) -> list[Version]:
        return [Version(name, ModelConfig(), 1) for name in self.names]

    def register(self, archive: str, workers: int) -> None:
        self.names.append(archive.split("-")[-2])

    def set_default(self, name: str) -> None:
        self.names.sort(key=lambda each: each != name)

    def unregister(self, name: str) -> None:
        self.names.remove(name)

    def process(self, registry: Registry) -> Promoter[Any]:
        """Return what promotes and follows in a process of its own."""
        management = cast(TorchServeManagement, self)
        deployment = TorchServeDeployment("shapes", management, self._asked)
        bundle = load_bundle(registry.directory(registry.live("classify")))
        return Promoter("classify", registry, Live(deployment.deployed(bundle)), deployment)

    def _asked(self, bundle: Bundle[Any], version: str | None) -> Any:
        server = self

        class Asked(Fake):
            def verify(self) -> None:
                if version not in server.names or version != self.model[:12]:
                    raise BackendUnavailable("another bundle")

            def drain(self) -> None:
                pass

        return Asked(bundle.digest)


def test_a_process_that_follows_removes_no_version_of_a_server(models):
    registry, added = models
    first, second, third = (model.digest[:12] for model in added)
    server = FakeServer(first)
    one, other = server.process(registry), server.process(registry)
    one.promote(added[1].id, "ana")
    assert server.names == [second, first]
    assert other.follow()
    assert other.digest == added[1].digest
    assert server.names == [second, first]  # a third process may still ask the first
    other.promote(added[2].id, "ana")
    assert server.names == [third, second]
    assert one.follow()
    assert server.names == [third, second]
    one.rollback("eva")
    assert other.follow()
    assert one.digest == other.digest == added[1].digest
    assert server.names == [second, third]


def test_the_version_that_answers_stays_though_another_is_the_default(models, monkeypatch):
    registry, added = models
    first, second, third = (model.digest[:12] for model in added)
    server = FakeServer(first)
    promoter = server.process(registry)
    with monkeypatch.context() as patch:
        patch.setattr(server, "set_default", lambda name: _unavailable())
        promoter.promote(added[1].id, "ana")
    assert promoter.digest == added[1].digest
    assert server.names == [first, second]
    promoter.promote(added[2].id, "ana")
    assert server.names == [third, first, second]
    promoter.rollback("eva")
    assert promoter.digest == added[1].digest


def _unavailable() -> None:
    raise BackendUnavailable("the management API cannot be reached")


def test_a_rollback_loads_nothing_while_the_model_before_is_kept(models):
    registry, (first, second, third) = models
    loads = Loads()
    promoter = promoter_of(registry, loads)
    promoter.promote(second.id, "ana")
    promoter.rollback("ana")
    promoter.promote(second.id, "ana")
    assert loads.loaded == [second.digest]
    promoter.promote(third.id, "ana")  # the first one goes, before the third is loaded
    promoter.rollback("ana")
    promoter.rollback("ana")
    assert loads.loaded == [second.digest, third.digest, first.digest]
    hasty = Loads()
    other = promoter_of(registry, hasty, keep_s=0.0)
    other.promote(second.id, "ana")
    other.follow()  # lets it go
    other.rollback("ana")
    assert hasty.loaded == [second.digest, first.digest]


def test_a_bundle_that_does_not_load_leaves_everything_as_it_is(models):
    registry, (first, second, _) = models
    loads = Loads()
    promoter, loads.fails = promoter_of(registry, loads), True
    with pytest.raises(BundleError, match="smoke request"):
        promoter.promote(second.id, "ana")
    assert promoter.digest == first.digest
    assert states(registry) == ["live", "candidate", "candidate"]
    assert len(registry.history()) == 1
    loads.fails = False
    promoter.promote(second.id, "ana")
    assert promoter.digest == second.digest


def test_of_two_processes_that_promote_at_once_one_is_told(models):
    registry, (_, second, third) = models
    loads = [Loads(), Loads()]
    loads[0].gate = loads[1].gate = threading.Barrier(2)  # both have loaded, neither has written
    promoters = [promoter_of(registry, each) for each in loads]

    def promote(number: int) -> str:
        try:
            promoters[number].promote((second, third)[number].id, f"process {number}")
        except Conflict as error:
            return str(error)
        return "live"

    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(promote, range(2)))
    assert told.count("live") == 1
    assert any("changed the live model in the meantime" in each for each in told)
    assert states(registry).count("live") == 1
    loads[0].gate = loads[1].gate = None
    for promoter in promoters:
        promoter.follow()
        assert promoter.digest == registry.live("classify").digest
    assert len(registry.history()) == 2


def test_one_process_promotes_one_model_at_a_time(models):
    registry, (_, second, third) = models
    loads = Loads()
    loads.gate = threading.Barrier(2)
    promoter = promoter_of(registry, loads)
    thread = threading.Thread(target=promoter.promote, args=(second.id, "ana"))
    thread.start()
    while not loads.loaded:
        time.sleep(0.01)
    with pytest.raises(Conflict, match="being promoted or rolled back"):
        promoter.promote(third.id, "eva")
    assert not promoter.follow()
    loads.gate.wait(20)
    thread.join()
    assert promoter.digest == second.digest


def test_a_rejected_model_needs_force_and_a_live_one_is_live(models):
    registry, (first, second, _) = models
    promoter = promoter_of(registry, Loads())
    registry.decide(second.id, {"reasons": ["worse"]}, promote=False)
    assert registry.get(second.id).state == REJECTED
    with pytest.raises(Conflict, match="worse"):
        promoter.promote(second.id, "ana")
    with pytest.raises(Conflict, match="live already"):
        promoter.promote(first.id, "ana")
    row = promoter.promote(second.id, "ana", "all the same", force=True)
    assert row.gate == {"reasons": ["worse"]}


KILL = """
import os, signal, sys
from pathlib import Path
from service.backends.live import Live
from service.database.session import Database
from service.models import promotion, registry
from service.models.loading import LocalDeployment

url, folder, step, bundle = sys.argv[1:]
opened = Database(url)
models = registry.Registry(opened, Path(folder))

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Fake:
    def __init__(self, model): self.model = model

if step == "copying":
    registry._rename = die
    models.add(Path(bundle))
live = Live(Fake(models.live("classify").digest))
load = lambda directory, live: die() if step == "loading" else Fake(directory.name)
if step == "writing":
    registry_make = promotion.make_live
    promotion.make_live = lambda *given: (registry_make(*given), die())
if step == "written":
    live.replace = die
if step == "swapped":
    replace = live.replace
    live.replace = lambda backend: (replace(backend), die())
promotion.Promoter("classify", models, live, LocalDeployment(live, load)).promote(2, "ana")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "after"),
    [("copying", 1), ("loading", 1), ("writing", 1), ("written", 2), ("swapped", 2)],
)
def test_kill_9_between_two_steps_leaves_one_live_model(
    models, classify_export, tmp_path, step, after
):
    registry, (first, second, _) = models
    bundle = another(classify_export.bundle, tmp_path, "4.0")
    script = [sys.executable, "-c", KILL, registry.database.url, str(registry.folder), step]
    ended = subprocess.run([*script, str(bundle)], cwd=Path(__file__).parents[3], timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert registry.live("classify").id == after
    assert states(registry) == (
        ["live", "candidate", "candidate"] if after == 1 else ["retired", "live", "candidate"]
    )
    assert len(registry.history()) == after
    started = registry.start_with(classify_export.bundle)
    assert started.digest == (first, second)[after - 1].digest
    assert registry.directory(started).is_dir()
    if step == "copying":
        left = [each for each in (registry.folder / "models").iterdir() if ".part" in each.name]
        assert len(left) == 1
        os.utime(left[0], (0, 0))
        registry.start_with(classify_export.bundle)
        assert not left[0].exists()
        assert registry.directory(registry.add(bundle)).is_dir()
    promoter = promoter_of(registry, Loads())
    if after == 1:
        promoter.promote(second.id, "ana")
    else:
        promoter.rollback("ana")
    assert states(registry).count("live") == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_request_fails_while_a_real_bundle_is_promoted_and_rolled_back(
    database, classify_export, tmp_path
):
    registry = Registry(database, tmp_path)
    first = registry.start_with(classify_export.bundle)
    second = registry.add(another(classify_export.bundle, tmp_path, "2.0"))
    backend = BundleBackend(registry.directory(first))
    settings = ServiceSettings(folder=tmp_path)
    ended, told, failed = threading.Event(), list[str](), list[str]()
    with TestClient(create_app(settings, database, backend)) as http:
        caller = Caller(http)
        caller.classify(photo(0))

        def ask(number: int) -> None:
            turn = 0
            while not ended.is_set():
                turn += 1
                image = photo(0) if turn % 2 else photo(1000 * number + turn)
                try:
                    (answer,) = caller.classify(image, advertiser=f"person {number}")
                    told.append(answer["model_digest"])
                except AssertionError as error:
                    failed.append(str(error))

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(1, 4)]
        for thread in threads:
            thread.start()
        row = http.post(f"/v1/models/{second.id}/promote", json={"who": "ana", "why": "better"})
        assert row.status_code == 201, row.text
        assert row.json()["kind"] == "promote"
        (answer,) = caller.classify(photo(0))
        assert answer["model_digest"] == second.digest
        back = http.post("/v1/models/rollback", json={"who": "eva", "why": "white vans"})
        assert back.status_code == 201, back.text
        (answer,) = caller.classify(photo(0))
        assert answer["model_digest"] == first.digest
        ended.set()
        for thread in threads:
            thread.join()
        rows = http.get("/v1/models/promotions").json()["promotions"]
        refused = http.post(f"/v1/models/{first.id}/promote", json={"who": "ana"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
        body = {"who": "ana", "expected": second.digest}
        refused = http.post(f"/v1/models/{second.id}/promote", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
        assert http.post("/v1/models/99/promote", json={"who": "ana"}).status_code == 404
        assert http.post("/v1/models/rollback", json={}).status_code == 400  # who is it?
    assert failed == []
    assert set(told) == {first.digest, second.digest}
    assert [(each["kind"], each["why"]) for each in rows[:2]] == [
        ("rollback", "white vans"), ("promote", "better"),
    ]  # fmt: skip


def test_other_processes_and_commands_are_followed(postgres, classify_export, tmp_path):
    database = Database(new_database(postgres))
    database.migrate()
    registry = Registry(database, tmp_path)
    first = registry.start_with(classify_export.bundle)
    second = registry.add(another(classify_export.bundle, tmp_path, "2.0"))
    settings = ServiceSettings(folder=tmp_path)
    apps = [
        create_app(settings, each, BundleBackend(registry.directory(first)))
        for each in (database, Database(database.url))
    ]
    with TestClient(apps[0]) as one, TestClient(apps[1]) as other:
        answered = one.post(f"/v1/models/{second.id}/promote", json={"who": "ana"})
        assert answered.status_code == 201, answered.text
        assert _follows(other, second.digest)
        where = ["--database", database.url, "--folder", str(tmp_path)]
        words = ["models", "rollback", "--who", "eva", *where]
        result = CliRunner().invoke(commands, words)
        assert result.exit_code == 0, result.output
        assert _follows(one, first.digest)
        assert _follows(other, first.digest)
    for app in apps:
        app.state.parts.database.close()


def _follows(http: TestClient, digest: str) -> bool:
    """Wait until a process answers with a model."""
    deadline = time.monotonic() + FOLLOW_S
    while time.monotonic() < deadline:
        rows = http.get("/v1/models").json()["models"]
        if any(row["answering"] and row["digest"] == digest for row in rows):
            (answer,) = Caller(http).classify(photo(0))
            return answer["model_digest"] == digest
        time.sleep(0.05)
    return False
