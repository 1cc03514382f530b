"""Deploy on TorchServe: versions of a model side by side.

    registered ─ workers READY ─ asked for its smoke image ─ switch ─ default ─ older ones go

The service asks a version by its name, so that it alone decides when another one answers: there is
no moment at which a request could meet the wrong one, or none. The version before keeps its workers
until the next promotion: a rollback takes about as long as a request, and other processes may ask
it for as long. They follow with ``deployed``, and remove nothing.
"""

import json
import logging
import secrets
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

from augrank.bundle.spec import Bundle
from augrank.errors import AugrankError
from augrank.serving.model_folder import MANIFEST, ModelConfig, lay_out
from service.backends.remote.torchserve_management import TorchServeManagement, Version
from service.errors import BackendFailed, BackendUnavailable

log = logging.getLogger("augrank.service")
VERSION_LENGTH = 12  # characters of a bundle's digest


class Remote(Protocol):
    """A backend of a server."""

    def verify(self) -> None:
        """Check that the server answers with the backend's bundle."""

    def drain(self) -> None:
        """Wait until no request is under way."""


RemoteT = TypeVar("RemoteT", bound=Remote)
MakeBackend = Callable[[Bundle[Any], str | None], RemoteT]  # of a bundle and a version's name


class TorchServeDeployment(Generic[RemoteT]):
    """The versions of one model of a TorchServe: a ``Deployment``. Promotions come one at a time.

    Args:
        model: its name there.
        management: the server's management API; None: its models cannot be changed.
        make: makes a backend.
        folder: for archives on their way, which TorchServe can read under the same path; None: the
            system's, if it runs on this machine.
    """

    def __init__(
        self,
        model: str,
        management: TorchServeManagement | None,
        make: MakeBackend[RemoteT],
        folder: Path | None = None,
    ) -> None:
        self._model, self._management, self._make = model, management, make
        self._folder = folder
        self._asked: dict[str, RemoteT] = {}  # what this process has asked last, by version
        self._current = ""  # the version that answers here

    def deployed(self, bundle: Bundle[Any]) -> RemoteT:
        """Return the backend of a bundle that the server answers with; see ``Deployment``.

        With the management API, it is deployed if it is not: a TorchServe that was started again
        has forgotten what was promoted.
        """
        if self._management is None:
            backend = self._make(bundle, None)
            backend.verify()
            return backend
        versions = self._management.versions()
        version, backend = self._find(bundle, versions) or self._register(bundle, versions[0])
        self._asked[version], self._current = backend, version
        return backend

    def promote(self, bundle: Bundle[Any], switch: Callable[[RemoteT], object]) -> None:
        """Deploy a bundle beside the one that answers, then in its place; see ``Deployment``."""
        management = self._managed()
        before, *others = management.versions()
        found = self._find(bundle, [before, *others])
        version, backend = found if found is not None else self._register(bundle, before)
        switch(backend)
        # The one before stays, for a rollback, and for processes that have not followed yet. It is
        # not the default one if a promotion ended before that was set.
        kept = {version, before.name, self._current}
        self._asked[version], self._current = backend, version
        try:
            management.set_default(version)
            for other in others:
                if other.name not in kept:
                    self._unregister(other.name)
        except AugrankError as error:
            log.warning("version %s answers; TorchServe was not tidied up: %s", version, error)

    def _managed(self) -> TorchServeManagement:
        if self._management is None:
            raise BackendUnavailable(
                "models of this server cannot be changed",
                expected="the address of TorchServe's management API",
                got="none",
                remedy="Start the service with --backend-management http://127.0.0.1:8081.",
            )
        return self._management

    def _find(self, bundle: Bundle[Any], versions: list[Version]) -> tuple[str, RemoteT] | None:
        """Return the version that answers with a bundle, and its backend.

        A version that was registered here is named after its bundle; others are asked.
        """
        name = version_of(bundle)
        for version in sorted(versions, key=lambda each: each.name != name):
            if version.name != name and len(version.name) == VERSION_LENGTH:
                continue  # another bundle's
            if not version.ready:
                if version.name != name:
                    continue
                self._managed().scale(name, max(1, version.config.minWorkers))
            backend = self._make(bundle, version.name)
            with suppress(BackendUnavailable):
                backend.verify()
                return version.name, backend
        return None

    def _register(self, bundle: Bundle[Any], like: Version) -> tuple[str, RemoteT]:
        """Register a bundle as another version with as many workers; return its backend."""
        management, version = self._managed(), version_of(bundle)
        workers = max(1, like.config.minWorkers)
        config = replace(like.config, minWorkers=workers, maxWorkers=workers)
        with _archive(bundle, self._model, config, self._folder) as file:
            management.register(f"file://{quote(str(file))}", workers)
        backend = self._make(bundle, version)
        try:
            backend.verify()
        except AugrankError as error:
            with suppress(AugrankError):
                management.unregister(version)
            raise BackendFailed(
                f"the new version of {self._model} does not answer as it should",
                expected=f"{bundle.spec.name} {bundle.version}",
                got=error.problem,
                remedy="The one before still answers. Look at the server's log.",
            ) from error
        return version, backend

    def _unregister(self, version: str) -> None:
        """Forget a version, after the last request that this process has sent it."""
        if (backend := self._asked.pop(version, None)) is not None:
            backend.drain()
        self._managed().unregister(version)


def version_of(bundle: Bundle[Any]) -> str:
    """Return the version under which TorchServe knows a bundle that was registered here."""
    return bundle.digest[:VERSION_LENGTH]


@contextmanager
def _archive(
    bundle: Bundle[Any], model: str, config: ModelConfig, folder: Path | None
) -> Iterator[Path]:
    """Pack a bundle as a ``.mar`` of its own version; it exists during the block.

    TorchServe copies it into its store under its name, where there must be none of that name.
    """
    with tempfile.TemporaryDirectory(prefix="augrank-deploy-", dir=folder) as scratch:
        unpacked = Path(scratch) / "model"
        lay_out(bundle.directory, unpacked, model, config)
        manifest = json.loads((unpacked / MANIFEST).read_text(encoding="utf-8"))
        manifest["model"]["modelVersion"] = version_of(bundle)
        (unpacked / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        file = Path(scratch) / f"{model}-{version_of(bundle)}-{secrets.token_hex(3)}.mar"
        with zipfile.ZipFile(file, "w") as archive:
            for path in sorted(unpacked.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(unpacked).as_posix())
        if folder is not None:  # for a TorchServe of another user
            Path(scratch).chmod(0o755)
        yield file
