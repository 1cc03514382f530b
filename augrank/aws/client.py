"""boto3 clients for one region, and AWS errors with their code and a remedy."""

import functools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore import exceptions
from botocore.config import Config

from augrank.errors import AugrankError, reason

TAG = "augrank:endpoint"  # on every resource created for an endpoint
# An answer may take a minute (SageMaker's limit), and a retry would be charged twice.
RUNTIME_CONFIG = Config(
    read_timeout=65, retries={"total_max_attempts": 1}, max_pool_connections=256
)
NOT_FOUND = ("ResourceNotFound", "ResourceNotFoundException")
# SageMaker has no error code for a missing endpoint, config or model. Its Describe* calls then
# answer ValidationException, which botocore's waiters (endpoint_deleted) read the same way.
INVALID = "ValidationException"
CONFLICT = ("ResourceInUse", "ResourceInUseException", INVALID)


class AwsError(AugrankError):
    """AWS refused a request, or could not be reached.

    Attributes:
        aws_code: AWS's error code, such as ``ValidationException``; empty if AWS did not answer.
        operation: the API operation, such as ``DescribeEndpoint``; empty if AWS did not answer.
    """

    code = "aws"
    status = 502

    def __init__(
        self,
        problem: str,
        *,
        expected: str = "",
        got: str = "",
        remedy: str = "",
        aws_code: str = "",
        operation: str = "",
    ) -> None:
        super().__init__(problem, expected=expected, got=got, remedy=remedy)
        self.aws_code, self.operation = aws_code, operation

    @property
    def is_not_found(self) -> bool:
        """Whether AWS reported that the resource does not exist."""
        described = self.operation.startswith("Describe") and self.aws_code == INVALID
        return self.aws_code in NOT_FOUND or described


@dataclass(frozen=True)
class Call:
    """A request to AWS: a service, boto3's name of an operation, its parameters."""

    service: str
    operation: str
    parameters: dict[str, Any]

    def to_text(self) -> str:
        """The request as ``--dry-run`` prints it."""
        return f"{self.service}.{self.operation} {json.dumps(self.parameters, indent=2)}"


class Aws:
    """The services of one region; each boto3 client is created on first use."""

    def __init__(self, region: str | None = None, profile: str | None = None) -> None:
        with aws_errors():
            # boto3 reads AWS_DEFAULT_REGION only; other tools of AWS set AWS_REGION.
            region = region or os.environ.get("AWS_REGION") or None
            self.session = boto3.Session(region_name=region, profile_name=profile)
        self.region = self.session.region_name or ""
        if not self.region:
            raise AwsError("no AWS region", remedy="Give --region, or set AWS_REGION.")
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return boto3's client of a service, such as ``sagemaker`` or ``s3``."""
        if service not in self._clients:
            config = RUNTIME_CONFIG if service == "sagemaker-runtime" else None
            with aws_errors():
                self._clients[service] = self.session.client(service, config=config)
        return self._clients[service]

    def send(self, call: Call) -> dict[str, Any]:
        """Send a request.

        Raises:
            AwsError: AWS refused it.
        """
        with aws_errors():
            response: dict[str, Any] = getattr(self.client(call.service), call.operation)(
                **call.parameters
            )
        return response

    def create(self, call: Call) -> bool:
        """Send a ``create_*`` request of SageMaker; return False if the resource already exists.

        Raises:
            AwsError: AWS refused it, and there is no resource of that name.
        """
        try:
            self.send(call)
        except AwsError as error:
            if error.aws_code in CONFLICT and self._exists(call):
                return False
            raise
        return True

    def paginate(self, service: str, operation: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return every page of a paginated request.

        Raises:
            AwsError: AWS refused it.
        """
        with aws_errors():
            return list(self.client(service).get_paginator(operation).paginate(**parameters))

    def tags(self, arn: str) -> dict[str, str]:
        """Return the tags of a SageMaker resource."""
        pages = self.paginate("sagemaker", "list_tags", ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}

    def describe(self, operation: str, **parameters: Any) -> dict[str, Any] | None:
        """Describe a SageMaker resource; return None if it does not exist."""
        try:
            return self.send(Call("sagemaker", operation, parameters))
        except AwsError as error:
            if error.is_not_found:
                return None
            raise

    @functools.cached_property
    def account(self) -> str:
        """The account number."""
        return str(self.send(Call("sts", "get_caller_identity", {}))["Account"])

    @property
    def default_bucket(self) -> str:
        """The bucket that SageMaker's own tools use by default."""
        return f"sagemaker-{self.region}-{self.account}"

    def _exists(self, call: Call) -> bool:
        """Whether the resource that a ``create_*`` request names exists.

        A conflict and a wrong parameter have the same code (``ValidationException``).
        """
        kind = call.operation.removeprefix("create_")
        key = "".join(word.capitalize() for word in kind.split("_")) + "Name"
        return self.describe(f"describe_{kind}", **{key: call.parameters[key]}) is not None


@contextmanager
def aws_errors() -> Iterator[None]:
    """Convert errors of boto3 and botocore into AwsError.

    Raises:
        AwsError: gives AWS's error and a remedy.
    """
    try:
        yield
    except exceptions.ClientError as error:
        raise _from_client_error(error) from error
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.SSOError,
    ) as error:
        raise AwsError(
            "there are no AWS credentials",
            got=reason(error),
            remedy="Sign in (aws sso login), set AWS_PROFILE, or run where a role is attached.",
        ) from error
    except exceptions.ProfileNotFound as error:
        raise AwsError(
            str(error), remedy="The profiles of this machine are listed in ~/.aws/config."
        ) from error
    except (
        exceptions.EndpointConnectionError,
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
    ) as error:
        raise AwsError(
            "AWS cannot be reached",
            got=reason(error),
            remedy="Check the region's name and the network, or AWS_ENDPOINT_URL.",
        ) from error
    except S3UploadFailedError as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, exceptions.ClientError):
            raise _from_client_error(cause) from error
        raise AwsError(str(error)) from error
    except exceptions.ParamValidationError as error:
        raise AwsError(
            "AWS's own library refuses the request",
            expected="options that AWS accepts",
            got=" ".join(str(error).split()),
        ) from error
    except exceptions.BotoCoreError as error:  # an invalid region, an expired session
        raise AwsError(
            "the AWS client failed",
            got=reason(error),
            remedy="Check --region and --profile, and sign in again.",
        ) from error


def _from_client_error(error: exceptions.ClientError) -> AwsError:
    details = error.response.get("Error", {})
    code, message = details.get("Code", ""), details.get("Message", str(error))
    return AwsError(
        f"{error.operation_name}: {code}: {message}",
        remedy=_remedy(code, message),
        aws_code=code,
        operation=error.operation_name,
    )


def _remedy(code: str, message: str) -> str:
    """Return a remedy for an error; empty if AWS's own text is sufficient."""
    for part, remedy in REMEDIES_BY_TEXT.items():
        if part in message:
            return remedy
    return next((remedy for codes, remedy in REMEDIES if code in codes), "")


REMEDIES: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("ResourceLimitExceeded",),
        "Your account's quota of this instance type is too small: request more in Service Quotas "
        "(Amazon SageMaker, '<type> for endpoint usage', 'for training job usage' or 'for spot "
        "training job usage'), or choose another type.",
    ),
    (
        (
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
        ),
        "The credentials are invalid or have expired: sign in again.",
    ),
    (
        ("AccessDenied", "AccessDeniedException"),
        "A permission is missing: docs/sagemaker.md lists those that each command needs.",
    ),
    (("NoSuchBucket",), "Give a bucket of this region with --bucket."),
    (
        ("PermanentRedirect", "IllegalLocationConstraintException", "AuthorizationHeaderMalformed"),
        "The bucket is in another region: give its --region, or another --bucket.",
    ),
    (("ThrottlingException", "Throttling"), "AWS is throttling requests: try again in a minute."),
)
# Errors about roles come as ValidationException or AccessDenied: only the text tells them apart.
ROLE_REMEDY = (
    "The role must trust sagemaker.amazonaws.com: see docs/sagemaker.md, and give it with --role."
)
REMEDIES_BY_TEXT: dict[str, str] = {
    "assume role": ROLE_REMEDY,
    "AssumeRole": ROLE_REMEDY,
    "iam:PassRole": "You may not pass this role: your own policy needs iam:PassRole on it "
    "(docs/sagemaker.md).",
}
