"""Restrict downloads to public addresses: no server-side request forgery (SSRF).

A list of URLs is untrusted text, and the machine that reads it is often inside a trusted network.
So a host's addresses are resolved once for each connection, all of them must be public, and the
connection is made to one of these: a name that resolves to another address a moment later (DNS
rebinding) has no effect. An address that a URL names itself is checked by the same rule, just
before it is connected to. Redirects are checked in the same way. TLS and the Host header still use
the name.
"""

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult

from augrank.download.threads import UnjoinedThreads
from augrank.errors import reason

SCHEMES = ("http", "https")
HOST = re.compile(rb"[A-Za-z0-9._:\[\]-]+")
_UNICAST = IPv6Network("2000::/3")  # the assigned part of IPv6: no mapped, no local address
_NAT64 = IPv6Network("64:ff9b::/96")  # IPv4 addresses, as IPv6-only networks write them
_KEEPALIVE_S = 5.0  # of an idle connection
# A resolver that does not answer holds a thread until its own time is over, such as 30 s.
_LOOK_UPS = UnjoinedThreads("look-up", 128, daemon=True)


class PermanentFailure(Exception):
    """The image cannot be downloaded; another request would not help."""


class TemporaryFailure(Exception):
    """The image cannot be downloaded now; another request may succeed.

    Args:
        reason: message for the user.
        wait_s: waiting time that the server requests (Retry-After); 0 if none.
    """

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def is_public(address: str) -> bool:
    """Return whether an IP address is public, and not a tunnel to a private one."""
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast
    if ip in _NAT64:
        return is_public(str(IPv4Address(ip.packed[-4:])))
    return ip in _UNICAST and ip.is_global and ip.sixtofour is None


@dataclass(frozen=True)
class Guard:
    """The addresses that may be contacted; ``allow_loopback`` is for tests with a local server."""

    allow_loopback: bool = False

    def allows(self, address: str) -> bool:
        """Return whether this address may be contacted."""
        return is_public(address) or (self.allow_loopback and ip_address(address).is_loopback)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Resolve a host to all its addresses, in the system's order.

        Raises:
            PermanentFailure: one of them is not public, or the host name is invalid.
            TemporaryFailure: the name does not resolve.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                _LOOK_UPS, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            )
        except socket.gaierror as error:
            raise TemporaryFailure(f"the name {host} was not found: {error.strerror}") from error
        except UnicodeError as error:
            raise PermanentFailure(f"{host} is not a host name") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            if not self.allows(address):
                raise PermanentFailure(f"{host} is at {address}, which is not a public address")
        return addresses


def check_url(text: str) -> httpx.URL:
    """Parse a URL and check everything that does not need its host's address.

    Raises:
        PermanentFailure: it may not be requested.
    """
    try:
        url = httpx.URL(text)
        host = url.host  # raises if it is not of IDNA
    except (httpx.InvalidURL, ValueError) as error:
        raise PermanentFailure(f"this is not a URL ({reason(error)})") from error
    if url.scheme not in SCHEMES:
        raise PermanentFailure(f"expected a URL of http or https, got {url.scheme or 'no scheme'}")
    if url.userinfo:
        raise PermanentFailure("the URL contains a user name or password: these are not sent")
    if not host:
        raise PermanentFailure("the URL has no host")
    if not HOST.fullmatch(url.raw_host):
        raise PermanentFailure(f"{host[:80]!r} is not the name of a host")
    if url.port is not None and not 0 < url.port < 65_536:
        raise PermanentFailure(f"the port {url.port} is not one of 1 to 65535")
    return url


def checked_connector(
    guard: Guard, connections: int, ssl_context: ssl.SSLContext | None = None
) -> aiohttp.TCPConnector:
    """Return what connects an ``aiohttp.ClientSession`` to checked addresses only.

    Args:
        guard: the addresses that may be contacted.
        connections: maximum number of connections at a time.
        ssl_context: by default httpx's, which reads SSL_CERT_FILE and SSL_CERT_DIR.
    """

    def new_socket(info: tuple[Any, ...]) -> socket.socket:
        """Open a socket for an address: the one way to every connection."""
        family, kind, protocol, _, target = info
        _check_address(guard, str(target[0]))
        return socket.socket(family, kind, protocol)

    context = ssl_context or httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])  # some servers want to be told
    return aiohttp.TCPConnector(
        resolver=_CheckedResolver(guard),
        use_dns_cache=False,
        socket_factory=new_socket,
        ssl=context,
        limit=connections,
        keepalive_timeout=_KEEPALIVE_S,
    )


class _CheckedResolver(AbstractResolver):
    """Resolves names to addresses all of which may be contacted."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await self._guard.addresses(host, port)
        ]

    async def close(self) -> None:
        pass


def _check_address(guard: Guard, address: str) -> None:
    """Check the address that a connection would be made to.

    Raises:
        PermanentFailure: it may not be contacted, or is written in no standard form.
    """
    try:
        allowed = guard.allows(address)
    except ValueError:
        allowed = False
    if not allowed:
        raise PermanentFailure(f"{address} is not a public address")
