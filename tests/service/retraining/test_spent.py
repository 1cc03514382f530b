"""Files of candidates go when nothing needs them; a job that can be tried again keeps its own."""

from pathlib import Path

import pytest

from augrank.errors import DataError
from service.jobs.queue import DONE, FAILED
from service.retraining import work
from service.retraining.verdict import judge_candidates
from service.retraining.work import Retraining
from tests.service.retraining.support import Commands, begin, corrected, go_on, kept_and_done
from tests.service.support.pages import photo

RUN = {"backbone.pt", "run.json", "report.json", "plots", "checkpoints", "cache"}
REPORTS = {"report.json", "plots"}


@pytest.fixture
def trained(commands: Commands) -> Commands:
    """Commands whose runs have what those of a training have."""
    fit = commands._fit

    def with_reports(words: list[str]) -> None:
        fit(words)
        (run,) = {file.parent for file in Path(words[1]).parent.glob("run/run.json")}
        (run / "report.json").write_text("{}")
        for name in ("plots", "checkpoints", "cache"):
            (run / name).mkdir(exist_ok=True)
            (run / name / "file").write_bytes(b"x")

    commands._fit = with_reports
    return commands


def files(parts: Retraining, job: int) -> list[set[str]]:
    """Return what there is of the run of each candidate of a job, with dist if that is there."""
    places = sorted((parts.folder / f"retraining/jobs/{job}/candidates").iterdir())
    assert all((place / "done.json").is_file() for place in places)
    return [
        {each.name for each in (place / "run").iterdir()}
        | ({"dist"} if (place / "dist").exists() else set())
        for place in places
    ]


def another_fix(caller) -> None:
    caller.classify(photo(30))
    caller.fix(photo(30), "shape", "bar")


def test_bundles_go_at_the_end_and_runs_with_their_models(parts, caller, trained, classify_run):
    corrected(caller, 12)
    first = begin(parts, base=str(classify_run.run), review=False)
    assert go_on(parts).state == DONE
    assert files(parts, first) == [RUN - {"checkpoints", "cache"}] * 2
    parts.registry._most = 1
    assert parts.registry.trim() == 2  # both were rejected
    another_fix(caller)
    second = begin(parts, review=False)
    assert go_on(parts).state == DONE
    assert files(parts, first) == [REPORTS] * 2
    assert files(parts, second) == [RUN - {"checkpoints", "cache"}] * 2


def test_a_failed_job_keeps_all_until_it_cannot_be_tried_again(
    parts, caller, trained, classify_run, monkeypatch
):
    def judge(*given):
        raise DataError("the gate is closed")

    corrected(caller, 12)
    first = begin(parts, base=str(classify_run.run), review=False)
    monkeypatch.setattr(work, "judge_candidates", judge)
    for _ in range(2):
        assert go_on(parts).state == FAILED
        assert files(parts, first) == [RUN | {"dist"}] * 2
        assert caller.http.post(f"/v1/jobs/{first}/retry").status_code == 202
    caller.http.post(f"/v1/retraining/{first}/cancel", json={"who": "eva"})
    another_fix(caller)
    monkeypatch.setattr(work, "judge_candidates", judge_candidates)
    assert kept_and_done(parts, begin(parts))
    assert caller.http.post(f"/v1/jobs/{first}/retry").status_code == 409
    assert files(parts, first) == [REPORTS] * 2
