"""Where a download may go: to public addresses, and to the very address that was checked.

A list of URLs is other people's text, and the machine that reads it often sits inside a network
that trusts it. So a host's addresses are looked up once for each connection, every one of them must
be public, and the connection is made to one of these: a name that leads elsewhere a moment later
(DNS rebinding) changes nothing. Redirects go the same way. TLS and the Host header keep the name.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network, ip_address

import httpcore
import httpx

SCHEMES = ("http", "https")
_UNICAST = IPv6Network("2000::/3")  # all of IPv6 that is handed out; no mapped, no local address
_NAT64 = IPv6Network("64:ff9b::/96")  # an IPv4 address, as networks without IPv4 write it
_KEEP_S = 5.0  # an idle connection


class Broken(Exception):
    """The image cannot be had: asking again would not help."""


class Failed(Exception):
    """The image cannot be had for now.

    Args:
        reason: in words.
        wait_s: how long the server asks to wait, where it says so.
    """

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet's, and no tunnel to another."""
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast
    if ip in _NAT64:
        return is_public(str(IPv4Address(ip.packed[-4:])))
    return ip in _UNICAST and ip.is_global and ip.sixtofour is None


@dataclass(frozen=True)
class Guard:
    """Which addresses may be asked; ``allow_loopback`` is for tests with a server of their own."""

    allow_loopback: bool = False

    def allows(self, address: str) -> bool:
        """Whether this address may be asked."""
        return is_public(address) or (self.allow_loopback and ip_address(address).is_loopback)

    async def addresses(self, host: str, port: int) -> list[str]:
        """All addresses of a host, in the system's order.

        Raises:
            Broken: one of them is not public, or this is no name of a host.
            Failed: the name has none.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise Failed(f"the name {host} was not found: {error.strerror}") from error
        except UnicodeError as error:
            raise Broken(f"{host} is no name of a host") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            if not self.allows(address):
                raise Broken(f"{host} is at {address}, which is not a public address")
        return addresses


def check_url(text: str) -> httpx.URL:
    """A URL that may be asked, as far as can be told without looking up its host.

    Raises:
        Broken: it may not.
    """
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise Broken(f"this is not a URL: {error}") from error
    if url.scheme not in SCHEMES:
        raise Broken(f"expected a URL of http or https, got {url.scheme or 'no scheme'}")
    if url.userinfo:
        raise Broken("the URL holds a user name or password: these are not sent")
    if not url.host:
        raise Broken("the URL has no host")
    return url


class CheckedTransport(httpx.AsyncBaseTransport):
    """Connections of an ``httpx.AsyncClient`` to checked addresses only, never through a proxy.

    httpx's own transport takes no network backend; this one hands requests to the same pool. The
    pool's errors come as they are: NetworkError, TimeoutException, ProtocolError of ``httpcore``.

    Args:
        guard: which addresses may be asked.
        connections: at most so many at a time.
        ssl_context: by default httpx's, which reads SSL_CERT_FILE and SSL_CERT_DIR.
    """

    def __init__(
        self, guard: Guard, connections: int, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or httpx.create_ssl_context(),
            max_connections=connections,
            keepalive_expiry=_KEEP_S,
            network_backend=_CheckedBackend(guard),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request without a body."""
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                request.method, url, headers=request.headers.raw, extensions=request.extensions
            )
        )
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._answer.aclose()


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the first address that answers of those that were checked."""

    def __init__(self, guard: Guard) -> None:
        self._guard, self._inner = guard, httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = Failed(f"the name {host} has no address")
        for address in await self._guard.addresses(host, port):
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)
