"""A Ground Truth manifest of fixes says what people said, and training reads the same of it."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete
from typer.testing import CliRunner

from augrank.errors import DataError
from augrank.manifest.read import read_table
from augrank.models.tags import TagRule
from augrank.tasks.classify.response import Answer, ClassScore, ImageAnswer, LabelAnswer, Timings
from service.app import create_app
from service.backends.classify import ClassifyOptions
from service.commands.app import app as commands
from service.database.entries import settle
from service.database.session import Database
from service.database.tables import StoredAnswer
from service.fixes import manifest as manifests
from service.models.registry import Registry
from service.settings import ServiceSettings
from tests.service.support.pages import Caller, photo, sha256
from training.data.manifest.label_manifest import (
    LabelColumns,
    LabelManifest,
    check_label_manifest,
)

IMAGES = [photo(n) for n in range(120, 124)]
FIRST, SECOND = IMAGES[:2]
CLOTHES = ("boots", "dress", "hat")
LABELS = {
    "colour": ("blue", "green", "red"),
    "type": ("dealer", "stock"),
    **{f"wears: {each}": ("no", "yes") for each in CLOTHES},
}
TOLD = {
    "colour": ("red", 0.9),
    "type": ("stock", 0.8),
    "wears: boots": ("no", 0.7),
    "wears: dress": ("no", 0.6),
    "wears: hat": ("yes", 0.75),
}


class Wardrobe:
    """A classifier of two labels and a multi-label attribute; says the same of every picture."""

    name = "wardrobe"

    def __init__(self, **told: tuple[str, float]) -> None:
        self.labels, self.tags, self.model = dict(LABELS), {}, "a" * 64
        self.told = TOLD | told

    def check(self, options: ClassifyOptions) -> None:
        """All options fit."""

    def decode(self, files, limits) -> None:
        """It takes files."""

    def classify(self, images: Sequence[bytes], options: ClassifyOptions) -> Answer:
        labels = {
            label: LabelAnswer(
                value=value, probability=sure, set=(value,),
                top=(ClassScore(name=value, probability=sure),),
            )
            for label, (value, sure) in self.told.items()
        }  # fmt: skip
        return Answer(
            model=self.name, bundle_version="1", engine="none", coverage=options.coverage,
            images=tuple(ImageAnswer(labels=labels) for _ in images), timings_ms=Timings(total=0.0),
        )  # fmt: skip


class Desk(Caller):
    """A service with that classifier, and people who judge what it says."""

    def __init__(self, http: TestClient, folder: Path) -> None:
        super().__init__(http)
        self.folder = folder

    @property
    def model(self) -> Wardrobe:
        return self.http.app.state.parts.classify.backend

    def confirm(self, image: bytes, label: str, value: str | None) -> int:
        images = [{"sha256": sha256(image), "value": value}]
        body = {"advertiser": "ada", "label": label, "images": images, "who": "ben"}
        (found,) = self.http.post("/v1/confirmations", json=body).json()["images"]
        assert found["error"] is None, found
        return found["id"]

    def export(self, **query: str) -> str:
        prefix = f"{self.folder / 'images/kept'}/"
        query = {"format": "ground_truth", "source_prefix": prefix, **query}
        answer = self.http.get("/v1/fixes/export", params=query)
        assert answer.status_code == 200, answer.text
        return answer.text

    def lines(self, **query: str) -> dict[str, dict]:
        """Return the lines of a manifest by the image's digest."""
        records = map(json.loads, self.export(**query).splitlines())
        return {record["source-ref"].rpartition("/")[2]: record for record in records}

    def trained(self, **query: str) -> dict[str, dict[str, str]]:
        """Return the labels of each image as training reads them."""
        return labels_of(read(self.export(**query), self.folder))


def read(text: str, folder: Path) -> LabelManifest:
    """Read a manifest as ``training fit`` does, from the image files that were kept."""
    file = folder / "output.manifest"
    file.write_text(text, encoding="utf-8")
    table = read_table(file, {})
    (note,) = table.notes
    images = Path(note.removeprefix("its paths are relative to "))
    return check_label_manifest(table, images, LabelColumns(), skip_bad_rows=False)


def labels_of(manifest: LabelManifest) -> dict[str, dict[str, str]]:
    return {
        Path(path).name: {
            label.name: label.classes[number]
            for label in manifest.labels
            if (number := label.value[file]) >= 0
        }
        for file, path in enumerate(manifest.files)
    }


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Iterator[Desk]:
    app = create_app(ServiceSettings(folder=tmp_path), database, Wardrobe())
    with TestClient(app) as http:
        opened = Desk(http, tmp_path)
        opened.classify(*IMAGES)
        yield opened


def test_a_confirmed_class_is_a_persons_word_and_the_models_own_is_not_there(desk: Desk):
    fix = desk.fix(FIRST, "type", "dealer").json()
    assert desk.trained() == {sha256(FIRST): {"type": "dealer"}}
    review = desk.confirm(FIRST, "colour", "red")
    record = desk.lines()[sha256(FIRST)]
    assert set(record) == {"source-ref", "type", "type-metadata", "colour", "colour-metadata"}
    assert record["type-metadata"] == {
        "class-name": "dealer", "confidence": 1.0, "human-annotated": "yes",
        "creation-date": fix["at"][:19] + "+00:00", "job-name": "augrank-fixes",
        "type": "groundtruth/image-classification",
    }  # fmt: skip
    assert (record["colour"], record["colour-metadata"]["human-annotated"]) == (2, "yes")
    assert record["colour-metadata"]["creation-date"] >= record["type-metadata"]["creation-date"]
    assert desk.trained() == {sha256(FIRST): {"type": "dealer", "colour": "red"}}
    desk.http.post(
        f"/v1/confirmations/{review}/undo", json={"advertiser": "ada", "who": "ben"}
    ).raise_for_status()
    assert desk.trained() == {sha256(FIRST): {"type": "dealer"}}


def test_a_multi_label_attribute_keeps_the_classes_that_nobody_changed(desk: Desk):
    fix = desk.fix(FIRST, "wears: dress", "yes").json()
    record = desk.lines()[sha256(FIRST)]
    assert record["wears"] == [1, 2]
    assert record["wears-metadata"] == {
        "class-map": {"1": "dress", "2": "hat"}, "confidence-map": {"1": 1.0, "2": 0.75},
        "human-annotated": "no",  # the hat is the model's word
        "creation-date": fix["at"][:19] + "+00:00", "job-name": "augrank-fixes",
        "type": "groundtruth/image-classification-multilabel",
    }  # fmt: skip
    worn = {"wears: dress": "yes", "wears: hat": "yes"}
    assert desk.trained() == {sha256(FIRST): worn}  # no image has boots: nothing to tell apart
    desk.fix(SECOND, "wears: boots", "yes")
    assert desk.trained() == {
        sha256(FIRST): worn | {"wears: boots": "no"},
        sha256(SECOND): {"wears: boots": "yes", "wears: dress": "no", "wears: hat": "yes"},
    }


def test_a_multi_label_attribute_is_a_persons_once_people_have_said_each_class(desk: Desk):
    desk.fix(FIRST, "wears: dress", "yes")
    desk.confirm(FIRST, "wears: hat", "yes")
    assert desk.lines()[sha256(FIRST)]["wears-metadata"]["human-annotated"] == "no"
    desk.confirm(FIRST, "wears: boots", "no")
    record = desk.lines()[sha256(FIRST)]
    assert record["wears-metadata"]["human-annotated"] == "yes"
    assert record["wears-metadata"]["confidence-map"] == {"1": 1.0, "2": 1.0}
    frame = read(desk.export(), desk.folder).frame
    assert frame.loc[0, ["wears", "wears_human_annotated"]].tolist() == ["dress|hat", "yes"]


def test_classes_have_the_same_numbers_in_every_line(desk: Desk):
    desk.fix(FIRST, "wears: dress", "yes")
    desk.fix(SECOND, "wears: boots", "yes")
    desk.fix(IMAGES[2], "wears: hat", "no")
    lines = desk.lines()
    maps = [lines[sha256(each)]["wears-metadata"]["class-map"] for each in IMAGES[:3]]
    assert maps == [{"1": "dress", "2": "hat"}, {"0": "boots", "2": "hat"}, {}]
    assert desk.trained()[sha256(IMAGES[2])] == {f"wears: {each}": "no" for each in CLOTHES}


def test_what_was_undone_is_no_persons_word(desk: Desk):
    desk.fix(FIRST, "type", "dealer")
    undone = desk.fix(FIRST, "colour", "green").json()
    desk.confirm(FIRST, "colour", "green")  # of the fix
    worn = desk.fix(FIRST, "wears: dress", "yes").json()
    alone = desk.fix(SECOND, "type", "dealer").json()
    for fix in (undone, worn, alone):
        assert desk.undo(fix["id"]).status_code == 201
    assert desk.trained() == {sha256(FIRST): {"type": "dealer"}}


def test_a_confirmation_holds_until_the_model_says_something_else(desk: Desk):
    desk.fix(FIRST, "type", "dealer")
    desk.confirm(FIRST, "colour", "red")
    first = desk.model.model
    desk.model.model, desk.model.told = "b" * 64, TOLD | {"colour": ("blue", 0.5)}
    desk.classify(FIRST)
    assert desk.trained() == {sha256(FIRST): {"type": "dealer"}}
    desk.confirm(FIRST, "colour", "blue")
    assert desk.trained()[sha256(FIRST)]["colour"] == "blue"
    desk.model.model = first  # after a rollback
    assert desk.trained()[sha256(FIRST)]["colour"] == "red"


def test_that_a_default_is_right_says_nothing_of_the_class(desk: Desk):
    desk.model.tags = {"colour": TagRule(default=None, least=1.0), "type": TagRule(default="stock")}
    desk.fix(FIRST, "wears: hat", "no")
    desk.confirm(FIRST, "colour", None)
    assert "colour" not in desk.lines()[sha256(FIRST)]


def test_an_attribute_with_an_open_class_is_left_out_and_counted(
    desk: Desk, database: Database, caplog
):
    desk.fix(FIRST, "wears: dress", "yes")
    desk.fix(FIRST, "type", "dealer")
    for each in CLOTHES:
        desk.fix(SECOND, f"wears: {each}", "yes")
    desk.fix(IMAGES[2], "wears: dress", "yes")
    with database.writes() as session:  # as ``trim_answers`` does
        session.execute(delete(StoredAnswer))
        settle(session, range(1, 9))
    with caplog.at_level(logging.WARNING, "augrank.service"):
        found = desk.trained()
    assert found == {
        sha256(FIRST): {"type": "dealer"},
        sha256(SECOND): {f"wears: {each}": "yes" for each in CLOTHES},
    }
    assert desk.lines()[sha256(SECOND)]["wears-metadata"]["human-annotated"] == "yes"
    assert "'wears' is left out of the manifest for 2 pictures" in caplog.text
    desk.classify(IMAGES[2])
    assert desk.trained()[sha256(IMAGES[2])]["wears: hat"] == "yes"


def test_a_class_that_the_model_has_no_more_is_not_there_and_no_person_says_so(desk: Desk):
    desk.fix(FIRST, "wears: boots", "yes")
    for each, value in (("boots", "no"), ("dress", "no"), ("hat", "yes")):
        desk.fix(SECOND, f"wears: {each}", value)
    assert desk.lines()[sha256(SECOND)]["wears-metadata"]["human-annotated"] == "yes"
    del desk.model.labels["wears: boots"]
    desk.model.labels = {"wears: sash": ("no", "yes")} | desk.model.labels
    desk.model.model, desk.model.told = "b" * 64, TOLD | {"wears: sash": ("yes", 0.9)}
    del desk.model.told["wears: boots"]
    desk.classify(SECOND)
    (line,) = desk.lines().values()  # of the first picture nobody knows whether it has a sash
    assert (line["wears"], line["wears-metadata"]["human-annotated"]) == ([0, 2], "no")
    assert set(line["wears-metadata"]["class-map"].values()) == {"sash", "hat"}


def test_advertisers_who_disagree_about_a_file_are_told_apart_by_training(desk: Desk):
    desk.classify(FIRST, advertiser="bob")
    desk.fix(FIRST, "type", "dealer")
    desk.fix(FIRST, "colour", "green")
    desk.fix(FIRST, "colour", "blue", advertiser="bob")
    assert len(desk.export().splitlines()) == 2
    with pytest.raises(DataError, match="colour is 'green', but line 2 gives the same image"):
        read(desk.export(), desk.folder)
    assert desk.trained(advertiser="ada") == {sha256(FIRST): {"type": "dealer", "colour": "green"}}
    assert desk.trained(advertiser="bob") == {sha256(FIRST): {"colour": "blue"}}


def test_pictures_are_read_page_by_page(desk: Desk, monkeypatch):
    for image in IMAGES:
        desk.fix(image, "type", "dealer")
        desk.fix(image, "wears: dress", "yes")
    whole = desk.export()
    assert len(whole.splitlines()) == 4
    for size in (1, 3, 4):
        monkeypatch.setattr(manifests, "CHUNK", size)
        assert desk.export() == whole
        assert desk.export(advertiser="ada") == whole


def test_without_the_models_classes_those_of_its_answers_count(desk: Desk, database: Database):
    desk.fix(FIRST, "wears: dress", "yes")
    desk.fix(FIRST, "colour", "green")
    desk.confirm(FIRST, "type", "stock")
    bare = manifests.Manifest(None, f"{desk.folder / 'images/kept'}/", {}, None)
    text = "".join(manifests.manifest_lines(database, bare))
    assert labels_of(read(text, desk.folder)) == desk.trained()
    assert json.loads(text)["wears-metadata"]["human-annotated"] == "no"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_command_takes_the_live_models_classes(
    caller: Caller, database: Database, tmp_path: Path, classify_export, new_manifest: Callable
):
    Registry(database, tmp_path).start_with(classify_export.bundle)
    caller.classify(*IMAGES)
    caller.fix(FIRST, "colour", "red")
    (shape,) = {each["labels"]["shape"]["value"] for each in caller.classify(FIRST)}
    images = [{"sha256": sha256(FIRST), "value": shape}]
    body = {"advertiser": "ada", "label": "shape", "images": images, "who": "ben"}
    caller.http.post("/v1/confirmations", json=body).raise_for_status()
    prefix = f"{(tmp_path / 'images/kept').absolute()}/"
    query = {"format": "ground_truth", "source_prefix": prefix}
    expected = caller.http.get("/v1/fixes/export", params=query).text
    assert new_manifest() == new_manifest("--bundle", str(classify_export.bundle)) == expected
    record = json.loads(expected)
    assert record["colour-metadata"]["class-name"] == "red"
    assert record["shape-metadata"]["class-name"] == shape
    assert record["colour"] == caller.http.app.state.parts.classify.backend.labels["colour"].index(
        "red"
    )


@pytest.fixture
def new_manifest(tmp_path: Path) -> Callable[..., str]:
    """Writes a manifest by the command; returns its text."""

    def written(*options: str) -> str:
        out = tmp_path / "command.manifest"
        arguments = ["fixes", "export", "--format", "ground_truth", "--folder", str(tmp_path)]
        done = CliRunner().invoke(commands, [*arguments, "--out", str(out), *options])
        assert done.exit_code == 0, done.output
        return out.read_text(encoding="utf-8")

    return written
