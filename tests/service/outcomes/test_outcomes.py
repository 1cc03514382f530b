"""What came of an assignment is kept once, and training reads it."""

import csv
import io
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from augrank.images.augmentations import Augmentation, AugmentationSet, Step, augmentation_set
from service import client
from service.api import assignments as assignment_routes
from service.api import outcomes as outcome_routes
from service.commands.app import app as commands
from service.database.session import Database
from service.database.tables import Outcome
from service.outcomes import reports
from service.settings import ServiceSettings
from tests.service.outcomes.support import CONTEXT, NAMES, Campaign, count
from tests.service.support.pages import photo, sha256
from tests.service.support.recommender_stub import DrawnRecommender
from training.cli.app import app as training


def test_a_report_is_kept_once(campaign: Campaign, database: Database):
    image = photo(6)
    campaign.show(image)
    key = campaign.assign(image)["id"]
    report = {"assignment": key, "successes": 3, "trials": 10, "report": "monday"}
    added = campaign.report(report)
    assert added.status_code == 201
    assert (added.json()["added"], added.json()["known"]) == (1, 0)
    row = added.json()["results"][0]["outcome"]
    assert (row["target"], row["who"], row["replaces"]) == ("open_rate", "mailer", None)
    known = campaign.report(report, who="another")
    assert known.status_code == 200
    assert known.json()["results"] == [{"state": "known", "outcome": row, "error": None}]
    other = campaign.report(report | {"successes": 4})
    assert other.status_code == 409
    error = other.json()["error"]
    assert (error["expected"], error["got"]) == ("3 of 10", "4 of 10")
    assert "replaces" in error["remedy"]
    assert count(database, Outcome) == 1


def test_wrong_numbers_are_replaced_and_stay_in_the_history(campaign: Campaign):
    image = photo(7)
    campaign.show(image)
    key = campaign.assign(image)["id"]
    campaign.report(
        {"assignment": key, "successes": 3, "trials": 10, "report": "a"},
        {"assignment": key, "successes": 5, "trials": 20, "report": "b"},
    )
    right = {"assignment": key, "successes": 2, "trials": 10, "report": "c", "replaces": "a"}
    assert campaign.report(right).status_code == 201
    assert campaign.report(right).status_code == 200
    (row,) = campaign.manifest()
    assert (row["open_rate_successes"], row["open_rate_trials"]) == ("7", "30")
    again = campaign.report(right | {"report": "d"})
    assert again.status_code == 409
    assert "replaces: c" in again.json()["error"]["expected"]
    missing = campaign.report(right | {"report": "d", "replaces": "z"})
    assert missing.status_code == 409
    seen = campaign.look(key).json()["outcomes"]
    assert [(each["report"], each["successes"], each["replaces"]) for each in seen] == [
        ("a", 3, None),
        ("b", 5, None),
        ("c", 2, "a"),
    ]


def test_of_several_reports_each_has_its_result(campaign: Campaign):
    image = photo(8)
    campaign.show(image)
    key, none = campaign.assign(image)["id"], "0" * 32
    answer = campaign.report(
        {"assignment": key, "successes": 1, "trials": 1},
        {"assignment": key, "successes": 1, "trials": 1},
        {"assignment": key, "successes": 0, "trials": 1},
        {"assignment": none, "successes": 1, "trials": 1},
        {"assignment": key, "successes": 2, "trials": 1, "report": "2"},
        {"assignment": key, "successes": 1, "trials": 4, "target": "unsubscribe_rate"},
    )
    assert answer.status_code == 201
    told = answer.json()
    states = [each["state"] for each in told["results"]]
    assert states == ["added", "known", "refused", "refused", "refused", "added"]
    assert [told[name] for name in ("added", "known", "refused")] == [2, 1, 3]
    codes = [each["error"]["status"] for each in told["results"] if each["error"]]
    assert codes == [409, 404, 400]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"successes": -1}, "successes"),
        ({"trials": 10**9 + 1}, "trials"),
        ({"trials": 1.5}, "trials"),
        ({"trials": True}, "trials"),
        ({"target": "open rate"}, "target"),
        ({"report": ""}, "report"),
        ({"report": "a\x00b"}, "report"),
        ({"assignment": "A" * 32}, "assignment"),
        ({"clicks": 1}, "clicks"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_reports_that_do_not_fit_are_messages(campaign: Campaign, change, words):
    report = {"assignment": "0" * 32, "successes": 1, "trials": 2} | change
    answer = campaign.report(report)
    assert answer.status_code == 422
    assert words in answer.json()["error"]["message"]


def test_the_same_reports_from_many_at_once_are_kept_once(campaign: Campaign, database: Database):
    image = photo(10)
    campaign.show(image)
    keys = [campaign.assign(image)["id"] for _ in range(6)]

    def send(number: int) -> list[str]:
        turned = keys[number % 6 :] + keys[: number % 6]  # in another order: no deadlock
        given = [{"assignment": key, "successes": 1, "trials": 2} for key in turned]
        return [each["state"] for each in campaign.report(*given).json()["results"]]

    with ThreadPoolExecutor(8) as pool:
        states = Counter(state for sent in pool.map(send, range(8)) for state in sent)
    assert states == {"added": 6, "known": 42}
    assert count(database, Outcome) == 6


def test_of_two_with_other_numbers_at_once_one_is_refused(campaign: Campaign):
    image = photo(11)
    campaign.show(image)
    key = campaign.assign(image)["id"]

    def send(number: int) -> int:
        given = {"assignment": key, "successes": number, "trials": 9}
        return campaign.report(given).status_code

    with ThreadPoolExecutor(8) as pool:
        codes = Counter(pool.map(send, range(8)))
    assert codes == {201: 1, 409: 7}


def test_a_file_with_bad_rows_keeps_the_good_ones(campaign: Campaign):
    image = photo(12)
    campaign.show(image)
    first, second = (campaign.assign(image)["id"] for _ in range(2))
    text = (
        "\ufeffassignment,target,successes,trials,report\r\n"
        f"{first},open_rate,3,10,monday\r\n"
        f"{second},,4,10,\r\n"
        f"{first},unsubscribe_rate,1,10,monday\r\n"
        f"{first},open_rate,4,10,monday\r\n"
        f"{first},open_rate,11,10,tuesday\r\n"
        f"{first},open_rate,many,10,tuesday\r\n"
        f"{'0' * 32},open_rate,1,2,x\r\n"
        "\r\n"
        f"{first},open_rate,1\r\n"
    )
    told = campaign.send_csv(text).json()
    assert [told[name] for name in ("added", "known", "refused")] == [3, 0, 5]
    assert [each["line"] for each in told["errors"]] == [5, 6, 7, 8, 10]
    assert [each["error"]["status"] for each in told["errors"]] == [409, 400, 400, 404, 400]
    assert "integer" in told["errors"][2]["error"]["message"]
    # The same file again, as a part of a form.
    query = {"advertiser": "ada", "who": "mailer"}
    form = campaign.http.post(
        "/v1/outcomes/csv", params=query, files={"file": ("a.csv", text.encode())}
    )
    assert [form.json()[name] for name in ("added", "known", "refused")] == [0, 3, 5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "columns do not fit"),
        ("assignment,successes\n", "columns do not fit"),
        ("assignment,successes,trials,clicks\n", "columns do not fit"),
        ("assignment,successes,trials,trials\n", "columns do not fit"),
        ("caf\u00e9".encode("latin-1"), "not UTF-8"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_files_that_cannot_be_read_are_messages(campaign: Campaign, text, words):
    answer = campaign.send_csv(text)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    no_file = campaign.http.post("/v1/outcomes/csv", params={"advertiser": "ada", "who": "m"})
    assert no_file.status_code == 400


def test_many_rows_are_kept_in_several_transactions(
    campaign: Campaign, database: Database, monkeypatch
):
    monkeypatch.setattr("service.outcomes.reports_file.ROWS_AT_ONCE", 7)
    image = photo(13)
    campaign.show(image)
    keys = [campaign.assign(image)["id"] for _ in range(5)]
    rows = [f"{key},{n},{n + 1},r{n}" for key in keys for n in range(10)]
    text = "\n".join(["assignment,successes,trials,report", *rows])
    assert campaign.send_csv(text).json()["added"] == 50
    assert count(database, Outcome) == 50
    for row in campaign.manifest():
        assert (row["open_rate_successes"], row["open_rate_trials"]) == ("45", "55")


def test_outcomes_come_out_as_rows_of_a_manifest(campaign: Campaign):
    image = photo(14)
    campaign.show(image)
    first, second, third = (campaign.assign(image, policy="uniform") for _ in range(3))
    campaign.report(
        {"assignment": first["id"], "successes": 3, "trials": 10},
        {"assignment": first["id"], "successes": 1, "trials": 10, "target": "unsubscribe_rate"},
        {"assignment": second["id"], "successes": 0, "trials": 0},
    )
    rows = campaign.manifest()
    assert len(rows) == 2  # of the third nothing is known
    assert rows[0] == {
        "relative_im_path": f"images/{sha256(image)}.png",
        **CONTEXT,
        "augmentation": first["choice"],
        "original": "",
        "open_rate_successes": "3",
        "open_rate_trials": "10",
        "unsubscribe_rate_successes": "1",
        "unsubscribe_rate_trials": "10",
        "propensity": str(first["propensity"]),
    }
    assert (rows[1]["augmentation"], rows[1]["open_rate_trials"]) == (second["choice"], "")
    assert third["id"] not in {first["id"], second["id"]}


def test_two_augmentations_of_one_name_are_told_apart(
    campaign: Campaign, database: Database, settings: ServiceSettings, tmp_path: Path
):
    image = photo(15)
    campaign.show(image)
    old = [campaign.assign(image, policy="uniform") for _ in range(30)]
    dark = Augmentation(name="darker", steps=(Step(op="brightness", params={"factor": 0.8}),))
    newer = AugmentationSet(name="n", augmentations=(Augmentation(name="original"), dark))
    campaign.http.app.state.parts.recommend.live.replace(DrawnRecommender("e" * 64, newer))
    new = [campaign.assign(image, policy="uniform") for _ in range(30)]
    given = [{"assignment": each["id"], "successes": 1, "trials": 1} for each in (*old, *new)]
    assert campaign.report(*given).json()["added"] == 60
    names = [row["augmentation"] for row in campaign.manifest()]
    renamed = {name for name in names[:30] if name.startswith("darker")}
    assert {len(name) for name in renamed} == {len("darker.1234")}
    assert set(names[30:]) == {"original", "darker"}

    assert run("export", "--out", tmp_path / "out", *where(database, settings)).exit_code == 0
    written = augmentation_set(str(tmp_path / "out" / "augmentations.yaml"))
    assert set(names) <= set(written.names)
    assert written["darker"].steps == dark.steps
    assert written[renamed.pop()].steps == augmentation_set("seed")["darker"].steps


def where(database: Database, settings: ServiceSettings) -> list[str]:
    return ["--database", database.url, "--folder", str(settings.folder)]


def run(*words: Any):
    return CliRunner().invoke(commands, ["outcomes", *map(str, words)])


def test_a_file_is_imported_and_a_folder_exported(
    campaign: Campaign, database: Database, settings: ServiceSettings, tmp_path: Path
):
    images = [photo(16), photo(17, ".jpg")]
    keys = []
    for image in images:
        campaign.show(image)
        keys.append(campaign.assign(image)["id"])
    file = tmp_path / "sent.csv"
    rows = [f"{key},3,10" for key in (*keys, "0" * 32)]
    file.write_text("\n".join(["assignment,successes,trials", *rows]))
    place = where(database, settings)
    done = run("import", file, "--advertiser", "ada", "--who", "mailer", *place)
    assert (done.exit_code, done.stdout) == (1, "2 added, 0 known, 1 refused\n")
    assert "line 4: there is no such assignment" in done.stderr
    out = tmp_path / "out"
    done = run("export", "--out", out, "--advertiser", "ada", *place)
    assert done.exit_code == 0, done.output
    assert "2 rows about 2 images" in done.stdout
    with (out / "manifest.csv").open() as stream:
        written = list(csv.DictReader(stream))
    assert written == campaign.manifest()
    files = [(out / row["relative_im_path"]).read_bytes() for row in written]
    assert files == images
    assert run("export", "--out", out, *place).exit_code == 0  # again
    assert "0 rows" in run("export", "--out", out, "--advertiser", "bob", *place).stdout
    missing = run("import", tmp_path / "none.csv", "--advertiser", "a", "--who", "b", *place)
    assert missing.exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_training_reads_what_is_exported(
    campaign: Campaign, database: Database, settings: ServiceSettings, tmp_path: Path
):
    rng, given = np.random.default_rng(3), []
    for number in range(12):
        image = picture(number)
        for context in (CONTEXT, CONTEXT | {"campaign_type": "Promotional"}):
            campaign.show(image, context)
            for _ in range(6):
                row = campaign.assign(image, policy="uniform", context=json.dumps(context))
                rate = 0.6 if row["choice"] in ("brighter", "rotate") else 0.2
                opened = int(rng.binomial(20, rate))
                given.append({"assignment": row["id"], "successes": opened, "trials": 20})
    assert campaign.report(*given).json()["added"] == len(given) == 144
    out = tmp_path / "out"
    assert run("export", "--out", out, *where(database, settings)).exit_code == 0
    words = ["fit", "--manifest", out / "manifest.csv", "--out", tmp_path / "run"]
    words += ["--augmentations", out / "augmentations.yaml", "--image-size", 32, "--epochs", 1]
    words += ["--threads", 1, "--device", "cpu", "--test-share", 0.3, "--validation-share", 0.3]
    words += ["--graphs", "fp32", "--no-baselines"]
    done = CliRunner().invoke(training, [*map(str, words)])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["rows"]["manifest"] == 144
    assert sum(report["rows"]["originals"].values()) == 12
    assert list(report["heads"]) == ["open_rate"]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [column["name"] for column in record["context"]] == list(CONTEXT)
    assert {each["name"] for each in record["augmentations"]["augmentations"]} == set(NAMES)


def picture(number: int) -> bytes:
    """Return an image file that looks like no other."""
    rng = np.random.default_rng(number)
    blocks = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(blocks).resize((96, 96), Image.Resampling.NEAREST).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("typed", "model"),
    [
        (client.AssignedCandidate, assignment_routes.AssignedCandidate),
        (client.Assignment, assignment_routes.AssignmentRow),
        (client.Outcome, outcome_routes.OutcomeRow),
        (client.ReportResult, outcome_routes.ReportResult),
        (client.Report, reports.Report),
    ],
)
def test_types_of_the_client_are_those_of_the_service(typed, model):
    assert set(typed.__annotations__) == set(model.model_fields)
