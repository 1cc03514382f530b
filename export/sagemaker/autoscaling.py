"""Autoscaling: the number of a variant's instances follows its requests, and outlives the variant.

    variant ─ registered with Application Auto Scaling ─ policies, scheduled actions

SageMaker refuses an update that removes a registered variant, or changes its type of instance;
deregistering a variant deletes its policies and scheduled actions; a variant can be registered only
while it is there. So an update writes down what the old variant has before it is deregistered and
goes, and registers it for the variant that serves in the end: the new one, or the old one again.
Nothing is lost between the two, as AWS scales nothing while an endpoint is being updated.
"""

import itertools
import json
from collections.abc import Mapping
from typing import Any

from augrank.aws.client import INVALID, Aws, AwsError, Call
from augrank.aws.s3 import S3Folder
from export.sagemaker.endpoint import Endpoint

SERVICE = "application-autoscaling"
# Tags would hold it nearer, but they take neither braces nor more than 256 characters.
NOTE = "autoscaling.json"
# How each part is described, and what of it is needed to make it again.
PARTS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("describe_scalable_targets", "ScalableTargets", "register_scalable_target",
     ("MinCapacity", "MaxCapacity", "SuspendedState")),
    ("describe_scaling_policies", "ScalingPolicies", "put_scaling_policy",
     ("PolicyName", "PolicyType", "TargetTrackingScalingPolicyConfiguration",
      "StepScalingPolicyConfiguration", "PredictiveScalingPolicyConfiguration")),
    ("describe_scheduled_actions", "ScheduledActions", "put_scheduled_action",
     ("ScheduledActionName", "Schedule", "Timezone", "StartTime", "EndTime",
      "ScalableTargetAction")),
)  # fmt: skip


def autoscale(
    endpoint: Endpoint, least: int, most: int, invocations_per_minute: float
) -> list[str]:
    """Let the number of instances follow the requests, for every variant that has instances.

    Args:
        endpoint: whose variants.
        least: instances, at least.
        most: instances, at most.
        invocations_per_minute: of one instance, that is aimed at.

    Returns:
        The variants' names.

    Raises:
        AwsError: there is no endpoint, or it has no instances.
    """
    names = [
        variant["VariantName"]
        for variant in endpoint.existing()["ProductionVariants"]
        if "CurrentServerlessConfig" not in variant
    ]
    if not names:
        raise AwsError(
            f"{endpoint.name} is serverless",
            remedy="It scales by itself, up to --max-concurrency.",
        )
    for name in names:
        for call in scaling_calls(endpoint.name, name, least, most, invocations_per_minute):
            endpoint.aws.send(call)
    return names


def scaling_calls(
    endpoint: str, variant: str, least: int, most: int, invocations_per_minute: float
) -> list[Call]:
    """The requests that let a variant's instances follow its invocations."""
    target = scalable(endpoint, variant)
    policy = {
        "TargetValue": invocations_per_minute,
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
        },
        "ScaleInCooldown": 300,
        "ScaleOutCooldown": 60,
    }
    return [
        Call(SERVICE, "register_scalable_target",
             {**target, "MinCapacity": least, "MaxCapacity": most}),
        Call(SERVICE, "put_scaling_policy",
             {**target, "PolicyName": f"{endpoint}-invocations",
              "PolicyType": "TargetTrackingScaling",
              "TargetTrackingScalingPolicyConfiguration": policy}),
    ]  # fmt: skip


def scalable(endpoint: str, variant: str) -> dict[str, str]:
    """A variant's number of instances, as Application Auto Scaling names it."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def unscale(endpoint: Endpoint, variant: str) -> bool:
    """Deregister a variant; False where it was not registered."""
    call = Call(SERVICE, "deregister_scalable_target", scalable(endpoint.name, variant))
    try:
        endpoint.aws.send(call)
    except AwsError as error:
        if error.aws_code == "ObjectNotFoundException":
            return False
        raise
    return True


def set_aside(endpoint: Endpoint, variant: str, folder: S3Folder) -> None:
    """Write down what a variant has, then deregister it; nothing where it is not registered."""
    parts = _registered(endpoint.aws, scalable(endpoint.name, variant))
    if not parts:
        return
    endpoint.step(f"setting autoscaling of {variant} aside")
    note = {"variant": variant, "parts": parts}
    folder.write(endpoint.aws, NOTE, json.dumps(note, default=str).encode())
    unscale(endpoint, variant)


def restore(endpoint: Endpoint, variant: str, folder: S3Folder) -> None:
    """Register for a variant what was set aside, if anything was."""
    content = folder.read(endpoint.aws, NOTE)
    if content is None:
        return
    endpoint.step(f"registering autoscaling for {variant}")
    old = json.dumps(json.loads(content)["variant"])
    # A policy on a metric of one's own names the variant among the metric's dimensions.
    parts = json.loads(content.decode().replace(old, json.dumps(variant)))["parts"]
    for operation, parameters in parts:
        call = Call(SERVICE, operation, {**scalable(endpoint.name, variant), **parameters})
        try:
            endpoint.aws.send(call)
        except AwsError as error:
            # AWS takes no action whose time is past; that one has done its work.
            if operation != "put_scheduled_action" or error.aws_code != INVALID:
                raise
            endpoint.step(f"left out {parameters['ScheduledActionName']}: {error}")


def forget(endpoint: Endpoint, folder: S3Folder) -> None:
    """Drop what was set aside."""
    folder.delete(endpoint.aws, NOTE)


def _registered(aws: Aws, target: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """The requests, less the target, that would register a variant as it is registered now."""
    found = []
    for describe, listed, make, needed in PARTS:
        which: dict[str, Any] = dict(target)
        if describe == "describe_scalable_targets":
            which["ResourceIds"] = [which.pop("ResourceId")]
        pages = aws.paginate(SERVICE, describe, **which)
        for item in itertools.chain.from_iterable(page[listed] for page in pages):
            found.append((make, {key: item[key] for key in needed if item.get(key) is not None}))
        if not found:
            break  # policies and scheduled actions belong to a target
    return found
