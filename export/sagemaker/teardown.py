"""Delete the resources of an endpoint: all of them, or those no longer in use."""

import contextlib

from augrank.aws.client import TAG, AwsError, Call
from export.sagemaker.autoscaling import deregister
from export.sagemaker.batch_transform import stop_jobs
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.release import folder_of

LISTED = {"endpoint_config": "EndpointConfigs", "model": "Models"}
NAMES = {"endpoint_config": "EndpointConfigName", "model": "ModelName"}


def delete(endpoint: Endpoint, bucket: str | None = None) -> list[str]:
    """Delete an endpoint and everything created for it, and nothing else.

    Resources that lead to others are deleted last, so that a second call finishes an interrupted
    one.

    Args:
        endpoint: need not exist.
        bucket: a bucket to delete the endpoint's files from; those of its models are known.

    Returns:
        Descriptions of what was deleted, for display.

    Raises:
        AwsError: augrank did not create it, or AWS refused.
    """
    deleted = stop_jobs(endpoint.aws, endpoint.name) + _delete_endpoint(endpoint)
    buckets = _buckets(endpoint) | ({bucket} if bucket else set())
    for each in sorted(buckets):
        deleted += _delete_files(endpoint, each)
    if not buckets:
        # A deploy that was killed during its upload has no model yet that would name the bucket.
        # The default bucket is a guess: if it may not be read, it has no files of augrank.
        with contextlib.suppress(AwsError):
            deleted += _delete_files(endpoint, endpoint.aws.default_bucket)
    return deleted + delete_unused(endpoint, keep=set())


def delete_unused(endpoint: Endpoint, keep: set[str]) -> list[str]:
    """Delete an endpoint's configs except those to keep, and the models that these do not use.

    Returns:
        Descriptions of what was deleted, for display.
    """
    used = {v["ModelName"] for config in keep for v in endpoint.variants(config).values()}
    deleted = []
    for kind, kept in (("endpoint_config", keep), ("model", used)):
        for name in _tagged(endpoint, kind):
            if name not in kept:
                endpoint.aws.send(Call("sagemaker", f"delete_{kind}", {NAMES[kind]: name}))
                deleted.append(f"{kind.replace('_', ' ')} {name}")
    return deleted


def _delete_endpoint(endpoint: Endpoint) -> list[str]:
    """Delete the endpoint itself, and wait until it is gone."""
    state = endpoint.state()
    if state is None:
        return []
    endpoint.check_tag(state["EndpointArn"])
    variants = [v["VariantName"] for v in state.get("ProductionVariants", [])]
    deleted = [f"autoscaling of {name}" for name in variants if deregister(endpoint, name)]
    endpoint.progress("deleting the endpoint")
    endpoint.aws.send(Call("sagemaker", "delete_endpoint", {"EndpointName": endpoint.name}))
    endpoint.wait_until_deleted()
    return [*deleted, f"endpoint {endpoint.name}"]


def _delete_files(endpoint: Endpoint, bucket: str) -> list[str]:
    """Delete an endpoint's files; nothing if the bucket itself does not exist."""
    try:
        return folder_of(endpoint.name, bucket).delete_all(endpoint.aws)
    except AwsError as error:
        if error.aws_code == "NoSuchBucket":
            return []
        raise


def _tagged(endpoint: Endpoint, kind: str) -> list[str]:
    """Names of the models or configs that have an endpoint's tag."""
    aws, key = endpoint.aws, NAMES[kind]
    arn = key.removesuffix("Name") + "Arn"
    pages = aws.paginate("sagemaker", f"list_{kind}s", NameContains=endpoint.name)
    found = [item for page in pages for item in page[LISTED[kind]]]
    return [item[key] for item in found if aws.tags(item[arn]).get(TAG) == endpoint.name]


def _buckets(endpoint: Endpoint) -> set[str]:
    """The buckets that hold the archives of an endpoint's models."""
    found = set()
    for model in _tagged(endpoint, "model"):
        described = endpoint.aws.describe("describe_model", ModelName=model) or {}
        url = described.get("PrimaryContainer", {}).get("ModelDataUrl", "")
        if url.startswith("s3://"):
            found.add(url.split("/")[2])
    return found
