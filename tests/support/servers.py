"""An HTTP server on loopback that leaves no threads or connections behind."""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LocalServer(ThreadingHTTPServer):
    """A server with a thread for each connection, all of which end with the server."""

    daemon_threads = False  # so that server_close joins them
    request_queue_size = 128  # with 5, a connection waits for seconds if the thread is late

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self._connections: set[socket.socket] = set()
        # A short poll, since shutdown waits for one.
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def end(self) -> None:
        """Close the port and all connections after the answers in progress are written."""
        self.shutdown()
        self._thread.join()
        for connection in list(self._connections):
            with suppress(OSError):  # its own thread has closed it meanwhile
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that disconnects is not an error
            super().handle_error(request, client_address)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[LocalServer]:
    """Run a server with this handler until the block ends."""
    server = LocalServer(handler)
    try:
        yield server
    finally:
        server.end()
