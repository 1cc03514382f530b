"""Models that answer elsewhere: what every kind of server has in common.

    images ─ a raw request each ─ Transport ─ answers ─ is it the bundle's? ─ one answer

An image is sent as it is, without base64, in a request of its own: so all workers of a server take
part in a question about many images, and what is wrong with one image is said of that one alone.
Every answer names the bundle that it came from; one of another bundle is refused, since the service
would keep it under the wrong model.
"""

import random
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, TypeVar, runtime_checkable

from pydantic import ValidationError

from augrank.bundle.smoke import SmokeRequest
from augrank.bundle.spec import SMOKE_FILE, Bundle, BundleSpec
from augrank.errors import RequestError, ServerError, reason
from augrank.tasks.classify.response import Answer
from augrank.tasks.recommend.response import Answer as RecommendAnswer
from service.errors import BackendUnavailable

Fields = Mapping[str, Any]
CONNECTIONS = 8  # requests at once: what `augrank serve` lets wait for one worker
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.03, 1.0
DRAIN_S = 70.0  # longer than any answer takes
AnswerT = TypeVar("AnswerT", Answer, RecommendAnswer)


class Refused(RequestError):
    """A server refused a request; the error is passed on as the server wrote it.

    Args:
        error: the member ``error`` of the server's answer.
        status: of the answer.
    """

    def __init__(self, error: Mapping[str, Any], status: int) -> None:
        super().__init__(str(error.get("message", f"the server answers {status}")))
        self.status, self.code = status, str(error.get("code", "request"))
        self._error = {"code": self.code, "status": status, "message": str(self), **error}

    def to_dict(self) -> dict[str, Any]:
        """Return the server's error."""
        return {"error": self._error}


class Patience:
    """How long a request is tried again, in pauses that grow."""

    def __init__(self) -> None:
        self._started, self._pause_s = time.monotonic(), FIRST_PAUSE_S

    def wait(self, at_most_s: float) -> bool:
        """Pause; return False at once if it would end later than this after the first try."""
        pause_s = self._pause_s * random.uniform(0.7, 1.3)  # so that many requests spread out
        if time.monotonic() - self._started + pause_s > at_most_s:
            return False
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        time.sleep(pause_s)
        return True


class InFlight:
    """Counts the requests that are under way: each is a ``with`` block. Thread-safe."""

    def __init__(self) -> None:
        self._count, self._changed = 0, threading.Condition()

    def __enter__(self) -> None:
        """Count a request."""
        with self._changed:
            self._count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Count it as answered."""
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def drain(self, timeout_s: float = DRAIN_S) -> bool:
        """Wait until none is under way; return False if some still are after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._count, timeout_s)


class Contact:
    """Remembers whether the last request was answered: each is a ``with`` block. Thread-safe."""

    def __init__(self) -> None:
        self.available = True  # it has answered when the service connected

    def __enter__(self) -> None:
        """Begin a request."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Note what came of it; a server that refuses or fails at a request is there."""
        self.available = not isinstance(error, BackendUnavailable)


@runtime_checkable
class OnServer(Protocol):
    """A backend whose model is on a server."""

    @property
    def available(self) -> bool:
        """Whether the server has answered the last request, with this bundle."""


class Transport(Protocol):
    """Sends images to a model server. Thread-safe."""

    @property
    def connections(self) -> int:
        """How many requests may be under way at once."""

    @property
    def where(self) -> str:
        """The server and its model, for messages."""

    def ask(self, image: bytes, fields: Fields) -> bytes:
        """Send an image file and the fields of its request; return the answer, JSON.

        Raises:
            Refused: the server says what is wrong with the request.
            BackendFailed: the server could not answer this request.
            BackendUnavailable: the server cannot be reached, is busy for long, or serves another
                model.
        """

    def close(self) -> None:
        """Close its connections."""


def parsed(
    kind: type[AnswerT], content: bytes, bundle: Bundle[BundleSpec], transport: Transport
) -> AnswerT:
    """Read an answer, and check that it is of this bundle.

    Args:
        kind: the task's answer.
        content: as it was received.
        bundle: that should have answered.
        transport: that it came by.

    Raises:
        BackendUnavailable: it is of another bundle, or of no version of this package.
    """
    try:
        answer = kind.model_validate_json(content)
    except ValidationError as error:
        raise BackendUnavailable(
            f"{transport.where} does not answer as this version of augrank does",
            expected=f"an answer of the task {bundle.spec.task}",
            got=reason(error),
            remedy="Deploy an archive that this version has exported.",
        ) from error
    version = answer.bundle_version
    if version != bundle.version:
        raise BackendUnavailable(
            f"{transport.where} answers with another bundle",
            expected=f"{bundle.spec.name} {bundle.version}",
            got=f"{answer.model} {version}",
            remedy="Start the service with the bundle that is deployed, or deploy this one.",
        )
    return answer


def smoke_image(bundle: Bundle[BundleSpec]) -> bytes:
    """Return the image of a bundle's smoke request.

    Raises:
        ServerError: it has none.
    """
    if SMOKE_FILE not in bundle.spec.files:
        raise ServerError(
            f"{bundle.spec.name} has no smoke request to ask its server with",
            expected=f"a bundle with {SMOKE_FILE}",
            remedy="Export the run again.",
        )
    return SmokeRequest.load(bundle.directory).image
