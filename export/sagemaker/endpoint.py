"""A live endpoint as AWS has it: its state, its config, and what serves at this moment."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from augrank.aws.client import TAG, Aws, AwsError
from export.sagemaker.release import Step

POLL_S = 10.0
WAIT_S = 40 * 60.0  # SageMaker itself gives up earlier
FAILED = ("Failed", "UpdateRollbackFailed")


class Endpoint:
    """An endpoint by name."""

    def __init__(self, aws: Aws, name: str, step: Step = lambda _: None) -> None:
        self.aws, self.name, self.step = aws, name, step

    def state(self) -> dict[str, Any] | None:
        """SageMaker's description; None where there is no such endpoint."""
        return self.aws.describe("describe_endpoint", EndpointName=self.name)

    def existing(self) -> dict[str, Any]:
        """The same.

        Raises:
            AwsError: there is no such endpoint.
        """
        state = self.state()
        if state is None:
            raise AwsError(f"there is no endpoint {self.name}", remedy="Use: export deploy")
        return state

    def wait(self) -> dict[str, Any]:
        """Until it is in service.

        Raises:
            AwsError: it failed, went away, or takes too long.
        """
        started = time.monotonic()
        while time.monotonic() - started < WAIT_S:
            state = self.state()
            if state is None:
                raise AwsError(f"the endpoint {self.name} is gone")
            status = state["EndpointStatus"]
            if status == "InService":
                return state
            if status in FAILED:
                reason = state.get("FailureReason", "no reason given")
                raise AwsError(
                    f"the endpoint {self.name} failed: {reason}",
                    remedy=f"See its log in CloudWatch (/aws/sagemaker/Endpoints/{self.name}).",
                )
            waited = int(time.monotonic() - started)
            self.step(f"{self.name}: {status} for {waited // 60}:{waited % 60:02d}")
            time.sleep(POLL_S)
        raise AwsError(f"the endpoint {self.name} is not in service after {WAIT_S / 60:.0f} min")

    def config(self, name: str) -> dict[str, Any] | None:
        """SageMaker's description of a config; None where there is no such config."""
        return self.aws.describe("describe_endpoint_config", EndpointConfigName=name)

    def variants(self, config: str) -> dict[str, dict[str, Any]]:
        """A config's variants, by name."""
        described = self.config(config) or {}
        return {v["VariantName"]: v for v in described.get("ProductionVariants", [])}

    def existing_config(self) -> dict[str, Any]:
        """SageMaker's description of the config that the endpoint runs.

        Raises:
            AwsError: there is no such endpoint, or its config is gone.
        """
        name = self.existing()["EndpointConfigName"]
        config = self.config(name)
        if config is None:
            raise AwsError(f"the config {name} of {self.name} is gone")
        return config

    def must_be_ours(self, arn: str) -> None:
        """Refuse an endpoint that something else made.

        Raises:
            AwsError: it has not our tag.
        """
        if self.aws.tags(arn).get(TAG) != self.name:
            raise AwsError(
                f"the endpoint {self.name} was not made by augrank",
                expected=f"the tag {TAG}={self.name} on it",
                remedy="Change or delete it where it was made, or choose another name.",
            )


@dataclass(frozen=True)
class Standing:
    """What an endpoint in service serves at this moment."""

    config: Mapping[str, Any]  # that it runs
    serving: Mapping[str, Mapping[str, Any]]  # the variants that have traffic, by name

    @classmethod
    def of(cls, endpoint: Endpoint, state: Mapping[str, Any]) -> "Standing":
        """As the endpoint's description has it."""
        variants = {v["VariantName"]: v for v in state["ProductionVariants"]}
        serving = {name: v for name, v in variants.items() if v.get("CurrentWeight", 0) > 0}
        return cls(endpoint.existing_config(), serving or variants)

    @property
    def instances(self) -> int:
        """How many are wanted now, by hand or by autoscaling."""
        return max(_instances(variant) for variant in self.serving.values())

    @property
    def is_realtime(self) -> bool:
        """Whether another variant may stand beside: not of an asynchronous or serverless one."""
        serverless = any("ServerlessConfig" in v for v in self.config["ProductionVariants"])
        return not serverless and not self.config.get("AsyncInferenceConfig")

    def runs_only(self, variant: str, instances: int | None) -> bool:
        """Whether it has this variant and no other, with so many instances."""
        names = {v["VariantName"] for v in self.config["ProductionVariants"]}
        return names == {variant} and instances == self.instances

    def variants(self) -> list[dict[str, Any]]:
        """For a config: what serves, with its traffic and as many instances as it has now."""
        return [
            {**variant, **self._now(variant)}
            for variant in self.config["ProductionVariants"]
            if variant["VariantName"] in self.serving
        ]

    def _now(self, variant: Mapping[str, Any]) -> dict[str, Any]:
        present = self.serving[variant["VariantName"]]
        now = {"InitialVariantWeight": present.get("CurrentWeight", 1.0)}
        if "InitialInstanceCount" in variant:
            now["InitialInstanceCount"] = _instances(present)
        return now


def _instances(variant: Mapping[str, Any]) -> int:
    # An asynchronous endpoint may be scaled to none, but no variant can begin with none.
    return variant.get("DesiredInstanceCount") or 1
