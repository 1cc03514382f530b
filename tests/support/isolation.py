"""Run a program where no network is, and note what it asks for and what it writes.

As a script: ``python isolation.py FOLDER COMMAND...`` runs a command in new namespaces. Its network
has a loopback interface only, with a name server that knows no name and writes each question to
FOLDER/names. Its files are those of the machine; each one that was written, and by then perhaps
removed again, is noted in FOLDER/written. Linux alone, as root.
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_NEW_MOUNTS, _NEW_NETWORK, _BIND, _PRIVATE = 0x00020000, 0x40000000, 0x1000, 0x44000
_SET_FLAGS, _UP = 0x8914, 0x1
# fanotify(7): a group that does not block and whose queue has no limit, marked for files of a mount
# that were open for writing.
_NONBLOCK, _UNLIMITED_QUEUE = 0x2, 0x10
_MARK, _CLOSE_WRITE, _HERE = 0x1 | 0x10, 0x8, -100
_EVENT = struct.Struct("IBBHQii")
NO_NAMESPACES = 77  # the script's exit status
_RESOLVER = "timeout:30 attempts:1"  # resolv.conf(5): the longest time, for a machine under load


@dataclass(frozen=True)
class Isolated:
    """What a program did."""

    returncode: int
    stderr: str
    names: tuple[str, ...]  # that it looked up
    written: tuple[Path, ...]  # files outside of /dev and /proc


def isolated(folder: Path, command: list[str], **options) -> Isolated:
    """Run a command without a network.

    Args:
        folder: an empty one, for notes.
        command: the program and its arguments.
        options: of ``subprocess.run``.
    """
    words = [sys.executable, __file__, str(folder), *command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    names, written = (
        tuple(file.read_text().splitlines()) if file.exists() else ()
        for file in (folder / "names", folder / "written")
    )
    ours = {str(file) for file in folder.iterdir()}
    paths = tuple(Path(path) for path in dict.fromkeys(written) if path not in ours)
    return Isolated(done.returncode, done.stderr, names, paths)


def _isolate(resolver: Path) -> int:
    """Leave the network of the machine; raises OSError if that is not allowed.

    Returns:
        A file descriptor that tells which files are written in the new mount namespace.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> int:
        result: int = getattr(libc, name)(*arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), name)
        return result

    libc.fanotify_mark.argtypes = [
        ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p
    ]  # fmt: skip
    call("unshare", _NEW_MOUNTS | _NEW_NETWORK)
    call("mount", None, b"/", None, _PRIVATE, None)
    watch = call("fanotify_init", _NONBLOCK | _UNLIMITED_QUEUE, os.O_RDONLY | os.O_CLOEXEC)
    call("fanotify_mark", watch, _MARK, _CLOSE_WRITE, _HERE, b"/")
    call("mount", str(resolver).encode(), b"/etc/resolv.conf", None, _BIND, None)
    with socket.socket() as control:
        request = struct.pack("16sh14x", b"lo", _UP)
        fcntl.ioctl(control, _SET_FLAGS, request)
    return watch


def _serve_names(log: Path) -> None:
    """Answer every question with "no such name", and note it."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def answer() -> None:
        while True:
            question, client = server.recvfrom(2048)
            labels, place = [], 12
            while question[place]:
                size = question[place]
                labels.append(question[place + 1 : place + 1 + size].decode("ascii", "replace"))
                place += 1 + size
            with log.open("a") as stream:
                stream.write(".".join(labels) + "\n")
            server.sendto(question[:2] + b"\x81\x83" + question[4:], client)

    threading.Thread(target=answer, daemon=True).start()


def _note_files(watch: int, log: Path, ended: threading.Event) -> None:
    """Write the path of every written file to the log, until there is nothing more to come."""
    with log.open("a", buffering=1) as stream:
        while True:
            last = ended.is_set()
            try:
                events = os.read(watch, 1 << 16)
            except BlockingIOError:
                if last:
                    return
                time.sleep(0.05)
                continue
            place = 0
            while place < len(events):
                size, _, _, _, _, file, _ = _EVENT.unpack_from(events, place)
                if file < 0:  # the queue was full: something is not noted
                    stream.write("/too many files at once\n")
                    place += size
                    continue
                path = str(Path(f"/proc/self/fd/{file}").readlink()).removesuffix(" (deleted)")
                os.close(file)
                stream.write(f"{path}\n")
                place += size


def main(folder: Path, command: list[str]) -> int:
    """Run the command, and return its status."""
    resolver = folder / "resolv.conf"
    resolver.write_text(f"nameserver 127.0.0.1\noptions {_RESOLVER}\n")
    try:
        watch = _isolate(resolver)
        _serve_names(folder / "names")
    except OSError as error:
        print(error, file=sys.stderr)
        return NO_NAMESPACES
    ended = threading.Event()
    noting = threading.Thread(target=_note_files, args=(watch, folder / "written", ended))
    noting.start()
    status = subprocess.run(command, check=False).returncode
    ended.set()
    noting.join()
    return status


if __name__ == "__main__":
    os.environ.setdefault("RES_OPTIONS", _RESOLVER)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
