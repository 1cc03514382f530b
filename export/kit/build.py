"""Resolve, download and pack what another machine needs."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from augrank.errors import DataError
from augrank.files import atomic_write
from export.kit.parts import write_parts, write_sums

ROOT = Path(__file__).parents[2]
LOCK = "requirements.lock"  # of the project: the versions that were tested
INSTALLER, REQUIREMENTS = "install.sh", "requirements.txt"
OLDEST_GLIBC = {"x86_64": 5, "aarch64": 17}  # minor versions, of wheels for Linux
OLD_NAMES = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}
_PLATFORM = re.compile(r"manylinux_2_(\d+)_(x86_64|aarch64)")
UV_GLIBC = (17, 28, *range(31, 41))  # that uv resolves for
MIB = 2**20


@dataclass(frozen=True)
class Platform:
    """Linux with glibc."""

    glibc: int  # minor version: 28 of 2.28
    machine: str  # x86_64 or aarch64

    @classmethod
    def of(cls, tag: str) -> "Platform":
        """Read a tag of wheels.

        Raises:
            DataError: it is of another system.
        """
        found = _PLATFORM.fullmatch(tag)
        if not found or int(found[1]) < min(UV_GLIBC):
            raise DataError(
                f"--platform {tag!r} is not known",
                expected="manylinux_2_N_x86_64 or manylinux_2_N_aarch64, of glibc 2.17 on",
                remedy="On the other machine: ldd --version; uname -m.",
            )
        return cls(int(found[1]), found[2])

    @property
    def tags(self) -> list[str]:
        """All tags of wheels that it can install, the newest first."""
        oldest = OLDEST_GLIBC[self.machine]
        tags = [f"manylinux_2_{n}_{self.machine}" for n in range(self.glibc, oldest - 1, -1)]
        tags += [f"{name}_{self.machine}" for name, n in OLD_NAMES.items()
                 if oldest <= n <= self.glibc]  # fmt: skip
        return [*tags, f"linux_{self.machine}"]


@dataclass(frozen=True)
class KitOptions:
    """What the other machine is, and what it needs."""

    python: str  # its version, such as 3.12
    platform: Platform
    extras: Sequence[str]
    without: Sequence[str]  # packages that it has, or does without
    add: Sequence[str]  # packages beyond the project's own
    include: Sequence[Path]  # files to carry along
    part_mib: int


@dataclass(frozen=True)
class Kit:
    """What was written."""

    folder: Path
    packages: int
    wheels_bytes: int
    parts: int


def build_kit(options: KitOptions, out: Path, project: Path = ROOT) -> Kit:
    """Write a kit; wheels that an interrupted call has downloaded are kept.

    Args:
        options: the other machine.
        out: the kit's folder.
        project: the folder of pyproject.toml, and of requirements.lock, if there is one.

    Raises:
        DataError: there is no such extra, or no wheel of a package for that machine.
    """
    _check(options)
    work = out / "work"
    wheels = work / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    requirements = work / REQUIREMENTS
    _resolve(options, project, requirements)
    _download(options, requirements, wheels)
    own = _build_project(project, work / "project")
    pinned = _pinned(requirements)
    files = {REQUIREMENTS: requirements}
    files |= {f"wheels/{each.name}": each for each in wheels.iterdir() if _is_of(each, pinned)}
    files |= {f"project/{each.name}": each for each in own}
    files |= {f"files/{each.name}": each for each in options.include}
    size = sum(each.stat().st_size for name, each in files.items() if name.startswith("wheels/"))
    sums = write_parts(files, out, options.part_mib * MIB)
    installer = _write_installer(options, out / INSTALLER)
    write_sums({**sums, INSTALLER: installer}, out)
    shutil.rmtree(work)
    return Kit(out, len(pinned), size, len(sums))


def _check(options: KitOptions) -> None:
    if not re.fullmatch(r"3\.\d+", options.python):
        raise DataError(f"--python {options.python!r} is no version", expected="such as 3.12")
    for file in options.include:
        if not file.is_file():
            raise DataError(f"there is no file {file} to include")
    names = [file.name for file in options.include]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"two files to include are named {twice}", remedy="Rename one of them.")


def _resolve(options: KitOptions, project: Path, requirements: Path) -> None:
    """Write the pinned requirements, with hashes, as they are on that machine."""
    excluded = requirements.with_name("excluded.txt")
    excluded.write_text("".join(f"{name}\n" for name in options.without))
    more = requirements.with_name("more.in")
    more.write_text("".join(f"{each}\n" for each in options.add))
    glibc = max(n for n in UV_GLIBC if n <= options.platform.glibc)
    target = f"{options.platform.machine}-manylinux_2_{glibc}"
    command = ["uv", "pip", "compile", str(project / "pyproject.toml"), str(more)]
    command += [part for extra in options.extras for part in ("--extra", extra)]
    command += ["--python-version", options.python, "--python-platform", target]
    command += ["--excludes", str(excluded), "--only-binary", ":all:", "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--quiet", "--output-file", str(requirements)]
    if (project / LOCK).is_file():
        command += ["--constraints", str(project / LOCK)]
    _run(command, "the packages cannot be resolved for that machine")


def _download(options: KitOptions, requirements: Path, wheels: Path) -> None:
    command = ["pip", "download", "--requirement", str(requirements), "--dest", str(wheels)]
    command += ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--python-version", options.python, "--implementation", "cp"]
    command += [part for tag in options.platform.tags for part in ("--platform", tag)]
    command += ["--disable-pip-version-check"]
    _run(command, "the packages cannot be downloaded", shown=True)


def _build_project(project: Path, folder: Path) -> list[Path]:
    """Return the project's wheel and its source archive."""
    shutil.rmtree(folder, ignore_errors=True)
    command = ["build", "--sdist", "--wheel", "--no-isolation", "--outdir", str(folder)]
    _run([*command, str(project)], "the project's own wheel cannot be built")
    return sorted(folder.iterdir())


def _run(command: Sequence[str], problem: str, *, shown: bool = False) -> None:
    """Run a module of this Python; ``shown``: with its progress.

    Raises:
        DataError: it failed; has the end of what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", *command],
        stdin=subprocess.DEVNULL,
        stdout=None if shown else subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip() or (done.stdout or "").strip()
        raise DataError(problem, got=said[-1500:], remedy=f"Failed: {' '.join(command[:3])}")


def _pinned(requirements: Path) -> dict[str, str]:
    """Return the versions of the pinned packages."""
    text = requirements.read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def _is_of(wheel: Path, pinned: dict[str, str]) -> bool:
    """Return whether a wheel is of the requirements, and not of an earlier call's."""
    name, version = wheel.name.split("-")[:2]
    return pinned.get(re.sub(r"[-_.]+", "-", name).lower()) == version


def _write_installer(options: KitOptions, file: Path) -> str:
    """Write install.sh; return its SHA-256."""
    template = Template(Path(__file__).with_name(INSTALLER).read_text(encoding="utf-8"))
    text = template.substitute(
        PYTHON=options.python,
        MACHINE=options.platform.machine,
        GLIBC=options.platform.glibc,
        WITHOUT=" ".join(options.without),
    )
    with atomic_write(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    file.chmod(0o755)
    return hashlib.sha256(text.encode()).hexdigest()
