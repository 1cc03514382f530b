"""Remember a choice that took time to make, for other processes of the same user and machine."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any


class Choice:
    """The file that holds a choice, or none.

    Args:
        file: of JSON; None: nothing is remembered.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def read(self) -> Any:
        """Return what was chosen, if it still holds."""
        if self._file is None:
            return None
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            age_s, holds_s = time.time() - content["made_at"], content["holds_s"]
            return content["choice"] if holds_s is None or 0 <= age_s < holds_s else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, choice: Mapping[str, str], holds_s: float | None = None) -> None:
        """Remember what was chosen, unless it cannot be written.

        Args:
            choice: plain data.
            holds_s: seconds until it is forgotten; None: it is not.
        """
        if self._file is None:
            return
        text = json.dumps({"choice": choice, "made_at": time.time(), "holds_s": holds_s})
        with suppress(OSError):
            part = self._file.with_suffix(f".{os.getpid()}")
            part.write_text(text, encoding="utf-8")
            part.replace(self._file)


@contextmanager
def remembered_choice(key: Any) -> Iterator[Choice]:
    """Yield the memory of a choice; one process at a time has it.

    Two that time something would slow each other, and the second can use what the first found. The
    files are in a folder of the user's own below the temporary folder.

    Args:
        key: plain data that the choice depends on.
    """
    try:
        import fcntl
    except ImportError:  # another system than Linux or macOS
        yield Choice(None)
        return
    folder = Path(tempfile.gettempdir()) / f"augrank-engines-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():  # somebody else's
            raise PermissionError
        file = folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"
        with ExitStack() as opened:
            lock = opened.enter_context(file.with_suffix(".lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = opened.pop_all()
    except OSError:
        yield Choice(None)
        return
    with held:
        yield Choice(file)
