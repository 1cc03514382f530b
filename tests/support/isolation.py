"""Run a program where no network is, and note what it asks for.

As a script: ``python isolation.py LOG COMMAND...`` runs a command in a new network namespace that
has a loopback interface only, with a name server that knows no name and writes each question to
LOG. Linux alone, as root or where users may have namespaces.
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

_NEW_MOUNTS, _NEW_NETWORK, _BIND, _PRIVATE = 0x00020000, 0x40000000, 0x1000, 0x44000
_SET_FLAGS, _UP = 0x8914, 0x1
NO_NAMESPACES = 77  # the script's exit status


def isolated(log: Path, command: list[str], **options) -> subprocess.CompletedProcess[str]:
    """Run a command without a network; the names that it looks up are in ``log``.

    Args:
        log: a file that this function writes.
        command: the program and its arguments.
        options: of ``subprocess.run``.
    """
    words = [sys.executable, __file__, str(log), *command]
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


def _isolate(resolver: Path) -> None:
    """Leave the network of the machine; raises OSError if that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if getattr(libc, name)(*arguments):
            raise OSError(ctypes.get_errno(), name)

    call("unshare", _NEW_MOUNTS | _NEW_NETWORK)
    call("mount", None, b"/", None, _PRIVATE, None)
    call("mount", str(resolver).encode(), b"/etc/resolv.conf", None, _BIND, None)
    with socket.socket() as control:
        request = struct.pack("16sh14x", b"lo", _UP)
        fcntl.ioctl(control, _SET_FLAGS, request)


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


def main(log: Path, command: list[str]) -> int:
    """Run the command, and return its status."""
    log.write_text("")
    resolver = log.with_suffix(".resolv")
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    try:
        _isolate(resolver)
        _serve_names(log)
    except OSError as error:
        print(error, file=sys.stderr)
        return NO_NAMESPACES
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
