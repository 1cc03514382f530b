"""Autoscaling: the number of a variant's instances follows its requests, also across updates.

    variant ─ registered with Application Auto Scaling ─ policies, scheduled actions

SageMaker refuses an update that removes a registered variant or changes its instance type;
deregistering a variant deletes its policies and scheduled actions; only an existing variant can be
registered. So an update saves the old variant's autoscaling to S3 before it deregisters it, and
restores it for the variant that finally serves: the new one, or the old one after a rollback.
Nothing is lost in between, as AWS does not scale an endpoint that is being updated.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from augrank.aws.client import INVALID, Aws, AwsError, Call
from augrank.aws.s3 import S3Folder
from export.sagemaker.endpoint import Endpoint

SERVICE = "application-autoscaling"
# Tags would be the obvious place, but allow neither braces nor more than 256 characters.
SAVED_FILE = "autoscaling.json"
SCALE_IN_COOLDOWN_S, SCALE_OUT_COOLDOWN_S = 300, 60


@dataclass(frozen=True)
class Part:
    """A part of autoscaling: how it is listed, and which of its fields create it again."""

    describe: str
    listed: str
    create: str
    fields: tuple[str, ...]


PARTS = (
    Part(
        "describe_scalable_targets",
        "ScalableTargets",
        "register_scalable_target",
        ("MinCapacity", "MaxCapacity", "SuspendedState"),
    ),
    Part(
        "describe_scaling_policies",
        "ScalingPolicies",
        "put_scaling_policy",
        (
            "PolicyName",
            "PolicyType",
            "TargetTrackingScalingPolicyConfiguration",
            "StepScalingPolicyConfiguration",
            "PredictiveScalingPolicyConfiguration",
        ),
    ),
    Part(
        "describe_scheduled_actions",
        "ScheduledActions",
        "put_scheduled_action",
        (
            "ScheduledActionName",
            "Schedule",
            "Timezone",
            "StartTime",
            "EndTime",
            "ScalableTargetAction",
        ),
    ),
)


@dataclass(frozen=True)
class ScalingLimits:
    """The range of instances, and the load of one instance that autoscaling aims at."""

    min_instances: int
    max_instances: int
    invocations_per_minute: float  # per instance


def autoscale(endpoint: Endpoint, limits: ScalingLimits) -> list[str]:
    """Turn on autoscaling for every variant that has instances.

    Returns:
        The variants' names.

    Raises:
        AwsError: the endpoint does not exist, or is serverless.
    """
    names = [
        variant["VariantName"]
        for variant in endpoint.existing_state()["ProductionVariants"]
        if "CurrentServerlessConfig" not in variant
    ]
    if not names:
        raise AwsError(
            f"{endpoint.name} is serverless",
            remedy="It scales automatically; no autoscaling is needed.",
        )
    for name in names:
        for call in autoscaling_calls(endpoint.name, name, limits):
            endpoint.aws.send(call)
    return names


def autoscaling_calls(endpoint: str, variant: str, limits: ScalingLimits) -> list[Call]:
    """Return the requests that make a variant's instances follow its invocations."""
    target = scalable_target(endpoint, variant)
    capacity = {"MinCapacity": limits.min_instances, "MaxCapacity": limits.max_instances}
    policy = {
        "PolicyName": f"{endpoint}-invocations",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": limits.invocations_per_minute,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
            },
            "ScaleInCooldown": SCALE_IN_COOLDOWN_S,
            "ScaleOutCooldown": SCALE_OUT_COOLDOWN_S,
        },
    }
    return [
        Call(SERVICE, "register_scalable_target", {**target, **capacity}),
        Call(SERVICE, "put_scaling_policy", {**target, **policy}),
    ]


def scalable_target(endpoint: str, variant: str) -> dict[str, str]:
    """Return Application Auto Scaling's name of a variant's number of instances."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def deregister(endpoint: Endpoint, variant: str) -> bool:
    """Deregister a variant; return False if it was not registered."""
    call = Call(SERVICE, "deregister_scalable_target", scalable_target(endpoint.name, variant))
    try:
        endpoint.aws.send(call)
    except AwsError as error:
        if error.aws_code == "ObjectNotFoundException":
            return False
        raise
    return True


def save_and_deregister(endpoint: Endpoint, variant: str, folder: S3Folder) -> None:
    """Save a variant's autoscaling to S3, then deregister it; nothing if it is not registered."""
    calls = _registered(endpoint.aws, scalable_target(endpoint.name, variant))
    if not calls:
        return
    endpoint.progress(f"saving the autoscaling of {variant}")
    content = {"variant": variant, "parts": calls}
    folder.write(endpoint.aws, SAVED_FILE, json.dumps(content, default=str).encode())
    deregister(endpoint, variant)


def restore(endpoint: Endpoint, variant: str, folder: S3Folder) -> None:
    """Register a variant with the saved autoscaling, if there is any."""
    content = folder.read(endpoint.aws, SAVED_FILE)
    if content is None:
        return
    endpoint.progress(f"restoring autoscaling for {variant}")
    old = json.dumps(json.loads(content)["variant"])
    # A policy on a custom metric names the variant among the metric's dimensions.
    calls = json.loads(content.decode().replace(old, json.dumps(variant)))["parts"]
    for operation, parameters in calls:
        target = scalable_target(endpoint.name, variant)
        try:
            endpoint.aws.send(Call(SERVICE, operation, {**target, **parameters}))
        except AwsError as error:
            # AWS refuses a scheduled action in the past; such an action has been carried out.
            if operation != "put_scheduled_action" or error.aws_code != INVALID:
                raise
            endpoint.progress(f"left out {parameters['ScheduledActionName']}: {error}")


def discard_saved(endpoint: Endpoint, folder: S3Folder) -> None:
    """Delete the saved autoscaling."""
    folder.delete(endpoint.aws, SAVED_FILE)


def _registered(aws: Aws, target: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """The requests, without the target, that would register a variant as it is registered now."""
    calls = []
    for part in PARTS:
        parameters: dict[str, Any] = dict(target)
        if part.describe == "describe_scalable_targets":
            parameters["ResourceIds"] = [parameters.pop("ResourceId")]
        pages = aws.paginate(SERVICE, part.describe, **parameters)
        for item in itertools.chain.from_iterable(page[part.listed] for page in pages):
            kept = {name: item[name] for name in part.fields if item.get(name) is not None}
            calls.append((part.create, kept))
        if not calls:
            break  # policies and scheduled actions belong to a target
    return calls
