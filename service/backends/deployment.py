"""Where a model is deployed: another one takes its place without a failed request."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from augrank.bundle.spec import Bundle

Backend_co = TypeVar("Backend_co", covariant=True)


class Deployment(Protocol[Backend_co]):
    """The deployments of one task's model: in this process, or on a server."""

    def deployed(self, bundle: Bundle[Any]) -> Backend_co:
        """Return the backend of a bundle that is deployed there.

        Raises:
            BackendUnavailable: the server does not answer, or not with this bundle.
        """

    def promote(self, bundle: Bundle[Any], switch: Callable[[Backend_co], object]) -> None:
        """Deploy a bundle beside the one that answers, and then in its place.

        It may be called again, whatever an interrupted call has left. A rollback is the promotion
        of the bundle before, which is still deployed for a while.

        Args:
            bundle: of the same task.
            switch: called once, with a backend of the bundle that has answered: from then on the
                service asks it. The one until then goes on to answer what it has begun.

        Raises:
            BackendFailed: the bundle did not start there, or answers wrongly; the one before still
                answers, and ``switch`` was not called.
            BackendUnavailable: the server cannot be reached.
        """
