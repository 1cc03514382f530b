"""The plugin that fails tests which leave threads or processes behind, in a nested pytest."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEAKING = ("test_a_thread", "test_a_process", "test_a_process_whose_parent_has_ended")
CONFTEST = f"""
import sys

pytest_plugins = ["tests.support.leaks"]


def pytest_runtest_setup(item):
    sys.modules["tests.support.leaks"].GRACE_S = 0.5 if item.name in {LEAKING} else 60
"""
TESTS = """
import subprocess
import sys
import threading

import pytest

ORPHAN = "import subprocess; subprocess.Popen(['sleep', '60'])"


def waiting(event):
    thread = threading.Thread(target=event.wait, args=(60,), name="mine", daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def shared():
    event = threading.Event()
    thread = waiting(event)
    yield
    event.set()
    thread.join()


def test_a_thread_of_a_module_is_its_own(shared):
    pass


def test_a_late_thread():
    threading.Timer(0.1, lambda: None).start()


def test_a_thread():
    waiting(threading.Event())


def test_a_process():
    subprocess.Popen(["sleep", "60"])


def test_a_process_whose_parent_has_ended():
    subprocess.run([sys.executable, "-c", ORPHAN], check=True)


def test_nothing(shared):
    pass


@pytest.fixture(scope="module")
def shell():
    with subprocess.Popen(["sh"], stdin=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.write("kill $!\\n")
        process.stdin.close()


def test_what_a_process_of_a_module_starts_is_its_own(shell):
    shell.stdin.write("sleep 60 &\\n")
    shell.stdin.flush()
"""


def test_what_a_test_leaves_behind_fails_it(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_them.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-q",
               "--rootdir", str(tmp_path), str(tmp_path)]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "7 passed, 3 errors" in done.stdout, done.stdout
    left = re.findall(r"ERROR at teardown of (\w+).*?\nleft behind: (\S+) (.*)", done.stdout)
    assert [(test, kind) for test, kind, _ in left] == list(
        zip(LEAKING, ("thread", "process", "process"), strict=True)
    )
    assert left[0][2] == "mine (daemon)"
    assert all(said.endswith("sleep 60") for _, _, said in left[1:])
