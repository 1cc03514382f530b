"""While others promote, ask or are killed: no request fails, and one model is live."""

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
from augrank.serving.model_folder import ModelConfig
from service.app import create_app
from service.backends.classify import BundleBackend
from service.backends.live import Live
from service.backends.remote.torchserve_management import TorchServeManagement, Version
from service.backends.remote.torchserve_promotion import TorchServeDeployment
from service.commands.app import app as commands
from service.database.session import Database
from service.errors import BackendUnavailable, Conflict
from service.models.promotion import Promoter
from service.models.registry import Registry
from service.settings import ServiceSettings
from tests.service.conftest import new_database
from tests.service.models.support import Fake, Loads, promoter_of, states
from tests.service.support.bundles import another
from tests.service.support.pages import Caller, photo
from tests.support.patience import PATIENCE_S


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
    loads.gate.wait(PATIENCE_S)
    thread.join()
    assert promoter.digest == second.digest


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
    ended = subprocess.run(
        [*script, str(bundle)], cwd=Path(__file__).parents[3], timeout=PATIENCE_S
    )
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
        _wait_until_told(told, first.digest)
        row = http.post(f"/v1/models/{second.id}/promote", json={"who": "ana", "why": "better"})
        assert row.status_code == 201, row.text
        assert row.json()["kind"] == "promote"
        (answer,) = caller.classify(photo(0))
        assert answer["model_digest"] == second.digest
        _wait_until_told(told, second.digest)
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


def _wait_until_told(told: list[str], digest: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while digest not in told:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _follows(http: TestClient, digest: str) -> bool:
    """Wait until a process answers with a model."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        rows = http.get("/v1/models").json()["models"]
        if any(row["answering"] and row["digest"] == digest for row in rows):
            (answer,) = Caller(http).classify(photo(0))
            return answer["model_digest"] == digest
        time.sleep(0.05)
    return False
