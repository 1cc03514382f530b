"""An Airflow DAG: every day, the photos of the day before are inspected. See docs/airflow.md.

    collect ─ transform ─ decide ─ publish

Each step is a PythonOperator around a command, which runs in augrank's own environment: Airflow
pins other versions. Steps share nothing but S3, below ``dt=YYYY-MM-DD``. A step ends red unless its
command exits with 0, and each command counts what the one before it left. So a day ends with
``_SUCCESS`` and a row for each image, or red; a retry resumes, and a second run changes nothing.

Airflow's variable ``augrank_reviews`` holds the settings below as JSON.
"""

import json
import logging
import subprocess
from collections import deque
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Variable, chain

logger = logging.getLogger(__name__)
VARIABLE = "augrank_reviews"
REQUIRED = ("root", "photos", "reviews")
SETTINGS: dict[str, Any] = {
    "root": None,  # a clone of augrank, after make install
    "python": ".venv/bin/python",  # relative to it
    "photos": None,  # s3://BUCKET/FOLDER of the images, dt=YYYY-MM-DD/ below it
    "reviews": None,  # s3://BUCKET/FOLDER of what is made of them
    "dist": "dist",  # the export, relative to root
    "name": "reviews",  # of the model and the jobs in SageMaker
    "inference": "sagemaker",  # or local: on the worker's own machine
    "transform": (),  # further options of python -m export transform
    "review_kind": None,  # of images that reviews.csv does not name
    "max_errors": 0.2,  # share of images that may have an error in place of a decision
}
ALL_CLASSES = "top=10000"  # rules need the probabilities of all
SHOWN_LINES = 5  # of a command's output, in its error


def settings() -> dict[str, Any]:
    """Return the settings.

    Raises:
        ValueError: one is missing or unknown.
    """
    given = json.loads(Variable.get(VARIABLE, default="{}"))
    unknown = sorted(set(given) - set(SETTINGS))
    found = {**SETTINGS, **given}
    missing = [name for name in REQUIRED if not found[name]]
    if unknown or missing or found["inference"] not in ("sagemaker", "local"):
        raise ValueError(
            f"the variable {VARIABLE} does not fit: expected JSON with {', '.join(REQUIRED)} and "
            f"inference sagemaker or local, got missing {missing}, unknown {unknown}, "
            f"inference {found['inference']!r}. See docs/airflow.md"
        )
    return found


def run(module: str, *words: str) -> None:
    """Run a command of augrank, and log what it prints.

    Raises:
        RuntimeError: it did not exit with 0; gives the last lines.
    """
    chosen, last = settings(), deque[str](maxlen=SHOWN_LINES)
    command = [chosen["python"], "-m", module, *words]
    logger.info("%s", " ".join(command))
    with subprocess.Popen(
        command,
        cwd=chosen["root"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                logger.info("%s", line.rstrip())
                last.append(line.strip())
        except BaseException:  # Airflow ends the task; the command must not go on alone
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"{module} exited with {process.returncode}: {' / '.join(last)}")


def day_command(step: str, dt: str, *words: str) -> None:
    """Run a step of ``examples.airflow.day``."""
    chosen = settings()
    where = ("--photos", chosen["photos"], "--reviews", chosen["reviews"], "--dt", dt)
    run("examples.airflow.day", step, *where, *words)


def collect(dt: str) -> None:
    """List the day's images, once."""
    kind = settings()["review_kind"]
    day_command("collect", dt, *(("--review-kind", kind) if kind else ()))


def transform(dt: str) -> None:
    """Answer every image that has no answer yet."""
    chosen = settings()
    words = ["transform", chosen["name"], "--dist", chosen["dist"], "--dt", dt]
    words += ["--input", chosen["photos"], "--output", f"{chosen['reviews'].rstrip('/')}/answers"]
    words += ["--field", ALL_CLASSES, *chosen["transform"]]
    run("export", *words, *(["--local"] if chosen["inference"] == "local" else []))


def decide(dt: str) -> None:
    """Apply the rules: accept, reject or ask."""
    chosen = settings()
    words = ("--bundle", f"{chosen['dist']}/bundle", "--max-errors", str(chosen["max_errors"]))
    day_command("decide", dt, *words)


def publish(dt: str) -> None:
    """Verify the rows, and put them in place."""
    day_command("publish", dt)


with DAG(
    "review_inspection",
    description="Inspect the photos of the day before",
    doc_md=__doc__,
    # At 03:00 for the day before: dt is the day of the interval's start. "@daily" would start at
    # the beginning of the day that it is named after, when its photos are not there yet.
    schedule=CronDataIntervalTimetable("0 3 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 11, 1, tz="UTC"),  # the first day with photos
    catchup=True,  # days on which Airflow was down are made up for
    max_active_runs=1,  # jobs of two days would abort each other's upload of the archive
    default_args={
        "retries": 2,
        "retry_delay": timedelta(minutes=5),
        "execution_timeout": timedelta(hours=6),
    },
    tags=["augrank"],
) as dag:
    steps = [
        PythonOperator(task_id=step.__name__, python_callable=step, op_kwargs={"dt": "{{ ds }}"})
        for step in (collect, transform, decide, publish)
    ]
    chain(*steps)
