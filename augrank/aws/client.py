"""boto3 clients of one region, and AWS's errors in words that say what to do."""

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore import exceptions
from botocore.config import Config

from augrank.errors import AugrankError

TAG = "augrank:endpoint"  # on everything that is made for an endpoint
# Answers may take a minute (SageMaker's limit); asking twice would cost twice.
RUNTIME_CONFIG = Config(
    read_timeout=65, retries={"total_max_attempts": 1}, max_pool_connections=256
)


class AwsError(AugrankError):
    """AWS refused, or could not be asked."""

    code = "aws"
    status = 502


@dataclass(frozen=True)
class Call:
    """A request to AWS: a service, boto3's name of an operation, its parameters."""

    service: str
    operation: str
    parameters: dict[str, Any]

    def shown(self) -> str:
        """As ``--dry-run`` prints it."""
        return f"{self.service}.{self.operation} {json.dumps(self.parameters, indent=2)}"


class Aws:
    """The services of one region, each asked for the first time when first used."""

    def __init__(self, region: str | None = None, profile: str | None = None) -> None:
        with friendly():
            self.session = boto3.Session(region_name=region, profile_name=profile)
        self.region = self.session.region_name or ""
        if not self.region:
            raise AwsError("no AWS region", remedy="Give --region, or set AWS_REGION.")
        self._clients: dict[str, Any] = {}

    def __getattr__(self, service: str) -> Any:
        return self.client(service.replace("_", "-"))

    def client(self, service: str) -> Any:
        """boto3's client of a service."""
        if service not in self._clients:
            config = RUNTIME_CONFIG if service == "sagemaker-runtime" else None
            with friendly():
                self._clients[service] = self.session.client(service, config=config)
        return self._clients[service]

    def send(self, call: Call) -> dict[str, Any]:
        """Send a request.

        Raises:
            AwsError: what AWS says, and what to do.
        """
        with friendly():
            answer: dict[str, Any] = getattr(self.client(call.service), call.operation)(
                **call.parameters
            )
        return answer

    def make(self, call: Call) -> bool:
        """Send a ``create_*`` request; False where the same name exists already."""
        try:
            self.send(call)
        except AwsError as error:
            if _exists_already(error):
                return False
            raise
        return True

    def pages(self, service: str, operation: str, **parameters: Any) -> list[dict[str, Any]]:
        """Every page of a request that AWS answers in pages.

        Raises:
            AwsError: what AWS says, and what to do.
        """
        with friendly():
            return list(self.client(service).get_paginator(operation).paginate(**parameters))

    def tags(self, arn: str) -> dict[str, str]:
        """What something in SageMaker is tagged with."""
        pages = self.pages("sagemaker", "list_tags", ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}

    def describe(self, operation: str, **parameters: Any) -> dict[str, Any] | None:
        """Ask SageMaker to describe something; None where it is not there."""
        try:
            return self.send(Call("sagemaker", operation, parameters))
        except AwsError as error:
            if is_missing(error):
                return None
            raise

    @functools.cached_property
    def account(self) -> str:
        """The account's number."""
        return str(self.send(Call("sts", "get_caller_identity", {}))["Account"])

    @property
    def default_bucket(self) -> str:
        """The bucket that SageMaker's own tools take where none is named."""
        return f"sagemaker-{self.region}-{self.account}"


def is_missing(error: AwsError) -> bool:
    """Whether AWS says that there is no such thing."""
    text = error.problem.lower()
    return any(
        part in text for part in ("resourcenotfound", "could not find", "can't find",
                                  "does not exist")
    )  # fmt: skip


def _exists_already(error: AwsError) -> bool:
    text = error.problem.lower()
    return "already exist" in text or "cannot create already existing" in text


@contextmanager
def friendly() -> Iterator[None]:
    """AWS's errors as AwsError.

    Raises:
        AwsError: what AWS says, and what to do.
    """
    try:
        yield
    except exceptions.ClientError as error:
        raise _of_client(error) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError,
            exceptions.CredentialRetrievalError, exceptions.SSOError) as error:  # fmt: skip
        raise AwsError(
            f"no AWS credentials: {error}",
            remedy="Sign in (aws sso login), set AWS_PROFILE, or run where a role is attached.",
        ) from error
    except exceptions.ProfileNotFound as error:
        raise AwsError(
            str(error), remedy="See ~/.aws/config for the profiles there are."
        ) from error
    except (exceptions.EndpointConnectionError, exceptions.ConnectionError,
            exceptions.HTTPClientError) as error:  # fmt: skip
        raise AwsError(
            f"AWS cannot be reached: {error}",
            remedy="Check the region's name and the network, or AWS_ENDPOINT_URL.",
        ) from error
    except S3UploadFailedError as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, exceptions.ClientError):
            raise _of_client(cause) from error
        raise AwsError(str(error)) from error
    except exceptions.ParamValidationError as error:
        raise AwsError(f"the request does not fit: {error}") from error
    except exceptions.BotoCoreError as error:  # a region that cannot be, a session that has ended
        raise AwsError(
            f"AWS cannot be asked: {error}",
            remedy="Check --region and --profile, and sign in again.",
        ) from error


def _of_client(error: exceptions.ClientError) -> AwsError:
    details = error.response.get("Error", {})
    code, message = details.get("Code", ""), details.get("Message", str(error))
    text = f"{error.operation_name}: {code}: {message}"
    for matches, remedy in REMEDIES:
        if matches(code, message):
            return AwsError(text, remedy=remedy)
    return AwsError(text)


def _code(*codes: str) -> Callable[[str, str], bool]:
    return lambda code, _: code in codes


def _says(*parts: str) -> Callable[[str, str], bool]:
    return lambda _, message: any(part in message for part in parts)


# The first that fits is taken.
REMEDIES: tuple[tuple[Callable[[str, str], bool], str], ...] = (
    (_code("ResourceLimitExceeded"),
     "Your account's quota of this instance type is too small: ask for more in Service Quotas "
     "(Amazon SageMaker, '<type> for endpoint usage', 'for training job usage' or 'for spot "
     "training job usage'), or choose another type."),
    (_code("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId",
           "UnrecognizedClientException", "SignatureDoesNotMatch"),
     "The credentials are not valid (any more): sign in again."),
    (_says("assume role", "AssumeRole", "Could not assume"),
     "The role must trust sagemaker.amazonaws.com: see docs/sagemaker.md, and give it by --role."),
    (_says("iam:PassRole"),
     "You may not hand over this role: your own policy needs iam:PassRole on it "
     "(docs/sagemaker.md)."),
    (_code("AccessDenied", "AccessDeniedException", "AccessDeniedException"),
     "A permission is missing: docs/sagemaker.md lists those that each command needs."),
    (_code("NoSuchBucket"), "Give a bucket of this region with --bucket."),
    (_code("PermanentRedirect", "IllegalLocationConstraintException",
           "AuthorizationHeaderMalformed"),
     "The bucket is in another region: give its --region, or another --bucket."),
    (_code("ThrottlingException", "Throttling"), "AWS asks for patience: try again in a minute."),
)  # fmt: skip
