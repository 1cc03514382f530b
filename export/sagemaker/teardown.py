"""What was made for an endpoint goes again: all of it, or what no longer serves."""

import contextlib
import time

from augrank.aws.client import TAG, AwsError, Call
from export.sagemaker import endpoint as live
from export.sagemaker.autoscaling import unscale
from export.sagemaker.batch_transform import stop_jobs
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.release import folder_of

LISTED = {"endpoint_config": "EndpointConfigs", "model": "Models"}
NAMES = {"endpoint_config": "EndpointConfigName", "model": "ModelName"}


def delete(endpoint: Endpoint, bucket: str | None = None) -> list[str]:
    """Remove an endpoint and all that was made for it, and nothing else.

    What names the rest goes last, so that a second call finds what an interrupted one left.

    Args:
        endpoint: need not be there (any more).
        bucket: to be emptied of its files too; those that its models name always are.

    Returns:
        What was removed, in words.

    Raises:
        AwsError: it was not made by augrank, or AWS refuses.
    """
    removed = stop_jobs(endpoint.aws, endpoint.name) + _end(endpoint)
    buckets = _buckets(endpoint) | ({bucket} if bucket else set())
    for known in sorted(buckets):
        removed += _empty(endpoint, known)
    if not buckets:
        # A deploy that was killed while it uploaded has no model yet to say where to. This is a
        # guess: a bucket that is not ours to read holds nothing of ours.
        with contextlib.suppress(AwsError):
            removed += _empty(endpoint, endpoint.aws.default_bucket)
    return removed + remove_unused(endpoint, keep=set())


def remove_unused(endpoint: Endpoint, keep: set[str]) -> list[str]:
    """Delete configs made for an endpoint but those to keep, and models that none of those uses.

    Returns:
        What was removed, in words.
    """
    used = {v["ModelName"] for config in keep for v in endpoint.variants(config).values()}
    removed = []
    for kind, wanted in (("endpoint_config", keep), ("model", used)):
        for name in _ours(endpoint, kind):
            if name not in wanted:
                call = Call("sagemaker", f"delete_{kind}", {NAMES[kind]: name})
                endpoint.aws.send(call)
                removed.append(f"{kind.replace('_', ' ')} {name}")
    return removed


def _end(endpoint: Endpoint) -> list[str]:
    """Delete the endpoint itself and wait until it is gone."""
    state = endpoint.state()
    if state is None:
        return []
    endpoint.must_be_ours(state["EndpointArn"])
    variants = [v["VariantName"] for v in state.get("ProductionVariants", [])]
    removed = [f"autoscaling of {name}" for name in variants if unscale(endpoint, name)]
    endpoint.step("deleting the endpoint")
    endpoint.aws.send(Call("sagemaker", "delete_endpoint", {"EndpointName": endpoint.name}))
    while endpoint.state() is not None:
        time.sleep(live.POLL_S)
    return [*removed, f"endpoint {endpoint.name}"]


def _empty(endpoint: Endpoint, bucket: str) -> list[str]:
    """Delete an endpoint's files; nothing where the bucket itself is gone."""
    try:
        return folder_of(endpoint.name, bucket).delete_all(endpoint.aws)
    except AwsError as error:
        if error.aws_code == "NoSuchBucket":
            return []
        raise


def _ours(endpoint: Endpoint, kind: str) -> list[str]:
    """Names of the models or configs that carry an endpoint's tag."""
    aws, key = endpoint.aws, NAMES[kind]
    arn = key.removesuffix("Name") + "Arn"
    pages = aws.paginate("sagemaker", f"list_{kind}s", NameContains=endpoint.name)
    found = [item for page in pages for item in page[LISTED[kind]]]
    return [item[key] for item in found if aws.tags(item[arn]).get(TAG) == endpoint.name]


def _buckets(endpoint: Endpoint) -> set[str]:
    """Where the models made for an endpoint have their archives."""
    found = set()
    for model in _ours(endpoint, "model"):
        described = endpoint.aws.describe("describe_model", ModelName=model) or {}
        url = described.get("PrimaryContainer", {}).get("ModelDataUrl", "")
        if url.startswith("s3://"):
            found.add(url.split("/")[2])
    return found
