"""A readiness proxy in front of a model server, closed while the model cannot answer.

TorchServe listens, and reports itself healthy, long before its workers can answer. A platform that
sends traffic as soon as ``/ping`` returns 200 therefore connects to the proxy: while closed, it
answers every request with 503; while open, it passes bytes both ways and does not parse them.

    client ── proxy ──┬── closed: 503
                      └── open: model server, byte for byte
"""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field

CHUNK_BYTES = 256 * 1024
MAX_HEAD_BYTES, HEAD_TIMEOUT_S = 64 * 1024, 5.0
LINGER_S = 2.0  # for a rejected client to finish sending: it does not read the answer before that
QUIET_S = 0.3  # longer than any pause between the parts of one answer
DRAIN_POLL_S = 0.05
Address = tuple[str, int]


@dataclass(eq=False)
class _Connection:
    """A client's connection, forwarded to the server."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]  # to the client, to the server
    request_last: bool = False  # whether the last bytes came from the client
    last_bytes_at: float = field(default_factory=time.monotonic)

    @property
    def idle(self) -> bool:
        """Whether no answer is pending."""
        return not self.request_last and time.monotonic() - self.last_bytes_at > QUIET_S

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


class ReadinessProxy:
    """A TCP proxy that starts closed. All methods run in one event loop."""

    def __init__(self) -> None:
        self._upstream: Address | None = None
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests are forwarded."""
        return self._upstream is not None

    async def listen(self, host: str, port: int) -> int:
        """Start listening and return the port, chosen by the system if 0 was given."""
        self._server = await asyncio.start_server(self._connect, host, port)
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    def open(self, upstream: Address) -> None:
        """Forward new connections to this address."""
        self._upstream = upstream

    def close(self) -> None:
        """Reject requests, also on idle connections; pending answers are still forwarded."""
        self._upstream = None
        self._close_idle()

    async def drain(self, timeout_s: float) -> bool:
        """Close, wait for every pending answer, and stop listening.

        Returns:
            Whether all of them were sent in time.
        """
        self.close()
        deadline = time.monotonic() + timeout_s
        while self._connections and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_POLL_S)
            self._close_idle()
        finished = not self._connections
        for connection in list(self._connections):
            connection.close()
        if self._server is not None:
            self._server.close()
        return finished

    def _close_idle(self) -> None:
        for connection in [each for each in self._connections if each.idle]:
            connection.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            if self._upstream is None:
                await _refuse(reader, writer)
            else:
                await self._forward(self._upstream, reader, writer)
        writer.close()

    async def _forward(
        self, upstream: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            answers, requests = await asyncio.open_connection(*upstream)
        except OSError:
            await _refuse(reader, writer)
            return
        connection = _Connection((writer, requests))
        self._connections.add(connection)
        sending = asyncio.create_task(_pipe(reader, requests, connection, request=True))
        try:
            await _pipe(answers, writer, connection, request=False)
        finally:
            sending.cancel()
            self._connections.discard(connection)
            connection.close()


async def _pipe(
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    connection: _Connection,
    *,
    request: bool,
) -> None:
    """Copy bytes until the source ends, then end the sink."""
    with contextlib.suppress(ConnectionError):
        while data := await source.read(CHUNK_BYTES):
            connection.request_last, connection.last_bytes_at = request, time.monotonic()
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request with 503."""
    async with asyncio.timeout(HEAD_TIMEOUT_S):
        head = b""
        while b"\r\n\r\n" not in head and len(head) < MAX_HEAD_BYTES:
            data = await reader.read(CHUNK_BYTES)
            if not data:
                return
            head += data
    message = "the model is not ready. Try again in a moment."
    error = {"code": "not_ready", "status": 503, "message": message}
    body = json.dumps({"error": error}).encode()
    lines = [
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Retry-After: 1",
        "Connection: close",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    writer.write_eof()
    async with asyncio.timeout(LINGER_S):
        while await reader.read(CHUNK_BYTES):
            pass
