"""The requirements in an archive cover everything that the runtime imports."""

import importlib.metadata
import re
import subprocess
import sys

from export.archive import RUNTIME
from tests.support.sagemaker.stacks import REPOSITORY

IN_THE_IMAGE = {"numpy", "pillow", "augrank"}
SCRIPT = """
import sys
before = set(sys.modules)
sys.path.insert(0, "handlers")
import recommend_handler
import augrank.images.augmentations, augrank.tasks.recommend.pipeline, augrank.models.head
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def with_dependencies(names: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    queue = [normal(name) for name in names]
    while queue:
        if (name := queue.pop()) in found:
            continue
        found.add(name)
        try:
            wanted = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        wanted = [line for line in wanted if "extra ==" not in line]
        queue += [normal(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in wanted]
    return found


def test_everything_that_the_runtime_imports_is_among_its_requirements():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    owners = importlib.metadata.packages_distributions()
    imported = {normal(owner) for top in done.stdout.split() for owner in owners.get(top, [])}
    assert {"cachetools", "pydantic-settings", "onnxruntime"} <= imported
    assert imported - with_dependencies(RUNTIME) <= IN_THE_IMAGE
