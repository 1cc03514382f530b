"""TorchServe's keys: a file that it writes, and renews when its management API is asked to."""

import json
import threading
from pathlib import Path
from typing import Literal

import httpx

from augrank.errors import reason
from service.errors import BackendUnavailable

KeyKind = Literal["inference", "management"]


class TorchServeKeys:
    """The keys of a server that asks for them. Thread-safe.

    A key is valid for 60 minutes, unless the server is configured otherwise. Then TorchServe makes
    another one, for whoever knows the third key of the file, which does not expire.

    Args:
        file: ``key_file.json``, in the folder that TorchServe was started in.
        management_url: where keys are renewed; None: somebody else renews them.
    """

    def __init__(self, file: Path, management_url: str | None) -> None:
        self._file, self._management_url = file, management_url
        self._lock = threading.Lock()
        self._keys = self._read()

    def header(self, kind: KeyKind) -> dict[str, str]:
        """Return the header that a request needs."""
        return {"Authorization": f"Bearer {self._keys[kind]}"}

    def renew(self, kind: KeyKind, rejected: dict[str, str], client: httpx.Client) -> None:
        """Take the file's key if it is another one than was rejected; else have one made.

        Args:
            kind: of the key.
            rejected: the header that the server did not accept.
            client: of the server.

        Raises:
            BackendUnavailable: there is no other key.
        """
        with self._lock:
            self._keys = self._read()
            if self.header(kind) != rejected:
                return
            if self._management_url is not None:
                client.get(
                    f"{self._management_url}/token",
                    params={"type": kind},
                    headers={"Authorization": f"Bearer {self._keys['API']}"},
                ).raise_for_status()
                self._keys = self._read()
            if self.header(kind) == rejected:
                raise BackendUnavailable(
                    f"TorchServe does not accept its {kind} key",
                    expected=f"a valid key in {self._file.name}",
                    got="one that is refused, or has expired",
                    remedy="Give --backend-management too, where keys are renewed; or start the "
                    "server with augrank serve --no-auth.",
                )

    def _read(self) -> dict[str, str]:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            return {kind: content[kind]["key"] for kind in ("inference", "management", "API")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackendUnavailable(
                f"TorchServe's keys cannot be read: {self._file.name}",
                expected="the key_file.json of a running server",
                got=reason(error),
            ) from error
