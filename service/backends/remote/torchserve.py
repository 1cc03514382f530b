"""TorchServe's inference API, as a ``Transport``."""

import base64
import json
from typing import Any
from urllib.parse import urlsplit

import httpx

from augrank.errors import BadRequest, ImageTooLarge, reason
from augrank.serving.torchserve import MAX_REQUEST_BYTES
from service.backends.remote.torchserve_keys import TorchServeKeys
from service.backends.remote.transport import CONNECTIONS, Fields, Patience, Refused
from service.errors import BackendFailed, BackendUnavailable

CONNECT_S, ANSWER_S = 3.0, 65.0  # TorchServe itself gives up after 60 s
# How long a request is tried again: while the server starts again, while its queue is full.
UNREACHABLE_S, BUSY_S = 2.0, 15.0
UNREACHABLE = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
MAX_HEADER = 4000  # characters of fields; Netty takes 8 KB of headers
FIELDS_HEADER, RAW_TYPE, JSON_TYPE = (
    "X-Augrank-Fields",
    "application/octet-stream",
    "application/json",
)
KEY_FAULTS = ("InvalidKeyException", "KeyTimeOutException")
NOT_SERVED = ("ModelNotFoundException", "ModelVersionNotFoundException")


class TorchServeTransport:
    """Predictions of one model of a TorchServe. Thread-safe.

    Inference changes nothing on the server, so a request is sent again if the connection failed or
    the server was too busy; not if no answer came in time.

    Args:
        url: of the server, such as ``http://127.0.0.1:8080``.
        model: its name there.
        version: of the model there, if it is not the default one.
        keys: if the server asks for them.
        connections: requests under way at once.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: str | None = None,
        keys: TorchServeKeys | None = None,
        connections: int = CONNECTIONS,
    ) -> None:
        self._url, self._model, self._version = server_url(url), model, version
        self._keys, self._connections = keys, connections
        self._client = httpx.Client(
            trust_env=False,  # never through a proxy
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=60),
        )

    @property
    def connections(self) -> int:
        """How many requests may be under way at once."""
        return self._connections

    @property
    def where(self) -> str:
        """The server and its model, for messages."""
        version = f" version {self._version}" if self._version else ""
        return f"{self._model}{version} at {self._url}"

    def ask(self, image: bytes, fields: Fields) -> bytes:
        """Send an image; see ``Transport``."""
        content, headers = request_of(image, fields, MAX_HEADER)
        patience = Patience()
        while True:
            try:
                response = self._send(content, headers)
            except UNREACHABLE as error:
                if patience.wait(UNREACHABLE_S):
                    continue
                raise BackendUnavailable(
                    f"{self.where} cannot be reached",
                    expected="a running TorchServe",
                    got=reason(error),
                    remedy="Start it: augrank serve. What the service has kept is still answered.",
                ) from error
            if response.status_code == httpx.codes.OK:
                return response.content
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                raise self._fault(response)
            if not patience.wait(BUSY_S):
                raise BackendUnavailable(
                    f"{self.where} is too busy",
                    expected=f"a free worker within {BUSY_S:.0f} s",
                    got=_problem(response),
                    remedy="Try again in a moment, or give it more workers.",
                )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _send(self, content: bytes, headers: dict[str, str]) -> httpx.Response:
        """Send a request; with a new key or to the default version, if need be.

        Raises:
            BackendFailed: no answer came in time.
        """
        key = self._keys.header("inference") if self._keys is not None else {}
        response = self._post(content, {**headers, **key})
        if self._keys is not None and _kind(response) in KEY_FAULTS:
            self._keys.renew("inference", key, self._client)
            key = self._keys.header("inference")
            response = self._post(content, {**headers, **key})
        if self._version and _kind(response) in NOT_SERVED:
            # It was started again, with this bundle as its only version: the answer says which
            # bundle it is.
            self._version = None
            response = self._post(content, {**headers, **key})
        return response

    def _post(self, content: bytes, headers: dict[str, str]) -> httpx.Response:
        version = f"/{self._version}" if self._version else ""
        try:
            return self._client.post(
                f"{self._url}/predictions/{self._model}{version}", content=content, headers=headers
            )
        except httpx.ConnectTimeout:
            raise
        except httpx.TimeoutException as error:
            raise BackendFailed(
                f"{self.where} did not answer in time",
                expected=f"an answer within {ANSWER_S:.0f} s",
                got=type(error).__name__,
                remedy="Look at the server's log.",
            ) from error

    def _fault(self, response: httpx.Response) -> Exception:
        """Return the error that an answer of the server stands for."""
        status, kind = response.status_code, _kind(response)
        if (error := error_of(response.content)) is not None and status < 500:
            return Refused(error, status)
        if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:  # TorchServe's own, without a body
            return too_large(MAX_REQUEST_BYTES)
        if kind in KEY_FAULTS:
            return BackendUnavailable(
                f"{self.where} asks for a key",
                expected="--backend-keys key_file.json, in the folder of TorchServe",
                got=kind,
                remedy="Or start it with augrank serve --no-auth: it listens on loopback alone.",
            )
        if status == httpx.codes.NOT_FOUND:
            return BackendUnavailable(
                f"{self.where} is not served there",
                expected="an archive of the bundle, registered under its name",
                got=_problem(response),
                remedy="Deploy it: augrank serve NAME.mar.",
            )
        what = "out of memory" if status == httpx.codes.INSUFFICIENT_STORAGE else _problem(response)
        return BackendFailed(
            f"{self.where} failed at a request",
            expected="an answer",
            got=f"{status}: {what}",
            remedy="Its log has the reason.",
        )


def server_url(url: str) -> str:
    """Return the address of a server, also if that of a model's predictions is given.

    Raises:
        BadRequest: it is no URL of HTTP.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest(
            "the server's address does not fit",
            expected="http://127.0.0.1:8080",
            got=repr(url)[:80],
        )
    path = parts.path.partition("/predictions/")[0].rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def request_of(image: bytes, fields: Fields, most: int) -> tuple[bytes, dict[str, str]]:
    """Return a request's body and headers: the raw image; JSON if its fields are long.

    Args:
        image: the file.
        fields: of the request.
        most: characters of fields that a header may have.
    """
    text = json.dumps(dict(fields))
    if len(text) <= most:
        return image, {"Content-Type": RAW_TYPE, FIELDS_HEADER: text}
    body: dict[str, Any] = {"image": base64.b64encode(image).decode(), **fields}
    return json.dumps(body).encode(), {"Content-Type": JSON_TYPE}


def too_large(most_bytes: int) -> Refused:
    """Return the error of an image that a server does not take."""
    error = ImageTooLarge(
        "the image is too large for the model's server",
        expected=f"at most {most_bytes // 2**20} MB",
        got="more",
    )
    return Refused(error.to_dict()["error"], error.status)


def error_of(content: bytes) -> dict[str, Any] | None:
    """Return the error in an answer of augrank; None if it is another's."""
    try:
        body = json.loads(content)
    except ValueError:
        return None
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else None


def _kind(response: httpx.Response) -> str:
    """Return the kind of TorchServe's own errors; empty for other answers."""
    if response.is_success:
        return ""
    try:
        body = response.json()
    except ValueError:
        return ""
    return str(body.get("type", "")) if isinstance(body, dict) else ""


def _problem(response: httpx.Response) -> str:
    """Return what an error says, in one line."""
    if (error := error_of(response.content)) is not None:
        return str(error.get("message", ""))
    try:
        text = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        text = response.text
    return " ".join(text.split()) or response.reason_phrase
