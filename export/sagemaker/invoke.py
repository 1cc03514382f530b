"""Invoke an endpoint: synchronously, or through S3 if it is asynchronous."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from augrank.aws.client import Aws, AwsError, Call, aws_errors
from augrank.aws.poll import Pending, poll
from augrank.aws.s3 import read
from augrank.bundle.load import load_bundle
from augrank.bundle.smoke import OTHER_TOLERANCE, TOLERANCE, SmokeRequest
from augrank.models.engines import CPU, ENGINE_NAMES, OPENVINO
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.release import MAX_REQUEST_BYTES, folder_of

MAX_SERVERLESS_BYTES = 4 * 1024 * 1024  # SageMaker's limit
ASYNC_POLL_S, ASYNC_WAIT_S = 2.0, 120.0
ENGINE_OF_DEVICE = {"cpu": ENGINE_NAMES[CPU], "openvino": ENGINE_NAMES[OPENVINO]}


def load_smoke_request(dist: Path) -> SmokeRequest:
    """Load the smoke request of an export's bundle."""
    return SmokeRequest.load(load_bundle(dist / "bundle").directory)


def check_smoke_answer(smoke: SmokeRequest, answer: Mapping[str, Any]) -> None:
    """Compare an endpoint's answer to the smoke request with the known one.

    Raises:
        AwsError: it differs.
    """
    engine = str(answer.get("engine", ""))  # such as int8 on OpenVINO
    used = engine.partition(" ")[0]
    known = next((each for name, each in smoke.answers.items() if name == used), None)
    got = _probabilities(answer)
    if known is not None and got and "images" in answer:  # it lists the best classes of each label
        listed = {name: p for name, p in known.probabilities.items() if name in got}
        known = replace(known, probabilities=listed)
    same = known is not None and ENGINE_OF_DEVICE.get(known.device, "") in engine
    if known is None or not known.difference(got) <= (TOLERANCE if same else OTHER_TOLERANCE):
        expected = {name: dict(each.probabilities) for name, each in smoke.answers.items()}
        raise AwsError(
            "the endpoint does not answer the smoke request as the export did",
            expected=json.dumps(dict(known.probabilities) if known else expected),
            got=json.dumps(got) if got else json.dumps(answer)[:200],
        )
    best = (answer.get("best_candidate") or {}).get("name")
    if same and known.best_candidate not in (None, best):
        raise AwsError(
            "the endpoint recommends another candidate than the export did",
            expected=repr(known.best_candidate),
            got=repr(best),
        )


def _probabilities(answer: Mapping[str, Any]) -> dict[str, float]:
    """Return the probabilities of an answer, as a smoke request names them."""
    found = {item["name"]: item["probability"] for item in answer.get("candidates", [])}
    for image in answer.get("images", [])[:1]:
        for label, told in image.get("labels", {}).items():
            found |= {f"{label}: {each['name']}": each["probability"] for each in told["top"]}
        for rank, told in image.get("ranks", {}).items():
            found[f"{rank}, rank"] = told["probability"]
    return found


def invoke(
    endpoint: Endpoint,
    body: bytes,
    content_type: str = "application/json",
    *,
    attributes: Mapping[str, Any] | None = None,
    variant: str | None = None,
) -> dict[str, Any]:
    """Send a request to an endpoint of any kind and return its answer.

    Args:
        endpoint: where to send it.
        body: JSON, or an image file.
        content_type: of the body.
        attributes: target and context of an image.
        variant: the variant that must answer; by default SageMaker chooses by traffic.

    Raises:
        AwsError: the container or AWS rejected it.
    """
    parameters = {"EndpointName": endpoint.name, "ContentType": content_type}
    if attributes:
        parameters["CustomAttributes"] = json.dumps(dict(attributes))
    config = endpoint.existing_config()
    if asynchronous := config.get("AsyncInferenceConfig"):
        bucket = asynchronous["OutputConfig"]["S3OutputPath"].split("/")[2]
        return _invoke_async(endpoint.aws, bucket, body, parameters)
    if variant:
        parameters["TargetVariant"] = variant
    serverless = any("ServerlessConfig" in each for each in config["ProductionVariants"])
    max_bytes = MAX_SERVERLESS_BYTES if serverless else MAX_REQUEST_BYTES
    return _invoke_sync(endpoint.aws, body, parameters, max_bytes)


def _invoke_sync(
    aws: Aws, body: bytes, parameters: dict[str, Any], max_bytes: int
) -> dict[str, Any]:
    if len(body) > max_bytes:
        raise AwsError(
            "the request is too large",
            expected=f"at most {max_bytes // 2**20} MB",
            got=f"{len(body) / 2**20:.1f} MB",
            remedy="Send a smaller image, or raw instead of JSON; or deploy with --kind async.",
        )
    call = Call("sagemaker-runtime", "invoke_endpoint", {**parameters, "Body": body})
    stream = aws.send(call)["Body"]
    with aws_errors():  # the connection may break while the body is read
        content = stream.read()
    return _parse_answer(content)


def _invoke_async(aws: Aws, bucket: str, body: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
    """Upload the body to S3, and wait for the answer or the error there."""
    folder = folder_of(parameters["EndpointName"], bucket)
    location = folder.write(aws, f"questions/{hashlib.sha256(body).hexdigest()[:16]}", body)
    call = Call(
        "sagemaker-runtime", "invoke_endpoint_async", {**parameters, "InputLocation": location}
    )
    response = aws.send(call)
    output, failure = response["OutputLocation"], response.get("FailureLocation")

    def answered() -> bytes | Pending:
        if (answer := read(aws, output)) is not None:
            return answer
        if failure and (error := read(aws, failure)) is not None:
            raise AwsError(f"the container could not answer: {error.decode(errors='replace')}")
        return Pending(f"no answer at {output}")

    return _parse_answer(poll(answered, interval_s=ASYNC_POLL_S, timeout_s=ASYNC_WAIT_S))


def _parse_answer(content: bytes) -> dict[str, Any]:
    """Parse a container's answer.

    Raises:
        AwsError: it is not a JSON object, so that an update that waits for it is rolled back.
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
