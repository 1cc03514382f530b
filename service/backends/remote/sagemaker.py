"""A SageMaker endpoint, as a ``Transport``."""

from typing import Any

from botocore.exceptions import ClientError

from augrank.aws.client import Aws, AwsError, aws_errors
from export.sagemaker.release import MAX_REQUEST_BYTES
from service.backends.remote.torchserve import (
    FIELDS_HEADER,
    error_of,
    request_of,
    too_large,
)
from service.backends.remote.transport import CONNECTIONS, Fields, Patience, Refused
from service.errors import BackendFailed, BackendUnavailable

BUSY_S = 15.0  # how long a request is tried again while the endpoint is busy
MAX_ATTRIBUTES = 1024  # characters, SageMaker's limit
IMAGE_TYPE = "application/x-image"
BUSY = (
    "InternalDependencyException",
    "ModelNotReadyException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "Throttling",
    "ThrottlingException",
)
MODEL_ERROR = "ModelError"  # what the container answered


class SageMakerTransport:
    """Invokes an endpoint. Thread-safe.

    Only one that answers at once: asynchronous endpoints cannot stand behind a service.

    Args:
        aws: of the endpoint's region.
        endpoint: its name.
        variant: the one that must answer; None: SageMaker chooses by traffic.
        connections: requests under way at once.
    """

    def __init__(
        self,
        aws: Aws,
        endpoint: str,
        *,
        variant: str | None = None,
        connections: int = CONNECTIONS,
    ) -> None:
        self._aws, self._endpoint, self._variant = aws, endpoint, variant
        self._connections = connections
        self._client = aws.client("sagemaker-runtime")  # made here: threads share it

    @property
    def connections(self) -> int:
        """How many requests may be under way at once."""
        return self._connections

    @property
    def where(self) -> str:
        """The endpoint, for messages."""
        variant = f" (variant {self._variant})" if self._variant else ""
        return f"the endpoint {self._endpoint}{variant}"

    def ask(self, image: bytes, fields: Fields) -> bytes:
        """Send an image; see ``Transport``."""
        parameters = self._parameters(image, fields)
        if len(parameters["Body"]) > MAX_REQUEST_BYTES:
            raise too_large(MAX_REQUEST_BYTES)
        patience = Patience()
        while True:
            try:
                return self._invoke(parameters)
            except ClientError as error:
                if self._variant is not None and _is_of_variant(error):
                    self._variant = None  # somebody updated the endpoint: the answer says to what
                    parameters = self._parameters(image, fields)
                    continue
                failure = self._fault(error)
            if failure is None:
                if patience.wait(BUSY_S):
                    continue
                failure = BackendUnavailable(
                    f"{self.where} is too busy",
                    expected=f"an answer within {BUSY_S:.0f} s",
                    remedy="Try again in a moment, or give it more instances.",
                )
            raise failure

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _parameters(self, image: bytes, fields: Fields) -> dict[str, Any]:
        body, headers = request_of(image, fields, MAX_ATTRIBUTES)
        parameters: dict[str, Any] = {
            "EndpointName": self._endpoint,
            "ContentType": headers["Content-Type"],
            "Body": body,
        }
        if FIELDS_HEADER in headers:
            parameters["ContentType"] = IMAGE_TYPE
            parameters["CustomAttributes"] = headers[FIELDS_HEADER]
        if self._variant is not None:
            parameters["TargetVariant"] = self._variant
        return parameters

    def _invoke(self, parameters: dict[str, Any]) -> bytes:
        """Send one request.

        Raises:
            ClientError: AWS, or the container, refused it.
            BackendUnavailable: AWS cannot be reached.
            Refused: the container answers with the status 200 and an error.
        """
        try:
            with aws_errors():
                try:
                    content: bytes = self._client.invoke_endpoint(**parameters)["Body"].read()
                except ClientError as error:
                    answered = error
                else:
                    if (refused := error_of(content)) is not None:  # AUGRANK_ERRORS_AS_200
                        raise Refused(refused, int(refused.get("status", 400)))
                    return content
        except AwsError as error:
            raise BackendUnavailable(
                f"{self.where} cannot be reached",
                got=error.problem,
                remedy=error.remedy or "What the service has kept is still answered.",
            ) from error
        raise answered

    def _fault(self, error: ClientError) -> Exception | None:
        """Return the error that an answer of AWS stands for; None if it is worth another try."""
        response: dict[str, Any] = dict(error.response)
        details = response.get("Error", {})
        code, message = str(details.get("Code", "")), str(details.get("Message", ""))
        if code == MODEL_ERROR:
            return self._container_fault(response)
        if code in BUSY:
            return None
        return BackendUnavailable(
            f"{self.where} cannot be asked",
            expected="an endpoint in service that answers at once",
            got=f"{code}: {message}",
            remedy="Look at it: python -m export status.",
        )

    def _container_fault(self, response: dict[str, Any]) -> Exception | None:
        status = int(response.get("OriginalStatusCode") or 500)
        said = str(response.get("OriginalMessage") or response.get("Error", {}).get("Message", ""))
        refused = error_of(said[said.find("{") :].encode()) if "{" in said else None
        if refused is not None and status < 500:
            return Refused(refused, status)
        if status == 503:
            return None
        return BackendFailed(
            f"{self.where} failed at a request",
            expected="an answer",
            got=f"{status}: {said}",
            remedy="Its log in CloudWatch has the reason.",
        )


def _is_of_variant(error: ClientError) -> bool:
    """Return whether AWS does not know the variant that a request names."""
    details = error.response.get("Error", {})
    return details.get("Code") == "ValidationError" and "ariant" in details.get("Message", "")
