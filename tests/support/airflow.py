"""The real Airflow, in an environment of its own, with SQLite."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.sagemaker.stacks import REPOSITORY, environment_of

DAGS = REPOSITORY / "examples" / "airflow"
DAG_ID = "review_inspection"
# Airflow's own means of an installation to change tasks: retries are few and follow at once.
POLICY = """
import os
from datetime import timedelta


def task_policy(task):
    task.retries = int(os.environ.get("TEST_RETRIES", task.retries))
    task.retry_delay = timedelta(seconds=1)
"""


@dataclass(frozen=True)
class Airflow:
    """Airflow's command, and a folder for its database and logs."""

    command: Path
    home: Path

    @classmethod
    def installed(cls, home: Path) -> "Airflow":
        """Return an Airflow with an empty database; install it first, once for each lock file."""
        python = environment_of(DAGS / "requirements.lock", "airflow")
        (home / "config").mkdir(parents=True)
        (home / "config" / "airflow_local_settings.py").write_text(POLICY, encoding="utf-8")
        airflow = cls(python.parent / "airflow", home)
        done = airflow.run("db", "migrate")
        assert done.returncode == 0, done.stdout[-3000:]
        return airflow

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Airflow; its output holds both streams."""
        return self._run([str(self.command), *words], environment)

    def python(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script beside the DAGs, in Airflow's environment."""
        path = {"PYTHONPATH": str(DAGS)}
        return self._run([str(self.command.with_name("python")), "-c", script], path)

    def _run(
        self, command: list[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "AUGRANK_", "SAGEMAKER", "PYTHONPATH"))
        }
        own = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "900",  # seconds
            "NO_COLOR": "1",
        }
        return subprocess.run(
            command,
            env={**inherited, **own, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
            check=False,
        )

    def test_day(
        self, dt: str, settings: Mapping[str, Any], *options: str, retries: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run ``airflow dags test`` for a day; it exits with 0 only if the run is a success."""
        chosen = {"root": str(REPOSITORY), "python": sys.executable, **settings}
        return self.run(
            *("dags", "test", DAG_ID, dt, *options),
            AIRFLOW_VAR_AUGRANK_REVIEWS=json.dumps(chosen),
            TEST_RETRIES=str(retries),
        )
