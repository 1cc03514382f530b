"""Questions to an endpoint: answered at once, or through S3 where it is asynchronous."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augrank.aws.client import Aws, AwsError, Call, aws_errors
from augrank.aws.s3 import read
from augrank.bundle.load import load_bundle
from augrank.bundle.spec import SMOKE_FILE
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.release import MAX_REQUEST_BYTES, folder_of

MAX_SERVERLESS_BYTES = 4 * 1024 * 1024  # SageMaker's limit
SMOKE_TOLERANCE = 0.02  # of a probability; other processors round otherwise
ASYNC_POLL_S, ASYNC_WAIT_S = 2.0, 120.0


@dataclass(frozen=True)
class SmokeQuestion:
    """A request whose answer is known from the parity gate."""

    body: bytes
    probabilities: dict[str, float]

    @classmethod
    def of(cls, dist: Path) -> "SmokeQuestion":
        """The bundle's own."""
        bundle = load_bundle(dist / "bundle")
        content = json.loads((bundle.directory / SMOKE_FILE).read_text(encoding="utf-8"))
        return cls(json.dumps(content["request"]).encode(), content["probabilities"])

    def check(self, answer: Mapping[str, Any]) -> None:
        """Hold an answer against what is known.

        Raises:
            AwsError: it differs.
        """
        got = {item["name"]: item["probability"] for item in answer.get("candidates", [])}
        apart = [abs(got[name] - p) for name, p in self.probabilities.items() if name in got]
        if set(got) != set(self.probabilities) or max(apart) > SMOKE_TOLERANCE:
            raise AwsError(
                "the endpoint does not answer the smoke question as the export did",
                expected=json.dumps(self.probabilities),
                got=json.dumps(got) if got else json.dumps(answer)[:200],
            )


def ask(
    endpoint: Endpoint,
    body: bytes,
    content_type: str = "application/json",
    *,
    attributes: Mapping[str, Any] | None = None,
    variant: str | None = None,
) -> dict[str, Any]:
    """Ask an endpoint, of whatever kind it is.

    Args:
        endpoint: to ask.
        body: JSON, or an image file.
        content_type: of the body.
        attributes: target and context beside an image.
        variant: of those that serve; by default SageMaker chooses.

    Raises:
        AwsError: what the container or AWS says.
    """
    parameters = {"EndpointName": endpoint.name, "ContentType": content_type}
    if attributes:
        parameters["CustomAttributes"] = json.dumps(dict(attributes))
    config = endpoint.existing_config()
    if asynchronous := config.get("AsyncInferenceConfig"):
        bucket = asynchronous["OutputConfig"]["S3OutputPath"].split("/")[2]
        return _through_s3(endpoint.aws, bucket, body, parameters)
    if variant:
        parameters["TargetVariant"] = variant
    serverless = any("ServerlessConfig" in each for each in config["ProductionVariants"])
    most = MAX_SERVERLESS_BYTES if serverless else MAX_REQUEST_BYTES
    return _at_once(endpoint.aws, body, parameters, most)


def _at_once(aws: Aws, body: bytes, parameters: dict[str, Any], most: int) -> dict[str, Any]:
    if len(body) > most:
        raise AwsError(
            "the request is too large",
            expected=f"at most {most // 2**20} MB",
            got=f"{len(body) / 2**20:.1f} MB",
            remedy="Send a smaller image, or raw instead of JSON; or deploy with --kind async.",
        )
    call = Call("sagemaker-runtime", "invoke_endpoint", {**parameters, "Body": body})
    answer = aws.send(call)["Body"]
    with aws_errors():  # the connection may break in the middle of the answer
        content = answer.read()
    return _object(content)


def _through_s3(aws: Aws, bucket: str, body: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
    """The body goes to S3, and the answer or the error comes from there."""
    folder = folder_of(parameters["EndpointName"], bucket)
    question = folder.write(aws, f"questions/{hashlib.sha256(body).hexdigest()[:16]}", body)
    call = Call(
        "sagemaker-runtime", "invoke_endpoint_async", {**parameters, "InputLocation": question}
    )
    places = aws.send(call)
    deadline = time.monotonic() + ASYNC_WAIT_S
    while time.monotonic() < deadline:
        if (answer := read(aws, places["OutputLocation"])) is not None:
            return _object(answer)
        failure = places.get("FailureLocation")
        if failure and (said := read(aws, failure)) is not None:
            raise AwsError(f"the container could not answer: {said.decode(errors='replace')}")
        time.sleep(ASYNC_POLL_S)
    raise AwsError(f"no answer at {places['OutputLocation']} after {ASYNC_WAIT_S:.0f} s")


def _object(content: bytes) -> dict[str, Any]:
    """A container's answer.

    Raises:
        AwsError: it is no JSON object, so that an update that waits for it is rolled back.
    """
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise AwsError(
            "the endpoint's answer is not augrank's", expected="a JSON object", got=repr(content)
        )
    return answer
