"""The images that the requests of a batch name by URL: downloaded together, within one time."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from augrank.errors import AugrankError, RequestError
from augrank.runtime.json_images import URLS
from augrank.runtime.wire import Requests
from augrank.tasks.isolation import isolated

# Takes the URLs of each HTTP request; returns files, or why one could not be downloaded.
FetchImages = Callable[[Sequence[Sequence[str]]], Sequence[Sequence[bytes | RequestError]]]


def with_downloads(
    received: Sequence[Requests | AugrankError], fetch: FetchImages
) -> list[Requests | AugrankError]:
    """Return the requests of a batch with what they name by URL.

    Args:
        received: an item for each HTTP request.
        fetch: downloads for all of them.
    """
    wanted = {
        number: [url for urls in each.urls.values() for url in urls]
        for number, each in enumerate(received)
        if isinstance(each, Requests) and each.urls
    }
    if not wanted:
        return list(received)
    downloaded = isolated(fetch, list(wanted.values()))
    if isinstance(downloaded, AugrankError):
        return [downloaded if n in wanted else each for n, each in enumerate(received)]
    files = dict(zip(wanted, downloaded, strict=True))
    return [
        _with_files(each, files[number]) if isinstance(each, Requests) and each.urls else each
        for number, each in enumerate(received)
    ]


def _with_files(requests: Requests, files: Sequence[bytes | RequestError]) -> Requests:
    """Put files, in the order of the URLs, into the requests that name them."""
    bodies, rest = list(requests.bodies), iter(files)
    for number, urls in requests.urls.items():
        images = tuple(_placed(next(rest), place) for place in range(len(urls)))
        bodies[number] = replace(bodies[number], images=images)
    return replace(requests, bodies=tuple(bodies), urls={})


def _placed(image: bytes | RequestError, place: int) -> bytes | RequestError:
    return image.at(f"{URLS}[{place}]") if isinstance(image, RequestError) else image
