"""A release comes to an endpoint: deployed, or in place of the one that serves.

An update of a real-time endpoint lets the new variant stand beside the old one without traffic,
asks it the smoke question, and only then shifts traffic. Where anything fails, what served before
serves again: its variants, with as many instances and the autoscaling that they had.

    old ─ old, new without traffic ─ new        serverless and asynchronous: old ─ new
              └ smoke question       └ smoke question

Each stage is found again from what the endpoint runs, so that the next call finishes an
interrupted one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from augrank.aws.client import AwsError, Call
from export.sagemaker.autoscaling import forget, restore, set_aside
from export.sagemaker.endpoint import Endpoint, Standing
from export.sagemaker.invoke import SmokeQuestion, ask
from export.sagemaker.release import Release, config_of
from export.sagemaker.teardown import remove_unused

PREVIOUS_TAG = "augrank:previous-config"  # on a config: the one that it replaced
# What a config may hold beside its variants, by the names of create_endpoint_config.
CARRIED = (
    "AsyncInferenceConfig", "DataCaptureConfig", "EnableNetworkIsolation", "ExecutionRoleArn",
    "ExplainerConfig", "KmsKeyId", "VpcConfig",
)  # fmt: skip


def deploy(endpoint: Endpoint, release: Release) -> dict[str, Any]:
    """Make an endpoint, or go on making it, and ask the smoke question.

    Raises:
        AwsError: AWS refuses, the endpoint exists with another release, or answers wrongly.
    """
    question = SmokeQuestion.of(release.dist)
    state = endpoint.state()
    if state is None:
        forget(endpoint, release.settings.folder)  # of an endpoint that was deleted elsewhere
        _prepare(endpoint, release)
        endpoint.aws.create(release.config)
        endpoint.step("making the endpoint")
        endpoint.aws.create(release.endpoint)
    elif not _holds(endpoint, state["EndpointConfigName"], release):
        raise AwsError(
            f"the endpoint {endpoint.name} exists with another release",
            remedy="Use: python -m export update, or delete it first.",
        )
    state = endpoint.wait()
    _smoke(endpoint, question)
    return state


def update(endpoint: Endpoint, release: Release) -> dict[str, Any]:
    """Replace what an endpoint serves, without a moment in which nothing healthy serves.

    Raises:
        AwsError: there is none, augrank did not make it, or the new release failed and what served
            before serves on.
    """
    question = SmokeQuestion.of(release.dist)
    endpoint.must_be_ours(endpoint.existing()["EndpointArn"])
    standing = Standing.of(endpoint, endpoint.wait())
    release = release.with_instances(release.settings.instances or standing.instances)
    _prepare(endpoint, release)
    _Change(endpoint, standing, release, question).make()
    return endpoint.wait()


@dataclass(frozen=True)
class _Change:
    """From what serves to a release."""

    endpoint: Endpoint
    standing: Standing
    release: Release
    question: SmokeQuestion

    def make(self) -> None:
        """Go through the stages that are left; go back where one fails.

        Raises:
            AwsError: one failed.
        """
        standing, variant = self.standing, self.release.variant["VariantName"]
        # An interrupted update may have set aside what serves, or restored a part of it.
        self._scale(standing.variants())
        there = standing.runs_only(variant, self.release.settings.instances)
        wanted = standing.config["EndpointConfigName"]
        previous = self._replaced() if there else self._as_it_is()
        realtime = self.release.settings.kind == "realtime" and standing.is_realtime
        trial = realtime and not there and variant not in standing.serving
        served = "served all the while" if trial else "serves again"
        try:
            if trial:
                self._try_beside(variant)
                served = "serves again"
            if not there:
                wanted = self._alone(previous)
                self._shift(wanted)
            _smoke(self.endpoint, self.question)
        except AwsError as error:
            if previous is None:
                raise
            self._shift(previous)
            self._settle(previous)
            raise AwsError(f"{error} Rolled back: {previous} {served}.") from error
        self._settle(wanted)

    def _try_beside(self, variant: str) -> None:
        """Let the new variant stand beside what serves, without traffic, and ask it."""
        new = {**self.release.variant, "InitialVariantWeight": 0.0}
        self._shift(self._made([*self.standing.variants(), new]))
        _smoke(self.endpoint, self.question, variant)

    def _shift(self, config: str) -> None:
        """Let the endpoint run this config, and wait.

        Raises:
            AwsError: SageMaker could not, and went back by itself.
        """
        endpoint = self.endpoint
        state = endpoint.wait()
        if state["EndpointConfigName"] != config:
            coming = endpoint.variants(config)
            for variant in state["ProductionVariants"]:
                if variant["VariantName"] not in coming:
                    set_aside(endpoint, variant["VariantName"], self.release.settings.folder)
            endpoint.step(f"shifting to {config}")
            parameters = {"EndpointName": endpoint.name, "EndpointConfigName": config}
            endpoint.aws.send(Call("sagemaker", "update_endpoint", parameters))
            state = endpoint.wait()
        if state["EndpointConfigName"] != config:
            reason = state.get("FailureReason", "no reason given")
            raise AwsError(f"SageMaker could not start {config}: {reason}")

    def _settle(self, config: str) -> None:
        """Give what serves now its autoscaling, and remove what does not serve."""
        self._scale(self.endpoint.variants(config).values())
        forget(self.endpoint, self.release.settings.folder)
        remove_unused(self.endpoint, keep={config})

    def _scale(self, variants: Iterable[Mapping[str, Any]]) -> None:
        """Register what was set aside for these variants, as far as they have instances."""
        for variant in variants:
            if "ServerlessConfig" not in variant:
                restore(self.endpoint, variant["VariantName"], self.release.settings.folder)

    def _replaced(self) -> str | None:
        """The config that the running one replaced, if an interrupted update left it."""
        tags = self.endpoint.aws.tags(self.standing.config["EndpointConfigArn"])
        previous = tags.get(PREVIOUS_TAG)
        return previous if previous and self.endpoint.config(previous) else None

    def _as_it_is(self) -> str:
        """The config to go back to: what serves, with as many instances as it has now."""
        variants = self.standing.variants()
        if variants == self.standing.config["ProductionVariants"]:
            return str(self.standing.config["EndpointConfigName"])
        return self._made(variants)

    def _made(self, variants: list[dict[str, Any]]) -> str:
        """A config like the running one, of other variants."""
        config = self.standing.config
        what = {key: config[key] for key in CARRIED if config.get(key)}
        call = config_of(self.endpoint.name, {**what, "ProductionVariants": variants})
        self.endpoint.aws.create(call)
        return str(call.parameters["EndpointConfigName"])

    def _alone(self, previous: str | None) -> str:
        """The release's own config."""
        call = self.release.config
        if previous:
            call.parameters["Tags"].append({"Key": PREVIOUS_TAG, "Value": previous})
        self.endpoint.aws.create(call)
        return str(call.parameters["EndpointConfigName"])


def _prepare(endpoint: Endpoint, release: Release) -> None:
    """Upload the archive and make the model, as far as they are not there."""
    release.upload(endpoint.aws, endpoint.step)
    endpoint.step("making model and config")
    endpoint.aws.create(release.model)


def _holds(endpoint: Endpoint, config: str, release: Release) -> bool:
    """Whether a config is a release's, whatever its instances where the release names none."""
    if config == release.config.parameters["EndpointConfigName"]:
        return True
    variants = set(endpoint.variants(config))
    return release.settings.instances is None and variants == {release.variant["VariantName"]}


def _smoke(endpoint: Endpoint, question: SmokeQuestion, variant: str | None = None) -> None:
    endpoint.step("asking the smoke question")
    question.check(ask(endpoint, question.body, variant=variant))
