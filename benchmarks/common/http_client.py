"""A minimal HTTP client that leaves the cores to the server it shares them with.

Requests are sent as ready-made bytes over a kept-alive socket; responses are parsed in C by
httptools.
"""

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import httptools

TIMEOUT_S, RECEIVE_BYTES = 60.0, 65_536
OK, FAILED = 200, 0  # FAILED: no response at all


@dataclass(frozen=True)
class Payload:
    """One request, ready to send."""

    data: bytes
    headers: Mapping[str, str]


class LoadClient(Protocol):
    """A client that sends one request at a time and waits for the response."""

    def post(self, body: Payload) -> tuple[int, bytes]:
        """Return status and content; FAILED and no content if no response came."""

    def close(self) -> None:
        """Close the connection."""


class LoadTarget(Protocol):
    """A service under load."""

    def client(self) -> LoadClient:
        """Return a new client; every thread of a load has its own."""


@dataclass(frozen=True)
class HttpEndpoint:
    """The URL for requests, and the parser of its responses."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    # Turns a response's bytes into the answer's JSON object; some servers wrap it.
    unwrap: Callable[[bytes], dict[str, Any]] = json.loads
    process: int | None = None  # of TorchServe, on this machine

    def client(self) -> "HttpClient":
        """Return a client with its own connection."""
        return HttpClient(self)


class HttpClient:
    """One kept-alive connection, reopened if the server has closed it.

    Args:
        endpoint: to be asked.
        timeout_s: for a connection, and for each part of a response.
    """

    def __init__(self, endpoint: HttpEndpoint, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        parts = urlsplit(endpoint.url)
        self._address = (parts.hostname or "", parts.port or 80)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": parts.netloc, **endpoint.headers}
        self._head = f"POST {path} HTTP/1.1\r\n" + _header_lines(headers)
        self._socket: socket.socket | None = None

    def post(self, body: Payload) -> tuple[int, bytes]:
        """Return status and content; FAILED and no content if no response came."""
        length = {"Content-Length": str(len(body.data))}
        head = self._head + _header_lines({**body.headers, **length})
        message = head.encode() + b"\r\n" + body.data
        for _ in range(2):  # the server may have closed a kept-alive connection meanwhile
            new_connection = self._socket is None
            try:
                return self._exchange(message)
            except (OSError, httptools.HttpParserError):
                self.close()
                if new_connection:
                    break
        return FAILED, b""

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, message: bytes) -> tuple[int, bytes]:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(message)
        response = _Response()
        parser = response.parser = httptools.HttpResponseParser(response)
        while not response.complete:
            received = self._socket.recv(RECEIVE_BYTES)
            if not received:
                raise ConnectionResetError
            parser.feed_data(received)
        if not response.kept_alive:
            self.close()
        return parser.get_status_code(), b"".join(response.parts)


class _Response:
    """The callbacks that httptools calls while it parses."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.complete = self.kept_alive = False
        self.parser: httptools.HttpResponseParser | None = None

    def on_body(self, part: bytes) -> None:
        """Keep a part of the content."""
        self.parts.append(part)

    def on_message_complete(self) -> None:
        """Record the end of the response; afterwards the parser has forgotten its headers."""
        assert self.parser is not None
        self.complete, self.kept_alive = True, self.parser.should_keep_alive()


def _header_lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
