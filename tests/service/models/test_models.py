"""The registry: bundles are copied and checked, one is live, and everybody sees what they may."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from typer.testing import CliRunner

from augrank.bundle.load import load_bundle
from augrank.errors import BundleError
from service.backends.start import Backends
from service.commands.app import app
from service.database.session import Database
from service.database.tables import Model
from service.errors import BundleExpired, Conflict, NotFound
from service.models.compatible import check_compatible
from service.models.evaluation import EvaluatedImage, evaluation_path, write_evaluation
from service.models.registry import (
    PROMOTE,
    Change,
    Origin,
    Registry,
    check_state,
    make_live,
)
from service.models.visible import visible_gate
from tests.service.support.bundles import another
from tests.service.support.pages import Caller, photo, sha256


@pytest.fixture
def registry(database: Database, tmp_path) -> Registry:
    return Registry(database, tmp_path / "folder", most=3)


def promoted(registry: Registry, model: Model) -> None:
    with registry.database.writes() as session:
        row = session.get(Model, model.id)
        live = session.query(Model).filter_by(task=row.task, state="live").one_or_none()
        make_live(session, row, live, Change(PROMOTE, "ana"))


def test_a_bundle_is_copied_once_and_checked(registry, classify_export):
    origin = Origin("p" * 64, "d" * 64, {"macro_f1": 0.9})
    model = registry.add(classify_export.bundle, origin)
    assert (model.task, model.state) == ("classify", "candidate")
    assert (model.parent, model.dataset) == ("p" * 64, "d" * 64)
    assert model.metrics["macro_f1"] == 0.9
    directory = registry.directory(model)
    assert directory == registry.folder / "models" / model.digest
    assert load_bundle(directory).digest == load_bundle(classify_export.bundle).digest
    assert registry.add(classify_export.bundle).id == model.id
    assert [each.id for each in registry.models()] == [model.id]
    assert [each.name for each in (registry.folder / "models").iterdir()] == [model.digest]


def test_a_damaged_copy_is_found_and_replaced(registry, classify_export):
    model = registry.add(classify_export.bundle)
    graph = next(registry.directory(model).glob("*.onnx"))
    good = graph.read_bytes()
    graph.write_bytes(good[:-1])
    with pytest.raises(BundleError, match="not the file that was exported"):
        load_bundle(registry.directory(model))
    registry.add(classify_export.bundle)
    assert graph.read_bytes() == good


def test_a_folder_that_is_no_bundle_is_refused(registry, tmp_path):
    with pytest.raises(BundleError, match="is not a bundle"):
        registry.add(tmp_path)
    assert registry.models() == []


def test_the_first_bundle_becomes_live_and_a_promoted_one_wins_later(
    registry, classify_export, tmp_path
):
    first = registry.start_with(classify_export.bundle)
    assert registry.live("classify").id == first.id
    second = registry.add(another(classify_export.bundle, tmp_path, "2.0"))
    promoted(registry, second)
    assert registry.start_with(classify_export.bundle).id == second.id
    assert registry.start_with(classify_export.bundle, replace=True).id == first.id
    assert registry.start_with(classify_export.bundle).id == first.id
    told = [(row.kind, row.before_id, row.after_id, row.why) for row in registry.history()]
    assert told == [
        ("promote", second.id, first.id, "--replace"),
        ("promote", first.id, second.id, ""),
        ("promote", None, first.id, "the first bundle"),
    ]


def test_processes_that_start_at_once_agree_on_the_first_model(registry, classify_export, tmp_path):
    bundles = [classify_export.bundle, another(classify_export.bundle, tmp_path, "2.0")]

    def start(number: int) -> int:
        opened = Database(registry.database.url)
        try:
            return Registry(opened, registry.folder).start_with(bundles[number % 2]).id
        finally:
            opened.close()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(start, range(4)))) == 1
    assert [model.state for model in registry.models()].count("live") == 1
    assert len(registry.history()) == 1


def test_the_database_allows_one_live_model_for_each_task(registry, classify_export, tmp_path):
    registry.start_with(classify_export.bundle)
    other = registry.add(another(classify_export.bundle, tmp_path, "2.0"))
    with pytest.raises(IntegrityError), registry.database.writes() as session:
        session.execute(update(Model).where(Model.id == other.id).values(state="live"))
    assert registry.get(other.id).state == "candidate"


def test_old_bundles_go_but_none_that_is_needed(registry, classify_export, tmp_path):
    models = [registry.start_with(classify_export.bundle)]
    for version in ("2.0", "3.0", "4.0", "5.0"):
        models.append(registry.add(another(classify_export.bundle, tmp_path, version)))
        if version != "5.0":
            promoted(registry, models[-1])
    assert registry.trim() == 2  # the first two; the third is before the live one
    kept = [bool(registry.get(model.id).path) for model in models]
    assert kept == [False, False, True, True, True]
    with pytest.raises(BundleExpired, match="not kept any more"):
        registry.directory(registry.get(models[0].id))
    registry.add(classify_export.bundle)
    assert registry.directory(registry.get(models[0].id)).is_dir()


def trimmed(registry: Registry, bundle) -> tuple[Registry, Model]:
    """Return a registry that keeps nothing it need not, with a rejected model."""
    model = registry.add(bundle)
    registry.decide(model.id, {}, promote=False)
    return Registry(registry.database, registry.folder, most=0), model


def test_a_bundle_that_is_removed_while_it_is_added_is_copied_again(
    registry, classify_export, monkeypatch
):
    other, model = trimmed(registry, classify_export.bundle)
    copied, removed = registry._copied, []

    def copied_and_removed(bundle):
        found = copied(bundle)
        removed.append(other.trim())  # between the copy and its row
        return found

    monkeypatch.setattr(registry, "_copied", copied_and_removed)
    again = registry.add(classify_export.bundle)
    assert removed == [1, 0]
    assert again.id == model.id
    assert load_bundle(registry.directory(registry.get(model.id))).digest == model.digest


def test_a_bundle_that_is_added_while_it_is_removed_stays(registry, classify_export, monkeypatch):
    other, model = trimmed(registry, classify_export.bundle)
    remove = other._remove

    def added_before_it_is_removed(names):
        assert names == [model.digest]
        registry.add(classify_export.bundle)
        remove(names)

    monkeypatch.setattr(other, "_remove", added_before_it_is_removed)
    other.trim()
    assert load_bundle(registry.directory(registry.get(model.id))).digest == model.digest
    monkeypatch.undo()
    assert other.trim() == 1
    assert list((registry.folder / "models").iterdir()) == []


def test_a_bundle_that_lacks_a_class_or_a_label_is_named(classify_export):
    spec = load_bundle(classify_export.bundle).spec
    check_compatible(spec, spec)

    def without(change):
        graphs = {
            name: graph.model_copy(update={"heads": tuple(change(graph.heads))})
            for name, graph in spec.graphs.items()
        }
        return spec.model_copy(update={"graphs": graphs})

    fewer = without(
        lambda heads: [
            head.model_copy(update={"classes": head.classes[:-1]})
            if head.label == "colour" else head for head in heads
        ]
    )  # fmt: skip
    with pytest.raises(Conflict, match="lacks classes of colour of the live model: red"):
        check_compatible(fewer, spec)
    check_compatible(spec, fewer)  # one more is welcome
    with pytest.raises(Conflict, match="lacks labels of the live model: colour"):
        check_compatible(without(lambda heads: [h for h in heads if h.label != "colour"]), spec)
    no_rules = {n: g.model_copy(update={"rules": None}) for n, g in spec.graphs.items()}
    with pytest.raises(Conflict, match="lacks review kinds"):
        check_compatible(spec.model_copy(update={"graphs": no_rules}), spec)
    with pytest.raises(Conflict, match="another task"):
        check_compatible(spec.model_copy(update={"task": "recommend"}), spec)


def test_what_the_gate_refused_is_promoted_by_force_alone(registry, classify_export, tmp_path):
    model = registry.add(classify_export.bundle)
    gate = {"promote": False, "reasons": ["the advertiser bob loses 5.0 points"], "groups": []}
    assert registry.decide(model.id, gate, promote=False).state == "rejected"
    with pytest.raises(Conflict, match="bob loses"):
        check_state(registry.get(model.id))
    check_state(registry.get(model.id), force=True)
    assert registry.decide(model.id, gate, promote=True).state == "candidate"
    promoted(registry, model)
    with pytest.raises(Conflict, match="only candidates are judged"):
        registry.decide(model.id, gate, promote=False)
    with pytest.raises(NotFound):
        registry.get(99)


def test_an_advertiser_sees_no_other_advertisers_figures():
    gate = {
        "promote": False,
        "reasons": ["the advertiser bob loses 5.0 points"],
        "accuracy": 0.9,
        "groups": [{"kind": "advertiser", "name": n} for n in ("ada", "bob")],
        "settings": {},
    }
    assert visible_gate(gate, None) == gate
    assert visible_gate(gate, "ada") == {
        "promote": False,
        "accuracy": 0.9,
        "groups": [{"kind": "advertiser", "name": "ada"}],
    }


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_models_are_listed_and_a_page_shows_their_confusions(
    caller: Caller, database, classify_export, tmp_path
):
    registry = Registry(database, tmp_path)
    empty = caller.http.get("/models")
    assert empty.status_code == 200
    assert "No model is live" in empty.text
    model = registry.start_with(classify_export.bundle)
    image = photo(1)
    caller.classify(image)
    said = [
        EvaluatedImage(sha256(image), "ada", "colour", "red", "blue", 0.8),
        *(
            EvaluatedImage(f"{n:064x}", "", "colour", c, c, 0.9)
            for n, c in enumerate(("red", "blue", "green"))
        ),
    ]
    write_evaluation(evaluation_path(tmp_path, model.digest), said)
    registry.add(another(classify_export.bundle, tmp_path, "2.0"))
    rows = caller.http.get("/v1/models").json()["models"]
    assert [(row["state"], row["answering"]) for row in rows] == [
        ("candidate", False), ("live", True),
    ]  # fmt: skip
    page = caller.http.get("/models", params={"truth": "red", "predicted": "blue"}).text
    assert "1 of red taken for blue" in page
    assert "75.0 %" in page
    assert f"/models/{model.id}/images/{sha256(image)}" in page
    picture = caller.http.get(f"/models/{model.id}/images/{sha256(image)}")
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.content[:2] == b"\xff\xd8"
    assert caller.http.get(f"/models/{model.id}/images/{'f' * 64}").status_code == 404
    gone = caller.http.get(f"/models/{model.id}/images/{1:064x}")
    assert gone.status_code == 410
    assert "Nothing is to be done" in gone.text
    metrics = caller.http.get("/metrics").text
    assert f'augrank_model_answering{{digest="{model.digest}",task="classify"}} 1.0' in metrics
    assert 'augrank_model_alarm{task="classify"} 0.0' in metrics


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_bundle_that_is_not_kept_any_more_is_gone_and_says_so(
    caller: Caller, database, classify_export, tmp_path
):
    registry = Registry(database, tmp_path)
    registry.start_with(classify_export.bundle)
    second = registry.add(another(classify_export.bundle, tmp_path, "2.0"))
    shutil.rmtree(registry.directory(second))
    gone = caller.http.post(f"/v1/models/{second.id}/promote", json={"who": "ana"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "bundle_expired")
    assert "service models add" in gone.json()["error"]["remedy"]
    assert registry.history()[0].who != "ana"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_commands_add_list_promote_and_roll_back(database, classify_export, tmp_path):
    registry = Registry(database, tmp_path)
    first = registry.start_with(classify_export.bundle)
    where = ["--database", database.url, "--folder", str(tmp_path)]

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["models", *words, *where], terminal_width=200)
        assert result.exit_code == code, result.output
        return result.output

    added = run("add", str(another(classify_export.bundle, tmp_path, "2.0")))
    assert " candidate classify" in added
    for words in (["promote", "2", "--who", "ana"], ["rollback", "--who", "eva"]):
        said = run(*words, "--expected", "f" * 64, code=2)
        assert "another model is live than was expected" in said
    assert "promote: model 1 -> model 2, ana: better" in run(
        "promote", "2", "--who", "ana", "--why", "better"
    )
    assert registry.live("classify").id == 2
    assert "is live already" in run("promote", "2", "--who", "ana", code=2)
    assert "no alarm" in run("watch")
    with database.writes() as session:
        session.get(Model, 2).alarm_at = datetime.now(UTC)
    assert "alarm: people correct it more often" in run("watch", code=1)
    assert "rollback: model 2 -> model 1, eva" in run("rollback", "--who", "eva")
    assert registry.live("classify").id == first.id
    assert "nothing to roll back to" in run("rollback", "--who", "eva", code=2)
    listed = run("list")
    assert "2 retired" in listed
    assert "1 live" in listed


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_commands_do_not_change_the_model_of_a_server(
    database, classify_export, tmp_path, monkeypatch
):
    registry = Registry(database, tmp_path)
    first = registry.start_with(classify_export.bundle)
    second = registry.add(another(classify_export.bundle, tmp_path, "2.0"))
    promoted(registry, second)
    monkeypatch.setenv("AUGRANK_SERVICE_BACKEND", "sagemaker:shapes")
    where = ["--database", database.url, "--folder", str(tmp_path)]
    for words in (["promote", str(first.id), "--who", "ana"], ["rollback", "--who", "ana"]):
        result = CliRunner().invoke(app, ["models", *words, *where], terminal_width=200)
        assert result.exit_code == 2
        assert "sagemaker:shapes" in result.output
        assert "by the page /models or over HTTP" in " ".join(result.output.split())
    assert registry.live("classify").id == second.id
    listed = CliRunner().invoke(app, ["models", "list", *where])
    assert (listed.exit_code, "2 live" in listed.output) == (0, True)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_commands_know_of_the_server_that_a_service_was_started_with(
    database, classify_export, tmp_path, monkeypatch
):
    registry = Registry(database, tmp_path)
    first = registry.start_with(classify_export.bundle)
    second = registry.add(another(classify_export.bundle, tmp_path, "2.0"))
    monkeypatch.setattr("service.web.observability.log_as_json", lambda: None)
    monkeypatch.setattr("service.app.create_app", lambda *given: None)
    monkeypatch.setattr("uvicorn.run", lambda *given, **more: None)
    where = ["--database", database.url, "--folder", str(tmp_path)]

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*words, *where], terminal_width=200)
        return result.exit_code, " ".join(result.output.split())

    with monkeypatch.context() as patch:
        patch.setattr("service.backends.start.start_backends", lambda *given: Backends())
        server = ["--backend", "http://:secret@gpu:8080"]
        assert run(str(classify_export.bundle), "--port", "0", *server) == (0, "")
    for words in (["promote", str(second.id)], ["rollback"]):
        code, said = run("models", *words, "--who", "ana")
        assert code == 2
        assert "gpu:8080, with which the service was started" in said
        assert "secret" not in said
        assert "by the page /models or over HTTP" in said
    assert registry.live("classify").id == first.id
    assert run(str(classify_export.bundle), "--port", "0") == (0, "")  # without the server
    assert run("models", "promote", str(second.id), "--who", "ana")[0] == 0
    assert registry.live("classify").id == second.id
