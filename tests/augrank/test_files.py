import errno
import os
import shutil
from pathlib import Path

import pytest

from augrank.errors import BadRequest, DataError
from augrank.files import (
    LOCK,
    atomic_write,
    check_output_file,
    check_output_folder,
    disk_errors,
    exclusive_lock,
    read_json,
    write_json,
)
from tests.support.full_disk import full_disk

REMEDY = "Give another --out."


@pytest.fixture
def settled(monkeypatch) -> list[str]:
    """Record the names of fsynced files and of renames, in order."""
    seen: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted(descriptor: int) -> None:
        seen.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        seen.append(f"rename to {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", renamed)
    return seen


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, settled):
    folder = tmp_path / "run"
    write_json(folder / "a.json", {"b": 1})
    assert settled == [f".a.{os.getpid()}.part.json", "rename to a.json", "run"]
    assert read_json(folder / "a.json") == {"b": 1}


def test_many_small_files_need_not_wait(tmp_path, settled):
    with atomic_write(tmp_path / "a.jpg", fsync=False) as temporary:
        temporary.write_bytes(b"x")
    assert settled == ["rename to a.jpg"]
    assert (tmp_path / "a.jpg").read_bytes() == b"x"


def test_a_full_disk_leaves_what_was_there(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"of": "before"})
    with (
        full_disk(100),
        pytest.raises(
            DataError, match=r"cannot be written: expected .*, got File too large\. Give"
        ),
        disk_errors(tmp_path, REMEDY),
    ):
        write_json(file, {"much": "x" * 1000})
    assert read_json(file) == {"of": "before"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_reported_with_its_folder(code):
    with (
        pytest.raises(DataError, match=f"runs/a cannot be written: .*{os.strerror(code)}"),
        disk_errors(Path("runs/a"), REMEDY),
    ):
        raise OSError(code, os.strerror(code))
    with (
        pytest.raises(DataError, match=r"^/elsewhere/b cannot be written"),
        disk_errors(Path("runs/a"), REMEDY),
    ):
        raise OSError(code, os.strerror(code), "/elsewhere/b")


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    with (
        pytest.raises(DataError, match=r"/proc/x/y cannot be written.*Give another --out"),
        disk_errors(Path("/proc/x/y"), REMEDY),
        exclusive_lock(Path("/proc/x/y") / LOCK, "busy"),
    ):
        pass
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match="got Not a directory"),
        disk_errors(tmp_path / "file" / "run", REMEDY),
        exclusive_lock(tmp_path / "file" / "run" / LOCK, "busy"),
    ):
        pass
    with (
        pytest.raises(DataError, match=f"^{tmp_path} cannot be written: .*Is a directory"),
        disk_errors(tmp_path.parent, REMEDY),
        atomic_write(tmp_path) as temporary,
    ):
        temporary.write_text("x")


def test_other_errors_are_not_blamed_on_the_disk():
    with pytest.raises(FileNotFoundError), disk_errors(Path("runs/a"), REMEDY):
        Path("/no/such/image.png").read_bytes()
    with pytest.raises(ConnectionResetError), disk_errors(Path("runs/a"), REMEDY):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_a_lock_is_held_by_one_holder_until_its_block_ends(tmp_path):
    file = tmp_path / "run" / LOCK
    with exclusive_lock(file, "the run is busy"):
        with (
            pytest.raises(BadRequest, match=r"^the run is busy\. Wait for it, or stop it, or"),
            exclusive_lock(file, "the run is busy", error=BadRequest),
        ):
            pass
        assert file.is_file()
    with exclusive_lock(file, "the run is busy"):
        assert file.read_bytes() == b""


def test_output_is_checked_before_the_work(tmp_path, monkeypatch):
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("kept")
    folder.mkdir()
    check_output_file(file)
    check_output_file(folder / "new" / "deep" / "file")
    check_output_folder(folder)
    check_output_folder(folder / "new" / "deep")
    assert list(folder.iterdir()) == []
    with pytest.raises(DataError, match=r"--out .*folder is a folder: expected a file"):
        check_output_file(folder)
    with pytest.raises(DataError, match=r"--document .*file is a file: expected a folder"):
        check_output_folder(file, "--document")
    for check in (check_output_file, check_output_folder):
        with pytest.raises(DataError, match=r"cannot be written: .*file is a file"):
            check(file / "below" / "it")
    with pytest.raises(DataError, match="is not a file"):
        check_output_file(Path("/dev/null"))
    (tmp_path / "link").symlink_to("nothing")
    for check, path in (
        (check_output_file, tmp_path / "link"),
        (check_output_folder, tmp_path / "link"),
        (check_output_file, tmp_path / "link" / "below" / "it"),
    ):
        with pytest.raises(DataError, match="link is a link to nothing, which does not exist"):
            check(path)
    with pytest.raises(DataError, match="cannot be used: got File name too long"):
        check_output_file(tmp_path / ("x" * 300))
    with pytest.raises(DataError, match="cannot be used: got File name too long"):
        check_output_file(tmp_path / ("x" * 250))  # a temporary name is longer
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match="the disk is full"):
        check_output_file(folder / "new")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(DataError, match=f"expected write access to {tmp_path}\\."):
        check_output_file(file)  # which is replaced, not written
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match=r"expected write access to .*folder. Give another --out"):
        check_output_folder(folder / "new")
    assert file.read_text() == "kept"


@pytest.mark.parametrize("content", ["", "{", "[1]", "\xff", "[" * 100_000])
def test_json_that_cannot_be_read_is_named(tmp_path, content):
    file = tmp_path / "run.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=r"run\.json (cannot be read|is damaged).*Train again"):
        read_json(file, "Train again.")
    with pytest.raises(DataError, match=r"none\.json cannot be read.*No such file"):
        read_json(tmp_path / "none.json")
