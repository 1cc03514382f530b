"""The service as a process that is killed and started again on the same port."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.service.server import free_port, start_service, stop


class KillableService:
    """``python -m service``, from the start of a block to its end.

    Args:
        bundle: that it serves.
        folder: for its database, images and log.
        settings: by name, as of ``ServiceSettings``.
    """

    def __init__(self, bundle: Path, folder: Path, settings: Mapping[str, object]) -> None:
        self._bundle, self._folder, self._settings = bundle, folder, dict(settings)
        self._port = free_port()
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> "KillableService":
        self._start()
        return self

    def __exit__(self, *exception: object) -> None:
        stop(self._process)

    @property
    def root(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._port}"

    def kill_and_start(self) -> None:
        """End it with SIGKILL, start it again, and wait until it answers.

        Raises:
            DataError: it does not start with the files that it left.
        """
        self._process.kill()
        self._process.wait()
        self._start()

    def _start(self) -> None:
        self._process = start_service([self._bundle], self._folder, self._port, self._settings)
