"""Where the tests of pages take their Chromium from."""

import pytest

from augrank.errors import DataError
from tests.support import browser

PAGE = "#!/bin/sh\ncase $1 in --version) echo Chromium 1;; *) echo '<html></html>';; esac\n"


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A machine without a browser, and with nothing to fetch one."""
    monkeypatch.delenv(browser.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(browser, "FOLDER", tmp_path / "browser")
    monkeypatch.setattr(browser, "_of_playwright", lambda: tmp_path / "none")
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def executable(path, content=PAGE):
    path.write_text(content)
    path.chmod(0o755)
    return path


def test_the_browser_on_the_path_is_taken(empty):
    file = executable(empty / "google-chrome")
    found = browser.install()
    assert (found.executable, found.version, found.environment) == (file, "Chromium 1", {})
    assert found.source == "google-chrome on the PATH"


def test_what_the_variable_names_comes_first(empty, monkeypatch):
    executable(empty / "chromium")
    file = executable(empty / "mine")
    monkeypatch.setenv(browser.VARIABLE, str(file))
    assert browser.install().executable == file


def test_a_browser_that_does_not_run_is_passed_over(empty):
    executable(empty / "chromium", "#!/bin/sh\necho no libraries >&2\nexit 127\n")
    file = executable(empty / "google-chrome")
    assert browser.install().executable == file


def test_a_variable_that_names_no_browser_is_an_error(empty, monkeypatch):
    file = executable(empty / "mine", "#!/bin/sh\necho no libraries >&2\nexit 127\n")
    executable(empty / "chromium")
    monkeypatch.setenv(browser.VARIABLE, str(file))
    with pytest.raises(DataError, match=r"AUGRANK_CHROMIUM.*exit code 127: no libraries"):
        browser.install()


def test_without_a_browser_and_apt_the_message_says_what_to_install(empty):
    assert browser.find() is None
    with pytest.raises(DataError, match=r"got no apt-get and no dpkg\. Install Chromium"):
        browser.install()


def test_an_apt_without_chromium_says_so_in_its_own_words(empty):
    failing = "#!/bin/sh\necho 'E: Unable to locate package chromium' >&2\nexit 100\n"
    for name in ("apt-get", "dpkg"):
        executable(empty / name, failing)
    with pytest.raises(DataError, match="exit code 100: E: Unable to locate package chromium"):
        browser.install()
    assert (empty.parent / "browser" / "state" / "lists").is_dir()  # to be continued
