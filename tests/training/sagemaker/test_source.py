"""The source of a job is complete: it runs without the rest of the repository."""

import subprocess
import sys

import pytest

from training.sagemaker.source import ENTRY, PACKAGES, stage

NOT_SENT = ("simulation", "export", "benchmarks", "handlers", "tests", "examples")
# What a job imports, from its first line to its last.
MODULES = (
    "training.sagemaker.entry",
    "training.sagemaker.metrics",
    "training.tasks.run",
    "training.tasks.recommend",
    "training.backbone.train",
    "training.heads.fit_all",
    "training.run.report",
)
SCRIPT = f"""
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {NOT_SENT}:
            raise ModuleNotFoundError(f"a job has no {{name}}")
sys.meta_path.insert(0, Absent())
for name in {MODULES}:
    importlib.import_module(name)
print([name for name in sys.modules if name.startswith("training.cli")])
print(sorted({{m.__file__ for n, m in sys.modules.items()
              if n.split(".")[0] in {PACKAGES} and not m.__file__.startswith(sys.argv[1])}}))
"""


@pytest.mark.slow
def test_a_job_imports_what_it_is_sent_and_nothing_else_of_the_repository(tmp_path):
    stage(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*PACKAGES, ENTRY, "requirements.txt"]
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    command_line, elsewhere = done.stdout.splitlines()
    assert command_line == "[]"  # no command line in a job
    assert elsewhere == "[]"  # and nothing of augrank or training from elsewhere
