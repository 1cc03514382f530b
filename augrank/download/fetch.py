"""Fetch one image: redirects, HTTP statuses, limits, and a check that it can be decoded."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Self

import aiohttp
import httpx
import yarl
from aiohttp.connector import Connection

import augrank
from augrank.download.public_addresses import (
    Guard,
    PermanentFailure,
    TemporaryFailure,
    check_url,
    checked_connector,
)
from augrank.download.scheduler import RateLimitedQueue
from augrank.download.threads import UnjoinedThreads
from augrank.errors import RequestError, reason, shortened
from augrank.images.decode import DecodeLimits, decode
from augrank.resources import usable_cores

SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "AVIF": ".avif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "HEIC": ".heic",
}
MAX_REDIRECTS = 5
MAX_VALIDATOR = 300  # characters
MAX_HEADER = 32_768  # bytes of a header, of which aiohttp takes 128
CONNECT_S, READ_S = 10.0, 20.0  # timeouts: to connect; to wait for the next bytes
MAX_WAIT_S = 300.0  # a host with a longer Retry-After is left for another call
_CHECK_SIDE = 64  # pixels: the whole file is decoded, at the smallest scale
_DECODERS = 2  # of a fetcher at a time: a large PNG needs some hundred megabytes
# Not daemons: a process that ends inside a decoder can crash.
_DECODING = UnjoinedThreads("decode", max(_DECODERS, usable_cores()), daemon=False)
_TEMPORARY = (408, 421, 425, 429)  # HTTP statuses, and all from 500
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = {
    "Accept": "image/jpeg,image/png,image/webp,image/gif,image/avif,*/*;q=0.1",
    "Accept-Encoding": "identity",  # the size of a compressed body is not known
}


@dataclass(frozen=True)
class Validators:
    """What a server said to tell later whether a file has changed (RFC 9110); "" if nothing."""

    etag: str = ""
    last_modified: str = ""

    @classmethod
    def of(cls, response: aiohttp.ClientResponse) -> "Validators":
        """Read them from a response; such as are too long, or cannot be sent, count as none."""
        found = (response.headers.get(name, "") for name in ("ETag", "Last-Modified"))
        etag, modified = (
            value if len(value) <= MAX_VALIDATOR and value.isascii() and value.isprintable() else ""
            for value in found
        )
        return cls(etag, modified)

    def headers(self) -> dict[str, str]:
        """Return the headers that ask for the file only if it has changed."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}


@dataclass(frozen=True)
class Fetched:
    """The file of an image."""

    data: bytes
    suffix: str  # from its content, one of SUFFIXES
    validators: Validators = Validators()


@dataclass(frozen=True)
class _File:
    """What a server sent."""

    data: bytes
    media_type: str
    validators: Validators


class Unchanged:
    """The file is as it was when the validators were given."""


def open_client(
    guard: Guard, *, connections: int, timeout_s: float, contact: str = ""
) -> aiohttp.ClientSession:
    """Open a client, in the event loop that will use it: without cookies, proxies, authentication.

    Args:
        guard: the addresses that may be contacted.
        connections: maximum number of connections at a time.
        timeout_s: of a whole request.
        contact: mail address or page of the person downloading, sent to the servers.
    """
    suffix = f"; {contact}" if contact else ""
    agent = f"augrank/{augrank.__version__} (images for training{suffix})"
    return aiohttp.ClientSession(
        connector=checked_connector(guard, connections),
        headers={**_HEADERS, "User-Agent": agent},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(  # Fetcher bounds the whole
            sock_connect=min(CONNECT_S, timeout_s), sock_read=min(READ_S, timeout_s)
        ),
        auto_decompress=False,
        max_line_size=MAX_HEADER,
        max_field_size=MAX_HEADER,
        response_class=_Response,
        trust_env=False,
    )


class _Response(aiohttp.ClientResponse):
    """A response whose connection can be closed also after its end."""

    async def start(self, connection: Connection) -> Self:
        self._close = connection.protocol.close if connection.protocol is not None else None
        await super().start(connection)
        return self

    def close_connection(self) -> None:
        """Let no other request use the connection."""
        if self._close is not None:
            self._close()


class ByteBudget:
    """The bytes that several downloads may take together."""

    def __init__(self, total: int) -> None:
        self._total, self._left = total, total

    def take(self, count: int) -> None:
        """Take bytes.

        Raises:
            PermanentFailure: there are not so many left.
        """
        if count > self._left:
            raise PermanentFailure(f"the images have more than {self._total:,} bytes together")
        self._left -= count


class Fetcher:
    """Fetches images.

    Args:
        client: the result of ``open_client``.
        queue: applies the rate limit to the hosts of redirects.
        timeout_s: of a whole request, body included.
        limits: of an image's size.
        budget: of all images, if they have one together.
    """

    def __init__(
        self,
        client: aiohttp.ClientSession,
        queue: RateLimitedQueue,
        timeout_s: float,
        limits: DecodeLimits,
        budget: ByteBudget | None = None,
    ) -> None:
        self._client, self._queue = client, queue
        self._timeout_s, self._limits, self._budget = timeout_s, limits, budget
        self._decoding = asyncio.Semaphore(_DECODERS)

    async def fetch(self, url: str) -> Fetched:
        """Fetch and check the image at a URL, following redirects.

        Raises:
            PermanentFailure: it cannot be downloaded.
            TemporaryFailure: it cannot be downloaded now.
        """
        result = await self.fetch_changed(url, Validators())
        assert isinstance(result, Fetched)  # without validators nothing is unchanged
        return result

    async def fetch_changed(self, url: str, seen: Validators) -> Fetched | Unchanged:
        """Fetch the image at a URL, unless it is as it was; see ``fetch``.

        Args:
            url: of the image.
            seen: validators of an earlier response.
        """
        target = check_url(url)
        for hop in range(MAX_REDIRECTS + 1):
            if hop:
                await self._queue.wait_for_host(target.host)
            result = await self._request(target, seen)
            if not isinstance(result, httpx.URL):
                return result
            target = check_url(str(result))
        raise PermanentFailure(f"more than {MAX_REDIRECTS} redirects")

    async def _request(self, url: httpx.URL, seen: Validators) -> Fetched | Unchanged | httpx.URL:
        """Request a URL; return the image, that it has not changed, or the URL of a redirect."""
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    found = await self._exchange(url, seen.headers())
                except aiohttp.ClientResponseError:
                    if not seen.headers():
                        raise
                    # Such as a body after 304: this server cannot tell what has changed.
                    await self._queue.wait_for_host(url.host)
                    found = await self._exchange(url, {})
        except (aiohttp.ClientError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise _failure(url.host, error, self._timeout_s) from error
        if not isinstance(found, _File):
            return found
        async with self._decoding:
            loop = asyncio.get_running_loop()
            fetched = await loop.run_in_executor(
                _DECODING, _decode_check, found.data, found.media_type, self._limits
            )
        return replace(fetched, validators=found.validators)

    async def _exchange(
        self, url: httpx.URL, headers: Mapping[str, str]
    ) -> "_File | Unchanged | httpx.URL":
        """Send a request, whose headers may ask for the file only if it has changed."""
        exact = yarl.URL(str(url), encoded=True)  # quoted already; signatures stay as they are
        async with self._client.get(exact, headers=headers, allow_redirects=False) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                return _redirect(url, response.headers["Location"])
            if headers and response.status == HTTPStatus.NOT_MODIFIED:
                if _announces_body(response) and isinstance(response, _Response):
                    response.close_connection()
                return Unchanged()
            self._check_status(url.host, response)
            data = await _body(response, self._limits.size_bytes, self._budget)
        media_type = response.headers.get("Content-Type", "no Content-Type")
        return _File(data, media_type, Validators.of(response))

    def _check_status(self, host: str, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if status == HTTPStatus.OK:
            return
        if status not in _TEMPORARY and status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise PermanentFailure(_status_text(status))
        wait_s = retry_after_s(response.headers.get("Retry-After", ""))
        self._queue.pause(host, min(wait_s, MAX_WAIT_S))
        raise TemporaryFailure(_status_text(status), wait_s)


def _redirect(url: httpx.URL, location: str) -> httpx.URL:
    """Return the URL that a response points to; old servers write it in Latin-1."""
    try:
        location.encode()
    except UnicodeEncodeError:
        location = location.encode("utf-8", "surrogateescape").decode("latin-1")
    target = httpx.URL(location)
    if target.scheme and not target.host:  # such as https:///path
        target = target.copy_with(host=url.host)
    return url.join(target)


def _failure(host: str, error: Exception, timeout_s: float) -> PermanentFailure | TemporaryFailure:
    """Return the failure of a request to a host: why no response came, or none of HTTP."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return TemporaryFailure(f"no connection to {host} within {CONNECT_S:g} s")
        case aiohttp.SocketTimeoutError():
            return TemporaryFailure(f"{host} sent nothing for {READ_S:g} s")
        case TimeoutError():
            return TemporaryFailure(f"not finished within {timeout_s:g} s")
        case aiohttp.InvalidURL():
            return PermanentFailure(f"this is not a URL ({error})")
        case httpx.InvalidURL() | UnicodeError():
            return PermanentFailure(f"{host} redirects to no address: {error}")
        case aiohttp.ClientResponseError():
            why = error.message.partition("\n")[0].rstrip(":")  # what follows is the server's
        case aiohttp.ClientConnectorCertificateError():
            why = reason(error.certificate_error)
        case aiohttp.ClientConnectorError():
            why = reason(error.os_error)
        case _:
            why = str(error) or type(error).__name__
    return TemporaryFailure(f"the connection to {host} failed: {shortened(why, 200)}")


def retry_after_s(value: str) -> float:
    """Parse a Retry-After header, a number or a date, to seconds; 0 without one."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _announces_body(response: aiohttp.ClientResponse) -> bool:
    """Return whether a body may follow a 304, which has none: it would be taken for an answer."""
    length = response.headers.get("Content-Length", "0").strip("0 ")
    return bool(length) or "Transfer-Encoding" in response.headers


def _status_text(status: int) -> str:
    """Return the standard phrase of a status: a server's own text is not trusted."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


async def _body(
    response: aiohttp.ClientResponse, limit_bytes: int, budget: ByteBudget | None
) -> bytes:
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise PermanentFailure(
            "the response is compressed (Content-Encoding), which was not requested"
        )
    too_large = PermanentFailure(f"the file is larger than {limit_bytes:,} bytes")
    if int(response.headers.get("Content-Length", 0)) > limit_bytes:
        raise too_large
    data = bytearray()
    async for part in response.content.iter_any():
        if budget is not None:
            budget.take(len(part))
        data += part
        if len(data) > limit_bytes:
            raise too_large
    return bytes(data)


def _decode_check(data: bytes, media_type: str, limits: DecodeLimits) -> Fetched:
    """Decode the image as training does, so that a broken one is found now.

    Raises:
        PermanentFailure: it is not a readable image, or exceeds the limits.
    """
    try:
        image = decode(data, _CHECK_SIDE, limits)
    except RequestError as error:
        got = f"{error.got}, {shortened(media_type, 60)!a}"
        raise PermanentFailure(f"{error.problem}: expected {error.expected}, got {got}") from error
    return Fetched(data, SUFFIXES[image.format])
