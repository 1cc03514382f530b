"""Kits for machines without internet: built for real, from a small project and its own index."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from augrank.errors import DataError
from export.kit.build import KitOptions, Platform, build_kit
from export.kit.parts import write_parts

THIS_PYTHON = "{}.{}".format(*sys.version_info[:2])
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "augrank"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["needed-one", "windows-only; sys_platform == 'win32'"]
[project.optional-dependencies]
more = ["needed-two>=2"]
[tool.hatch.build.targets.wheel]
packages = ["augrank"]
"""
OPTIONS = KitOptions(
    python=THIS_PYTHON,
    platform=Platform.of("manylinux_2_28_x86_64"),
    extras=("more",),
    without=(),
    add=(),
    include=(),
    part_mib=1,
)


@pytest.mark.parametrize(
    ("tag", "first", "last", "count"),
    [
        ("manylinux_2_28_x86_64", "manylinux_2_28_x86_64", "linux_x86_64", 28),
        ("manylinux_2_17_aarch64", "manylinux_2_17_aarch64", "linux_aarch64", 3),
    ],
)
def test_a_machine_installs_the_wheels_of_older_systems_too(tag, first, last, count):
    tags = Platform.of(tag).tags
    assert (tags[0], tags[-1], len(tags)) == (first, last, count)
    assert "manylinux2014_" + Platform.of(tag).machine in tags


@pytest.mark.parametrize("tag", ["win_amd64", "manylinux2014_x86_64", "manylinux_2_12_x86_64", ""])
def test_another_platform_is_refused(tag):
    with pytest.raises(DataError, match=r"is not known: expected manylinux_2_N_x86_64 or"):
        Platform.of(tag)


def test_parts_have_their_size_and_are_one_archive(tmp_path):
    files = {f"wheels/{n}": tmp_path / f"{n}.whl" for n in range(3)}
    for number, file in enumerate(files.values()):
        file.write_bytes(os.urandom(100_000 * (number + 1)))
    (tmp_path / "kit-099").write_bytes(b"of an earlier kit")
    sums = write_parts(files, tmp_path, 150_000)
    parts = sorted(tmp_path.glob("kit-*"))
    assert [each.name for each in parts] == list(sums)
    assert {each.stat().st_size for each in parts[:-1]} == {150_000}
    for part in parts:
        assert hashlib.sha256(part.read_bytes()).hexdigest() == sums[part.name]
    joined = io.BytesIO(b"".join(each.read_bytes() for each in parts))
    with tarfile.open(fileobj=joined) as archive:
        for name, file in files.items():
            assert archive.extractfile(name).read() == file.read_bytes()
    assert write_parts(files, tmp_path, 150_000) == sums


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose packages are in a folder, which is the only index."""
    index = tmp_path / "index"
    index.mkdir()
    for name, version in (("needed_one", "1.0"), ("needed_two", "1.0"), ("needed_two", "2.5"),
                          ("added", "3.0")):  # fmt: skip
        _write_wheel(index, name, version)
    for variable in ("PIP_NO_INDEX", "UV_NO_INDEX"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for variable in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.setenv(variable, str(index))
    folder = tmp_path / "project"
    (folder / "augrank").mkdir(parents=True)
    (folder / "augrank" / "__init__.py").write_text("import needed_one\n")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    return folder


def _write_wheel(index: Path, name: str, version: str) -> None:
    metadata = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(index / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(
            f"{metadata}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{metadata}/RECORD", "")


def _install(
    kit: Path, target: Path | str, folder: Path | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run the installer where there is no index and no home."""
    return subprocess.run(
        ["sh", kit / "install.sh", target],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_kit_installs_without_an_index(project, tmp_path):
    carried = tmp_path / "shoes.mar"
    carried.write_bytes(b"an archive")
    kit = tmp_path / "kit"
    made = build_kit(replace(OPTIONS, add=("added",), include=(carried,)), kit, project)
    assert (made.packages, made.parts) == (3, 1)
    assert sorted(each.name for each in kit.iterdir()) == ["SHA256SUMS", "install.sh", "kit-000"]

    target = tmp_path / "not yet" / "here"
    for where in ("not yet/here", target):  # a second call replaces what the first installed
        done = _install(kit, where, tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith("Done. Next: ")
    python = target / "venv" / "bin" / "python"
    code = "import augrank, added, needed_one, needed_two; print(needed_two.version)"
    assert subprocess.check_output([python, "-c", code], text=True) == "2.5\n"
    assert (target / "files" / "shoes.mar").read_bytes() == b"an archive"
    assert (target / "source" / "pyproject.toml").is_file()
    assert sorted(each.name for each in target.iterdir()) == [
        ".augrank-kit", "files", "source", "venv",
    ]  # fmt: skip

    with (kit / "kit-000").open("r+b") as part:
        part.seek(600)
        part.write(b"damaged")
    done = _install(kit, target)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "Error: parts are missing or damaged: see above. Copy them again."
    )
    assert python.exists()  # what was there is left


@pytest.mark.slow
def test_what_a_kit_is_without_is_said_if_the_machine_lacks_it(project, tmp_path):
    kit = tmp_path / "kit"
    made = build_kit(replace(OPTIONS, without=("needed-two",)), kit, project)
    assert made.packages == 1
    done = _install(kit, tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert "The kit is without needed-two, and this machine has none" in done.stdout


def test_what_no_kit_has_installed_is_left(project, tmp_path):
    kit, home = tmp_path / "kit", tmp_path / "home"
    build_kit(OPTIONS, kit, project)
    kept = [home / name / "mine" for name in ("venv", "source", "files", ".kit")]
    for file in kept:
        file.parent.mkdir(parents=True)
        file.write_text("of somebody")
    done = _install(kit, home)
    assert done.returncode == 1
    assert "home has files that no kit has installed: expected a new or an empty" in done.stderr
    assert all(file.read_text() == "of somebody" for file in kept)
    assert len(list(home.iterdir())) == len(kept)
    done = _install(kit, kept[0])
    assert done.returncode == 1
    assert "mine is not a directory" in done.stderr


def test_a_kit_for_another_machine_is_not_installed(project, tmp_path):
    kit = tmp_path / "kit"
    build_kit(replace(OPTIONS, python="3.99"), kit, project)
    done = _install(kit, tmp_path / "here")
    assert (done.returncode, (tmp_path / "here").exists()) == (1, False)
    assert f"expected Python 3.99, got {THIS_PYTHON}" in done.stderr
    build_kit(replace(OPTIONS, platform=Platform.of("manylinux_2_99_x86_64")), kit, project)
    done = _install(kit, tmp_path / "here")
    assert done.returncode == 1
    assert "expected glibc 2.99 or newer, got 2." in done.stderr
    assert _install(kit, tmp_path / "here", PYTHON="/nowhere").returncode == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extras": ("nothing",)}, "cannot be resolved for that machine"),
        ({"add": ("missing-package",)}, "cannot be resolved for that machine"),
        ({"python": "three"}, "--python 'three' is no version"),
        ({"include": (Path("nowhere.mar"),)}, r"there is no file nowhere\.mar"),
    ],
)
def test_what_cannot_be_packed_is_said(project, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        build_kit(replace(OPTIONS, **changes), tmp_path / "kit", project)
