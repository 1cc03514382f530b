import errno
import os
from pathlib import Path

import pytest

from augrank.errors import DataError
from augrank.files import alone_in, read_json, room_in, whole, write_json
from tests.support.full_disk import full_disk

REMEDY = "Give another --out."


@pytest.fixture
def settled(monkeypatch) -> list[str]:
    """Names of what the disk has been waited for, in order, and of renames."""
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
    with whole(tmp_path / "a.jpg", quick=True) as temporary:
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
        room_in(tmp_path, REMEDY),
    ):
        write_json(file, {"much": "x" * 1000})
    assert read_json(file) == {"of": "before"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_takes_no_more_is_told_with_its_folder(code):
    with (
        pytest.raises(DataError, match=f"runs/a cannot be written: .*{os.strerror(code)}"),
        room_in(Path("runs/a"), REMEDY),
    ):
        raise OSError(code, os.strerror(code))
    with (
        pytest.raises(DataError, match=r"^/elsewhere/b cannot be written"),
        room_in(Path("runs/a"), REMEDY),
    ):
        raise OSError(code, os.strerror(code), "/elsewhere/b")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    with (
        pytest.raises(DataError, match=r"/proc/x/y cannot be written.*Give another --out"),
        room_in(Path("/proc/x/y"), REMEDY),
        alone_in(Path("/proc/x/y")),
    ):
        pass
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match="got Not a directory"),
        room_in(tmp_path / "file" / "run", REMEDY),
        alone_in(tmp_path / "file" / "run"),
    ):
        pass
    with (
        pytest.raises(DataError, match=f"^{tmp_path} cannot be written: .*Is a directory"),
        room_in(tmp_path.parent, REMEDY),
        whole(tmp_path) as temporary,
    ):
        temporary.write_text("x")


def test_other_errors_are_nobodys_disk():
    with pytest.raises(FileNotFoundError), room_in(Path("runs/a"), REMEDY):
        Path("/no/such/image.png").read_bytes()
    with pytest.raises(ConnectionResetError), room_in(Path("runs/a"), REMEDY):
        raise ConnectionResetError(errno.ECONNRESET, "reset")
