"""The source directory of a job: augrank and training, an entry script, requirements."""

import hashlib
import shutil
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("augrank", "training")  # all that a job needs: without simulation, export, ...
ENTRY = "train.py"
# AWS's images contain these, built for their CUDA version; another build might not match it.
IN_THE_IMAGE = ("torch", "torchvision")
_ENTRY_TEXT = '''"""Entry script of a training job; both of SageMaker's toolkits run it."""

from training.sagemaker.entry import main

if __name__ == "__main__":
    main()
'''


def stage(folder: Path) -> None:
    """Write the source directory of a job.

    Args:
        folder: an empty folder, which receives ``train.py``, ``requirements.txt``, ``augrank/``
            and ``training/``.
    """
    for package in PACKAGES:
        shutil.copytree(
            REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    (folder / ENTRY).write_text(_ENTRY_TEXT, encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join(requirements()) + "\n", encoding="utf-8")


def source_digest() -> str:
    """Hash all Python files that ``stage`` copies."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for file in sorted((REPOSITORY / package).rglob("*.py")):
            digest.update(file.relative_to(REPOSITORY).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def requirements() -> list[str]:
    """Return the requirements of training, without those that the image contains.

    The engines embed with the graphs that will serve, on the CPU.
    """
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    project = content["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["train"], *extras["cpu"], *extras["openvino"]]
    return [line for line in wanted if _name(line) not in (*IN_THE_IMAGE, project["name"])]


def _name(requirement: str) -> str:
    return requirement.split(">")[0].split("=")[0].split("<")[0].split("[")[0]
