"""The DAG under the real Airflow (``airflow dags test``), against moto.

A day ends as a success with a row for each image, or failed: never as a success with a part.
"""

import json

import boto3
import pytest

from tests.support.airflow import Airflow
from tests.support.review_day import PHOTOS, REVIEWS, ReviewDay, names
from tests.support.sagemaker.classify_jobs import container_of
from tests.support.sagemaker.region import BUCKET, OPTIONS, local_aws

pytestmark = pytest.mark.slow
DT = "2026-11-28"
JOB_OPTIONS = [*OPTIONS, "--poll-s", "0.02"]


class Container:
    """Answers as a worker does, and with an error after so many requests."""

    def __init__(self, answer) -> None:
        self.answer, self.asked, self.until = answer, 0, 10**6

    def __call__(self, model, body, headers):
        self.asked += 1
        if self.asked > self.until:
            self.until = 10**6  # it has been replaced when the next request comes
            return 503, b""
        return self.answer(model, body, headers)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Airflow:
    return Airflow.installed(tmp_path_factory.mktemp("home"))


@pytest.fixture
def container(classifier) -> Container:
    return Container(container_of(classifier))


@pytest.fixture
def day(monkeypatch, container):
    with local_aws(container, monkeypatch):
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield ReviewDay(DT)


@pytest.fixture
def local(shapes) -> dict:
    where = {"photos": PHOTOS, "reviews": REVIEWS, "dist": str(shapes)}
    return {**where, "inference": "local"}


@pytest.fixture
def jobs(local) -> dict:
    """The settings of transform jobs."""
    return {**local, "inference": "sagemaker", "transform": JOB_OPTIONS}


def succeeded(done) -> None:
    assert done.returncode == 0, done.stdout[-4000:]
    assert "state=success" in done.stdout


def failed(done, task: str, why: str) -> None:
    assert done.returncode == 1, done.stdout[-4000:]
    assert "DagRun failed" in done.stdout
    assert "state=failed" in done.stdout
    assert f"end task task_id={task} " in done.stdout
    assert why in done.stdout


def test_a_whole_day_is_a_success_and_the_same_day_again_changes_nothing(
    airflow, day, local, photos
):
    day.put(photos)
    succeeded(airflow.test_day(DT, local))
    rows, published, success = day.rows(), day.published(), day.success
    assert names(rows) == sorted(photos)
    assert success["rows"] == 6
    errors = {row["relative_im_path"]: row["error"] for row in rows if row["error"]}
    assert list(errors) == ["broken.png"]
    assert "not an image" in errors["broken.png"]
    assert sum(row["decision"] is not None for row in rows) == 5
    everything = day.keys("reviews/")
    again = airflow.test_day(DT, local)
    succeeded(again)
    assert "6 images, 0.0 MB, as collected before" in again.stdout
    assert "unchanged: " in again.stdout
    assert (day.published(), day.success, day.keys("reviews/")) == (published, success, everything)


def test_a_job_that_fails_half_way_is_red_and_its_retry_completes_the_day(
    airflow, day, jobs, photos, container
):
    day.put(photos)
    container.until = 3
    failed(airflow.test_day(DT, jobs), "transform", "503")
    answers = day.keys(f"reviews/answers/dt={DT}/")
    assert len([key for key in answers if key.endswith(".out")]) == 3
    assert day.keys("reviews/decisions/") == []
    container.until = container.asked + 1  # one more, then it fails again, then Airflow retries
    retried = airflow.test_day(DT, jobs, retries=1)
    succeeded(retried)
    assert "new_state=up_for_retry" in retried.stdout
    assert day.success["rows"] == 6
    assert names(day.rows()) == sorted(photos)
    assert container.asked == 3 + 1 + 1 + 1 + 2  # every image once, and two failures


def test_a_transform_that_is_taken_for_done_is_found_by_the_next_step(airflow, day, local, photos):
    """As in apache/airflow#69042: the task is marked as success, and its answers are not there."""
    day.put(photos)
    skipped = airflow.test_day(DT, local, "--mark-success-pattern", "transform")
    failed(skipped, "decide", "6 of 6 images have no answer")
    assert day.keys("reviews/decisions/") == []


def test_a_day_without_images_is_red(airflow, day, local):
    failed(airflow.test_day(DT, local), "collect", "the day has no images")
    assert day.keys("") == []


def test_a_run_is_of_the_day_before_and_missed_days_are_made_up_for(airflow):
    done = airflow.python(SCHEDULE)
    assert done.returncode == 0, done.stdout[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "steps": {
            "collect": ["transform"],
            "transform": ["decide"],
            "decide": ["publish"],
            "publish": [],
        },
        "operators": ["PythonOperator"],
        "retries": [2],
        "runs": [["2026-11-01", "2026-11-02T03:00"], ["2026-11-02", "2026-11-03T03:00"]],
        "catchup": True,
        "max_active_runs": 1,
    }


def test_a_task_that_is_ended_ends_its_command(airflow):
    done = airflow.python(ENDED)
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.splitlines()[-1] == "ended []"


ENDED = """
import logging, os, signal, sys
import psutil, review_dag

def end(*_):
    raise KeyboardInterrupt  # as Airflow does: an exception in the task's process

class EndSoon(logging.Handler):
    def emit(self, record):
        if "Serving HTTP" in record.getMessage():
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # while the next line is waited for

review_dag.settings = lambda: {"python": sys.executable, "root": "/"}
review_dag.logger.setLevel(logging.INFO)
review_dag.logger.addHandler(EndSoon())
os.environ["PYTHONUNBUFFERED"] = "1"
signal.signal(signal.SIGALRM, end)
try:
    review_dag.run("http.server", "--bind", "127.0.0.1", "0")
except KeyboardInterrupt:
    print("ended", psutil.Process().children())
"""
SCHEDULE = """
import json
from review_dag import dag
from airflow.serialization.encoders import coerce_to_core_timetable
from airflow.timetables.base import TimeRestriction

timetable, runs, last = coerce_to_core_timetable(dag.timetable), [], None
for _ in range(2):
    limits = TimeRestriction(dag.start_date, None, dag.catchup)
    info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=limits)
    runs.append([f"{info.logical_date:%Y-%m-%d}", f"{info.run_after:%Y-%m-%dT%H:%M}"])
    last = info.data_interval
print(json.dumps({
    "steps": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    "operators": sorted({type(task).__name__ for task in dag.tasks}),
    "retries": sorted({task.retries for task in dag.tasks}),
    "runs": runs,
    "catchup": dag.catchup,
    "max_active_runs": dag.max_active_runs,
}))
"""
