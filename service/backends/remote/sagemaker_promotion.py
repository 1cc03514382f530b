"""Deploy on a SageMaker endpoint: variants side by side.

    old ─ old, new without traffic ─ smoke request ─ switch ─ new

The service names the variant that must answer, so it changes over while both of them can. AWS takes
minutes for each change of an endpoint, and the old variant goes with the last one, as it is paid
for: a rollback is a promotion like any other.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic
from urllib.parse import urlsplit

from augrank.aws.client import AwsError, Call
from augrank.bundle.spec import Bundle
from augrank.errors import AugrankError
from export.archive import pack_model_tar
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.options import HostingOptions
from export.sagemaker.release import ARCHIVE, Release, Settings
from export.sagemaker.rollout import add_beside, keep_only
from service.backends.remote.torchserve_promotion import MakeBackend, RemoteT
from service.errors import BackendFailed, BackendUnavailable

log = logging.getLogger("augrank.service")
GRACE_S = 3.0  # for requests that took a backend just before it was replaced


class SageMakerDeployment(Generic[RemoteT]):
    """The variants of an endpoint that augrank created: a ``Deployment``.

    Promotions come one at a time.

    Args:
        endpoint: with the model; it must be a real-time one to take another.
        make: makes a backend of a bundle and a variant's name.
        grace_s: for requests to the variant before, until it goes.
    """

    def __init__(
        self, endpoint: Endpoint, make: MakeBackend[RemoteT], grace_s: float = GRACE_S
    ) -> None:
        self._endpoint, self._make, self._grace_s = endpoint, make, grace_s
        # The variant and the backend that answer; None: whichever variant has the traffic.
        self._asked: tuple[str | None, RemoteT] | None = None

    def deployed(self, bundle: Bundle[Any]) -> RemoteT:
        """Return the backend of a bundle that the endpoint answers with; see ``Deployment``."""
        with suppress(BackendFailed):  # such as for who may invoke it, and no more
            if (found := self._find(bundle)) is not None:
                self._asked = found
                return found[1]
        backend = self._make(bundle, None)
        backend.verify()  # says what is wrong
        self._asked = None, backend  # not the variant before: that one may go, or is gone
        return backend

    def promote(self, bundle: Bundle[Any], switch: Callable[[RemoteT], object]) -> None:
        """Deploy a bundle beside the one that answers, then in its place; see ``Deployment``."""
        found = self._find(bundle)
        variant, backend = found if found is not None else self._add(bundle)
        switch(backend)
        before, self._asked = self._asked, (variant, backend)
        time.sleep(self._grace_s)
        if before is not None:
            before[1].drain()
        try:
            self._keep_only(variant)
        except BackendFailed as error:
            log.warning("%s answers; the one before goes at the next promotion: %s", variant, error)

    def _add(self, bundle: Bundle[Any]) -> tuple[str, RemoteT]:
        """Add a bundle to the endpoint, without traffic; return its variant and its backend."""
        settings = self._settings()
        if (answering := self._answering()) is not None:
            self._keep_only(answering)  # what an interrupted promotion has left goes
        with tempfile.TemporaryDirectory(prefix="augrank-deploy-") as scratch:
            dist = Path(scratch)
            (dist / "bundle").symlink_to(bundle.directory.resolve())
            pack_model_tar(bundle.directory, bundle.spec.name, dist / ARCHIVE)
            with _aws_failures("the endpoint does not take the new model"):
                variant = add_beside(self._endpoint, Release(settings, dist))
        backend = self._make(bundle, variant)
        try:
            backend.verify()
        except AugrankError as error:
            if answering is not None:
                with suppress(BackendFailed):
                    self._keep_only(answering)
            raise BackendFailed(
                f"the new variant of {self._endpoint.name} does not answer as it should",
                expected=f"{bundle.spec.name} {bundle.version}",
                got=error.problem,
                remedy="The one before still answers. Look at the container's log.",
            ) from error
        return variant, backend

    def _keep_only(self, variant: str) -> None:
        with _aws_failures("a variant cannot be removed"):
            if {*self._names()} != {variant}:
                keep_only(self._endpoint, variant, self._settings().folder)

    def _answering(self) -> str | None:
        """Return the variant that answers this process; None if that is not certain."""
        asked = self._asked[0] if self._asked is not None else None
        with _aws_failures("the endpoint cannot be looked at"):
            weights = self._weights()
        if asked in weights:
            return asked
        serving = [name for name, weight in weights.items() if weight > 0]
        return serving[0] if len(serving) == 1 else None

    def _names(self) -> list[str]:
        return list(self._weights())

    def _weights(self) -> dict[str, float]:
        """Return the traffic of the endpoint's variants, by name."""
        variants = self._endpoint.existing_config()["ProductionVariants"]
        return {str(each["VariantName"]): each["InitialVariantWeight"] for each in variants}

    def _find(self, bundle: Bundle[Any]) -> tuple[str, RemoteT] | None:
        """Return the variant that answers with a bundle, and its backend."""
        with _aws_failures("the endpoint cannot be looked at"):
            names = self._names()
        for name in names:
            backend = self._make(bundle, name)
            with suppress(BackendUnavailable):
                backend.verify()
                return name, backend
        return None

    def _settings(self) -> Settings:
        """Return the settings of the running endpoint, for another bundle.

        Raises:
            BackendUnavailable: it cannot have two variants that are addressed one by one.
        """
        endpoint = self._endpoint
        with _aws_failures("the endpoint cannot be looked at"):
            hosting = HostingOptions.read(endpoint)
            variant = endpoint.existing_config()["ProductionVariants"][0]
            model = endpoint.aws.send(
                Call("sagemaker", "describe_model", {"ModelName": variant["ModelName"]})
            )
        if hosting.kind != "realtime":
            raise BackendUnavailable(
                f"the endpoint {endpoint.name} cannot change its model while it answers",
                expected="a real-time endpoint, whose variants can be named",
                got=f"one of the kind {hosting.kind}",
                remedy="Update it with python -m export update, and start the service with the "
                "new bundle.",
            )
        container = model["PrimaryContainer"]
        return Settings(
            name=endpoint.name,
            image=container["Image"],
            role=model["ExecutionRoleArn"],
            bucket=urlsplit(container["ModelDataUrl"]).netloc,
            environment=container.get("Environment", {}),
            **hosting.given,
        )


@contextmanager
def _aws_failures(problem: str) -> Iterator[None]:
    """Convert what AWS refuses into an error of a backend."""
    try:
        yield
    except AwsError as error:
        raise BackendFailed(
            problem,
            expected="permission, and a container that answers the smoke request",
            got=error.problem,
            remedy=error.remedy or "The model before still answers.",
        ) from error
