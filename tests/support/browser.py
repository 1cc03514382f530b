"""A Chromium for the tests of pages, found or fetched without changing the system.

``make browser``, or ``python -m tests.support.browser``, prints the executable and where it comes
from. The first of these that runs is taken:

1. what ``AUGRANK_CHROMIUM`` names, and nothing else if it is set;
2. ``chromium``, ``chromium-browser`` or ``google-chrome`` on the PATH;
3. the one that Playwright has downloaded;
4. Debian's package, fetched by apt from the system's own sources into ``build/browser``, with the
   libraries that the system lacks and two fonts. apt checks signatures and hashes as ever; nothing
   is installed, and no rights are needed.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

from augrank.errors import DataError, reason
from augrank.files import atomic_write

FOLDER = Path(__file__).parents[2] / "build" / "browser"
VARIABLE = "AUGRANK_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium", "fonts-liberation", "fonts-dejavu-core")
START_S, FETCH_S = 300, 900  # seconds, on a machine under load
# --no-sandbox: root, and most containers, may not make the namespaces of the sandbox.
SWITCHES = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
REMEDY = (
    f"Install Chromium or Google Chrome, or let {VARIABLE} name its executable. "
    "On Debian `make browser` fetches it without installing it."
)
# What a system's configuration does after an update is meant for the system's folders.
APT_CONFIG = """#clear APT::Update;
#clear DPkg::Post-Invoke;
Dir::State "{folder}/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "archives";
APT::Sandbox::User "";
Debug::NoLocking "true";
APT::Install-Recommends "false";
Acquire::Retries "3";
Acquire::Languages "none";
"""
FONTS_CONFIG = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{folder}/root/usr/share/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{folder}/fonts</cachedir>
{aliases}
  <match target="pattern">
    <edit name="family" mode="append_last"><string>Liberation Sans</string></edit>
  </match>
</fontconfig>
"""
ALIAS = '  <alias binding="same"><family>{}</family><prefer><family>{}</family></prefer></alias>'
FONTS = {
    "system-ui": "Liberation Sans",
    "sans-serif": "Liberation Sans",
    "monospace": "Liberation Mono",
}


@dataclass(frozen=True)
class Browser:
    """A Chromium that runs.

    Attributes:
        executable: its file.
        source: how it was found, in words.
        version: what it says of itself.
        environment: variables that it needs beside those of this process.
    """

    executable: Path
    source: str
    version: str
    environment: dict[str, str] = field(default_factory=dict)


def find() -> Browser | None:
    """Return a browser that is here already, or None.

    Raises:
        DataError: ``AUGRANK_CHROMIUM`` names something that does not run.
    """
    if named := os.environ.get(VARIABLE):
        return _started(Path(named), VARIABLE)
    for executable, source in _candidates():
        try:
            return _started(executable, source)
        except DataError:
            continue
    return None


def install() -> Browser:
    """Return a browser; fetch Debian's if there is none.

    Two processes may call this at once: one fetches, the other waits. What was fetched before an
    interruption is not fetched again.

    Raises:
        DataError: there is none, and none can be fetched.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER / "lock"):
        if (found := find()) is not None:
            return found
        _fetch()
        return _started(_fetched(), _source_of_fetched())


def _candidates() -> Iterator[tuple[Path, str]]:
    for name in NAMES:
        if path := shutil.which(name):
            yield Path(path), f"{name} on the PATH"
    if (path := _of_playwright()).exists():
        yield path, "downloaded by Playwright"
    if _fetched().exists():
        yield _fetched(), _source_of_fetched()


def _of_playwright() -> Path:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path)


def _fetched() -> Path:
    return FOLDER / "root" / "usr" / "lib" / "chromium" / "chromium"


def _source_of_fetched() -> str:
    return "Debian's package, in build/browser"


def _started(executable: Path, source: str) -> Browser:
    """Return a browser that has drawn an empty page.

    Raises:
        DataError: it does not start.
    """
    environment = _environment() if executable == _fetched() else {}
    try:
        version = _output([str(executable), "--version"], environment).strip()
        page = _drawn(executable, environment)
    except (OSError, subprocess.SubprocessError) as error:
        raise DataError(
            f"Chromium does not start ({source})",
            expected="an executable that draws a page",
            got=f"{executable}: {_last_words(error)}",
            remedy=REMEDY,
        ) from error
    if "<html>" not in page:
        raise DataError(f"{executable} is no Chromium", got=page or "no page", remedy=REMEDY)
    return Browser(executable, source, version, environment)


def _drawn(executable: Path, environment: dict[str, str]) -> str:
    with TemporaryDirectory(prefix="augrank-browser-", ignore_cleanup_errors=True) as profile:
        switches = (*SWITCHES, f"--user-data-dir={profile}", "--dump-dom", "about:blank")
        return _output([str(executable), *switches], environment)


def _environment() -> dict[str, str]:
    """Return the variables with which the fetched browser finds its libraries and fonts."""
    libraries = sorted({file.parent for file in (FOLDER / "root").rglob("*.so*")})
    own = [str(path) for path in libraries if "chromium" not in path.parts]
    inherited = [path] if (path := os.environ.get("LD_LIBRARY_PATH")) else []
    aliases = "\n".join(ALIAS.format(*each) for each in FONTS.items())
    text, config = FONTS_CONFIG.format(folder=FOLDER, aliases=aliases), FOLDER / "fonts.conf"
    if not config.exists() or config.read_text(encoding="utf-8") != text:
        with atomic_write(config) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(own + inherited),
        "FONTCONFIG_FILE": str(config),
        "XDG_CACHE_HOME": str(FOLDER / "xdg"),
        "XDG_CONFIG_HOME": str(FOLDER / "xdg"),
    }


def _fetch() -> None:
    """Fetch Debian's Chromium with the libraries that the system lacks.

    Raises:
        DataError: this system has no apt, or its sources no Chromium.
    """
    missing = [name for name in ("apt-get", "dpkg") if shutil.which(name) is None]
    if missing:
        raise DataError(
            "there is no Chromium here, and this system cannot fetch Debian's",
            expected="chromium or google-chrome on the PATH, or apt-get and dpkg",
            got=f"no {' and no '.join(missing)}",
            remedy=REMEDY,
        )
    archives = FOLDER / "cache" / "archives"
    for folder in (archives / "partial", FOLDER / "state" / "lists" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    config = FOLDER / "apt.conf"
    config.write_text(APT_CONFIG.format(folder=FOLDER), encoding="utf-8")
    apt = ["apt-get", "--config-file", str(config), "--quiet=2"]
    _apt([*apt, "update"])
    _apt([*apt, "install", "--yes", "--download-only", *PACKAGES])
    partial = FOLDER / "root.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for archive in sorted(archives.glob("*.deb")):
        _apt(["dpkg", "--extract", str(archive), str(partial)])
    shutil.rmtree(FOLDER / "root", ignore_errors=True)
    partial.rename(FOLDER / "root")
    for folder in ("cache", "state"):
        shutil.rmtree(FOLDER / folder)


def _apt(command: list[str]) -> None:
    try:
        _output(command, {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}, FETCH_S)
    except subprocess.SubprocessError as error:
        raise DataError(
            "Debian's Chromium cannot be fetched",
            expected=f"the packages {', '.join(PACKAGES)} in the sources of apt",
            got=_last_words(error),
            remedy=REMEDY,
        ) from error


def _output(command: list[str], environment: dict[str, str], limit_s: float = START_S) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=limit_s,
        check=True,
    )
    return done.stdout


def _last_words(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in (error.stderr or error.stdout or "").splitlines() if line]
        return f"exit code {error.returncode}: {' '.join(lines[-2:])}"
    return reason(error)


def main() -> None:
    """Print the browser."""
    started = time.monotonic()
    try:
        browser = install()
    except DataError as error:
        sys.exit(f"error: {error}")
    seconds = time.monotonic() - started
    print(f"{browser.executable}\n{browser.version}: {browser.source} ({seconds:.0f} s)")


if __name__ == "__main__":
    main()
