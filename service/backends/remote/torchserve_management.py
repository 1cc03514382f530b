"""TorchServe's management API: the versions of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from augrank.errors import reason
from augrank.serving.model_folder import ModelConfig
from augrank.serving.torchserve import READY_TIMEOUT_S
from service.backends.remote.torchserve import KEY_FAULTS, server_url
from service.backends.remote.torchserve_keys import TorchServeKeys
from service.errors import BackendFailed, BackendUnavailable

READY = "READY"
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Version:
    """A registered version of a model."""

    name: str
    config: ModelConfig
    ready: int  # workers that can answer

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Version":
        """Read a description of TorchServe's."""
        workers = [each for each in described.get("workers", []) if each.get("status") == READY]
        config = ModelConfig(
            minWorkers=int(described["minWorkers"]),
            maxWorkers=int(described["maxWorkers"]),
            batchSize=int(described["batchSize"]),
            maxBatchDelay=int(described["maxBatchDelay"]),
            responseTimeout=int(described.get("responseTimeout") or 60),
        )
        return cls(str(described["modelVersion"]), config, len(workers))


class TorchServeManagement:
    """The management API of one server, about one model. Thread-safe.

    Args:
        url: of the API, such as ``http://127.0.0.1:8081``.
        model: its name there.
        keys: if the server asks for them.
    """

    def __init__(self, url: str, model: str, keys: TorchServeKeys | None = None) -> None:
        self._url, self._model, self._keys = server_url(url), model, keys
        self._client = httpx.Client(trust_env=False, timeout=TIMEOUT_S)

    def versions(self) -> list[Version]:
        """Return the registered versions, the default one first.

        Raises:
            BackendUnavailable: the API cannot be reached, or does not know the model.
        """
        (default,) = self._ask("GET", f"/models/{self._model}").json()
        described = self._ask("GET", f"/models/{self._model}/all").json()
        first = Version.of(default)
        return [first] + [
            version for each in described if (version := Version.of(each)).name != first.name
        ]

    def register(self, archive: str, workers: int) -> None:
        """Register another version, and wait until its workers are READY.

        Args:
            archive: URL of the ``.mar``, which names its version.
            workers: that it starts with.

        Raises:
            BackendFailed: TorchServe does not take it, or it did not start.
        """
        query = {
            "url": archive,
            "model_name": self._model,
            "initial_workers": str(workers),
            "synchronous": "true",
        }
        self._ask("POST", "/models", query, timeout_s=READY_TIMEOUT_S)

    def scale(self, version: str, workers: int) -> None:
        """Give a version its workers, and wait until they are READY.

        Raises:
            BackendFailed: they did not start.
        """
        query = {
            "min_worker": str(workers),
            "max_worker": str(workers),
            "synchronous": "true",
        }
        self._ask("PUT", f"/models/{self._model}/{version}", query, timeout_s=READY_TIMEOUT_S)

    def set_default(self, version: str) -> None:
        """Let a version answer those who name none."""
        self._ask("PUT", f"/models/{self._model}/{version}/set-default")

    def unregister(self, version: str) -> None:
        """Stop a version's workers, and forget it."""
        self._ask("DELETE", f"/models/{self._model}/{version}")

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> httpx.Response:
        response = self._send(method, path, query, timeout_s)
        if self._keys is not None and _kind(response) in KEY_FAULTS:
            used = self._keys.header("management")
            self._keys.renew("management", used, self._client)
            response = self._send(method, path, query, timeout_s)
        if response.is_success:
            return response
        if _kind(response) in KEY_FAULTS or response.status_code == httpx.codes.NOT_FOUND:
            raise BackendUnavailable(
                f"TorchServe's management API does not say anything about {self._model}",
                expected="a key that fits, and a model of that name",
                got=_message(response),
                remedy="Give --backend-keys key_file.json; look at the name with GET /models.",
            )
        if response.status_code == httpx.codes.METHOD_NOT_ALLOWED:
            raise BackendUnavailable(
                "TorchServe does not let its models be changed",
                expected="a server with its model API enabled",
                got=_message(response),
                remedy="Start it with augrank serve --management-port 8081, or with "
                "torchserve --enable-model-api.",
            )
        raise BackendFailed(
            f"TorchServe's management API failed at {method} {path}",
            expected="a version of the model that starts",
            got=f"{response.status_code}: {_message(response)}",
            remedy="Its log, logs/model_log.log, has the reason.",
        )

    def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, timeout_s: float
    ) -> httpx.Response:
        headers = self._keys.header("management") if self._keys is not None else {}
        try:
            return self._client.request(
                method, self._url + path, params=query, headers=headers, timeout=timeout_s
            )
        except httpx.TransportError as error:
            raise BackendUnavailable(
                f"TorchServe's management API at {self._url} cannot be reached",
                expected="a running server whose management port this is",
                got=reason(error),
                remedy="Start it with augrank serve --management-port, and give its address: "
                "--backend-management http://127.0.0.1:8081.",
            ) from error


def _kind(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return ""
    return str(body.get("type", "")) if isinstance(body, dict) else ""


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200] or response.reason_phrase
