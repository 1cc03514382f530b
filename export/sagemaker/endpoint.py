"""A live endpoint: its state, its config, and what it serves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from augrank.aws.client import TAG, Aws, AwsError
from augrank.aws.poll import Pending, poll
from augrank.reporting import ShowStatus, no_progress

POLL_S = 10.0
WAIT_S = 40 * 60.0  # SageMaker itself gives up earlier
FAILED = ("Failed", "UpdateRollbackFailed")


class Endpoint:
    """An endpoint by name; it need not exist."""

    def __init__(self, aws: Aws, name: str, progress: ShowStatus = no_progress) -> None:
        self.aws, self.name, self.progress = aws, name, progress

    def state(self) -> dict[str, Any] | None:
        """Return SageMaker's description of the endpoint; None if it does not exist."""
        return self.aws.describe("describe_endpoint", EndpointName=self.name)

    def existing_state(self) -> dict[str, Any]:
        """Return SageMaker's description of the endpoint.

        Raises:
            AwsError: it does not exist.
        """
        state = self.state()
        if state is None:
            raise AwsError(f"there is no endpoint {self.name}", remedy="Use: export deploy")
        return state

    def wait(self) -> dict[str, Any]:
        """Wait until the endpoint is in service, and return its description.

        Raises:
            AwsError: it failed, was deleted, or takes too long.
        """
        return poll(self._in_service, interval_s=POLL_S, timeout_s=WAIT_S, progress=self.progress)

    def wait_until_deleted(self) -> None:
        """Wait until the endpoint no longer exists."""

        def deleted() -> bool | Pending:
            state = self.state()
            return Pending(f"{self.name}: {state['EndpointStatus']}") if state else True

        poll(deleted, interval_s=POLL_S, progress=self.progress)

    def config(self, name: str) -> dict[str, Any] | None:
        """Return SageMaker's description of an endpoint config; None if it does not exist."""
        return self.aws.describe("describe_endpoint_config", EndpointConfigName=name)

    def variants(self, config: str) -> dict[str, dict[str, Any]]:
        """Return the variants of a config, by name."""
        described = self.config(config) or {}
        return {v["VariantName"]: v for v in described.get("ProductionVariants", [])}

    def existing_config(self) -> dict[str, Any]:
        """Return SageMaker's description of the config that the endpoint runs.

        Raises:
            AwsError: the endpoint or its config does not exist.
        """
        name = self.existing_state()["EndpointConfigName"]
        config = self.config(name)
        if config is None:
            raise AwsError(f"the config {name} of {self.name} no longer exists")
        return config

    def check_tag(self, arn: str) -> None:
        """Reject an endpoint that augrank did not create.

        Raises:
            AwsError: it does not have augrank's tag.
        """
        if self.aws.tags(arn).get(TAG) != self.name:
            raise AwsError(
                f"the endpoint {self.name} was not created by augrank",
                expected=f"the tag {TAG}={self.name} on it",
                remedy="Change or delete it where it was created, or choose another name.",
            )

    def _in_service(self) -> dict[str, Any] | Pending:
        state = self.state()
        if state is None:
            raise AwsError(f"the endpoint {self.name} was deleted")
        status = state["EndpointStatus"]
        if status == "InService":
            return state
        if status in FAILED:
            reason = state.get("FailureReason", "no reason given")
            raise AwsError(
                f"the endpoint {self.name} failed: {reason}",
                remedy=f"See its log in CloudWatch (/aws/sagemaker/Endpoints/{self.name}).",
            )
        return Pending(f"{self.name}: {status}")


@dataclass(frozen=True)
class DeployedState:
    """The configuration that an endpoint currently serves."""

    config: Mapping[str, Any]  # the running one
    serving: Mapping[str, Mapping[str, Any]]  # the variants that receive traffic, by name

    @classmethod
    def read(cls, endpoint: Endpoint, state: Mapping[str, Any]) -> "DeployedState":
        """Read the state from the endpoint's description and config."""
        variants = {v["VariantName"]: v for v in state["ProductionVariants"]}
        serving = {name: v for name, v in variants.items() if v.get("CurrentWeight", 0) > 0}
        return cls(endpoint.existing_config(), serving or variants)

    @property
    def instances(self) -> int:
        """The desired number of instances, set by hand or by autoscaling."""
        return max(_instances(variant) for variant in self.serving.values())

    @property
    def is_realtime(self) -> bool:
        """Whether a second variant can be added: not on asynchronous or serverless endpoints."""
        serverless = any("ServerlessConfig" in v for v in self.config["ProductionVariants"])
        return not serverless and not self.config.get("AsyncInferenceConfig")

    def runs_only(self, variant: str, instances: int | None) -> bool:
        """Whether this is the only variant, with this number of instances."""
        names = {v["VariantName"] for v in self.config["ProductionVariants"]}
        return names == {variant} and instances == self.instances

    def variants(self) -> list[dict[str, Any]]:
        """Return the serving variants for a config, with their current traffic and instances."""
        return [
            {**variant, **self._current(variant)}
            for variant in self.config["ProductionVariants"]
            if variant["VariantName"] in self.serving
        ]

    def _current(self, variant: Mapping[str, Any]) -> dict[str, Any]:
        present = self.serving[variant["VariantName"]]
        current = {"InitialVariantWeight": present.get("CurrentWeight", 1.0)}
        if "InitialInstanceCount" in variant:
            current["InitialInstanceCount"] = _instances(present)
        return current


def _instances(variant: Mapping[str, Any]) -> int:
    # An asynchronous endpoint may be scaled to none, but a new variant needs at least one.
    return variant.get("DesiredInstanceCount") or 1
