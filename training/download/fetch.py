"""One image from one URL: redirects, statuses, limits, and whether it is an image at all."""

import asyncio
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpcore
import httpx

import augrank
from augrank.errors import RequestError, shortened
from augrank.images.decode import DecodeLimits, decode
from training.download.public_addresses import Broken, CheckedTransport, Failed, Guard, check_url
from training.download.scheduler import Queue

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif"}
MAX_REDIRECTS = 5
CONNECT_S, READ_S = 10.0, 20.0  # to connect; to wait for the next bytes
LONGEST_WAIT_S = 300.0  # a server that asks for more is left for another call
_CHECKED_SIDE = 64  # pixels: the whole file is read, at the smallest scale
_DECODED = 2  # at a time: a large PNG takes some hundred megabytes
_TEMPORARY = (408, 421, 425, 429)  # and all from 500 on
_HEADERS = {
    "Accept": "image/jpeg,image/png,image/webp,image/gif,*/*;q=0.1",
    "Accept-Encoding": "identity",  # a compressed body has no size that can be trusted
}


@dataclass(frozen=True)
class Fetched:
    """An image's file."""

    data: bytes
    suffix: str  # by its content: .jpg, .png, .webp or .gif


def open_client(
    guard: Guard, *, connections: int, timeout_s: float, contact: str = ""
) -> httpx.AsyncClient:
    """A client without cookies, proxies and redirects of its own.

    Args:
        guard: which addresses may be asked.
        connections: at most so many at a time.
        timeout_s: of a whole request.
        contact: mail or page of who is downloading, told to the servers.
    """
    of = f"; {contact}" if contact else ""
    agent = f"augrank/{augrank.__version__} (images for training{of})"
    return httpx.AsyncClient(
        transport=CheckedTransport(guard, connections),
        headers={**_HEADERS, "User-Agent": agent},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx.Timeout(min(READ_S, timeout_s), connect=min(CONNECT_S, timeout_s)),
        follow_redirects=False,
        trust_env=False,
    )


class Fetcher:
    """Asks for images.

    Args:
        client: of ``open_client``.
        queue: says when a redirect's host may be asked.
        timeout_s: of a whole request, body included.
        limits: what an image may be at most.
    """

    def __init__(
        self, client: httpx.AsyncClient, queue: Queue, timeout_s: float, limits: DecodeLimits
    ) -> None:
        self._client, self._queue = client, queue
        self._timeout_s, self._limits = timeout_s, limits
        self._decoding = asyncio.Semaphore(_DECODED)

    async def fetch(self, url: str) -> Fetched:
        """The image at a URL, or behind its redirects, checked.

        Raises:
            Broken: it cannot be had.
            Failed: it cannot be had for now.
        """
        target = check_url(url)
        for hop in range(MAX_REDIRECTS + 1):
            if hop:
                await self._queue.turn(target.host)
            answer = await self._ask(target)
            if isinstance(answer, Fetched):
                return answer
            target = check_url(str(answer))
        raise Broken(f"more than {MAX_REDIRECTS} redirects")

    async def _ask(self, url: httpx.URL) -> Fetched | httpx.URL:
        """The image, or where it is to be found instead."""
        try:
            async with asyncio.timeout(self._timeout_s), self._client.stream("GET", url) as answer:
                if answer.next_request is not None:
                    return answer.next_request.url
                self._check_status(url.host, answer)
                data = await _body(answer, self._limits.size_bytes)
        except httpcore.ConnectTimeout as error:
            raise Failed(f"no connection to {url.host} within {CONNECT_S:g} s") from error
        except httpcore.TimeoutException as error:
            raise Failed(f"{url.host} sent nothing for {READ_S:g} s") from error
        except TimeoutError as error:
            raise Failed(f"not done within {self._timeout_s:g} s") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpx.HTTPError, OSError) as error:
            why = str(error) or type(error).__name__
            raise Failed(f"the connection to {url.host} failed: {why}") from error
        media_type = answer.headers.get("Content-Type", "no Content-Type")
        async with self._decoding:
            return await asyncio.to_thread(_checked, data, media_type, self._limits)

    def _check_status(self, host: str, answer: httpx.Response) -> None:
        status = answer.status_code
        if status == HTTPStatus.OK:
            return
        if status not in _TEMPORARY and status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Broken(_named(status))
        wait_s = retry_after_s(answer.headers.get("Retry-After", ""))
        self._queue.hold(host, min(wait_s, LONGEST_WAIT_S))
        raise Failed(_named(status), wait_s)


def retry_after_s(value: str) -> float:
    """Seconds of a Retry-After header, which holds a number or a date; 0 without one."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _named(status: int) -> str:
    """Our own words: a server's may hold anything."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


async def _body(answer: httpx.Response, limit_bytes: int) -> bytes:
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise Broken("the image came compressed (Content-Encoding), which was not asked for")
    too_large = Broken(f"the file is larger than {limit_bytes:,} bytes")
    if int(answer.headers.get("Content-Length", 0)) > limit_bytes:
        raise too_large
    data = bytearray()
    async for part in answer.aiter_raw():
        data += part
        if len(data) > limit_bytes:
            raise too_large
    return bytes(data)


def _checked(data: bytes, media_type: str, limits: DecodeLimits) -> Fetched:
    """Decode the image as training will: what is broken is found now.

    Raises:
        Broken: it is not an image that can be read, or larger than the limits.
    """
    try:
        image = decode(data, _CHECKED_SIDE, limits)
    except RequestError as error:
        got = f"{error.got}, {shortened(media_type, 60)!a}"
        raise Broken(f"{error.problem}: expected {error.expected}, got {got}") from error
    return Fetched(data, SUFFIXES[image.format])
