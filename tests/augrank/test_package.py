"""The public names, the cost of importing, and the wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

import augrank

ROOT = Path(__file__).parents[2]


def test_public_names_are_pinned():
    assert augrank.__all__ == ["Answer", "AugrankError", "Classifier", "Recommender", "__version__"]
    for name in augrank.__all__:
        assert getattr(augrank, name)


def test_importing_augrank_needs_no_torch_and_loads_nothing_heavy():
    code = (
        "import sys, augrank, augrank.tasks.recommend.pipeline, augrank.tasks.recommend.request; "
        "print([m for m in ('torch', 'albumentations', 'ts', 'sagemaker') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_wheel_holds_augrank_alone(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"augrank", "augrank-0.1.0.dist-info"}
    assert "augrank/_handlers/recommend_handler.py" in names
    assert "augrank/py.typed" in names
    metadata = zipfile.ZipFile(wheel).read("augrank-0.1.0.dist-info/METADATA").decode()
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert not [line for line in needed if "torch" in line and "extra" not in line]
