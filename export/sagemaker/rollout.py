"""Roll a release out to an endpoint: deploy it, or replace the current release.

An update of a real-time endpoint adds the new variant beside the old one without traffic, sends it
the smoke request, and only then shifts traffic. If any step fails, the update is rolled back: the
old variants serve again, with the instances and the autoscaling that they had.

    old ─ old, new without traffic ─ new        serverless and asynchronous: old ─ new
              └ smoke request        └ smoke request

The current stage is derived from what the endpoint runs, so that the next call finishes an
interrupted one.

SageMaker's own blue/green policies (DeploymentConfig of UpdateEndpoint) do not replace this. They
send live traffic to the new fleet before it has been tested, cannot address it without traffic, and
roll back on CloudWatch alarms only; autoscaling would still have to be saved if the instance type
changes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from augrank.aws.client import AwsError, Call
from augrank.aws.s3 import S3Folder
from augrank.bundle.smoke import SmokeRequest
from export.sagemaker.autoscaling import discard_saved, restore, save_and_deregister
from export.sagemaker.endpoint import DeployedState, Endpoint
from export.sagemaker.invoke import check_smoke_answer, invoke, load_smoke_request
from export.sagemaker.release import Release, config_call
from export.sagemaker.teardown import delete_unused

PREVIOUS_TAG = "augrank:previous-config"  # on a config: the one that it replaced
# Settings of a config beside its variants that an update keeps, by their names in
# create_endpoint_config.
KEPT_SETTINGS = (
    "AsyncInferenceConfig",
    "DataCaptureConfig",
    "EnableNetworkIsolation",
    "ExecutionRoleArn",
    "ExplainerConfig",
    "KmsKeyId",
    "VpcConfig",
)


def deploy(endpoint: Endpoint, release: Release) -> dict[str, Any]:
    """Create an endpoint, or continue an interrupted creation, and send it the smoke request.

    Returns:
        SageMaker's description of the endpoint.

    Raises:
        AwsError: AWS refused, the endpoint exists with another release, or its answer is wrong.
    """
    smoke = load_smoke_request(release.dist)
    state = endpoint.state()
    if state is None:
        # Autoscaling of an endpoint of this name that was deleted by other means.
        discard_saved(endpoint, release.settings.folder)
        _prepare(endpoint, release)
        endpoint.aws.create(release.config)
        endpoint.progress("creating the endpoint")
        endpoint.aws.create(release.endpoint)
    elif not _holds(endpoint, state["EndpointConfigName"], release):
        raise AwsError(
            f"the endpoint {endpoint.name} exists with another release",
            remedy="Use: python -m export update, or delete it first.",
        )
    state = endpoint.wait()
    _smoke_test(endpoint, smoke)
    return state


def update(endpoint: Endpoint, release: Release) -> dict[str, Any]:
    """Replace an endpoint's release; a healthy variant serves at all times.

    Returns:
        SageMaker's description of the endpoint.

    Raises:
        AwsError: there is no such endpoint, augrank did not create it, or the new release failed
            and was rolled back.
    """
    smoke = load_smoke_request(release.dist)
    endpoint.check_tag(endpoint.existing_state()["EndpointArn"])
    deployed = DeployedState.read(endpoint, endpoint.wait())
    release = release.with_instances(release.settings.instances or deployed.instances)
    _prepare(endpoint, release)
    _Update(endpoint, deployed, release.settings.folder, release, smoke).run()
    return endpoint.wait()


def add_beside(endpoint: Endpoint, release: Release) -> str:
    """Add a release to a real-time endpoint beside what serves, without traffic.

    It answers the smoke request, and whoever names its variant. ``keep_only`` lets it take over,
    or removes it.

    Returns:
        The name of its variant.

    Raises:
        AwsError: there is no such endpoint, augrank did not create it, it is not a real-time one,
            or the release failed and was removed.
    """
    smoke = load_smoke_request(release.dist)
    endpoint.check_tag(endpoint.existing_state()["EndpointArn"])
    deployed = DeployedState.read(endpoint, endpoint.wait())
    if not deployed.is_realtime:
        raise AwsError(
            f"the endpoint {endpoint.name} cannot hold two variants",
            expected="a real-time endpoint",
            got="a serverless or an asynchronous one",
            remedy="Use: python -m export update.",
        )
    release = release.with_instances(deployed.instances)
    _prepare(endpoint, release)
    adding = _Update(endpoint, deployed, release.settings.folder, release, smoke)
    adding.add()
    return str(release.variant["VariantName"])


def keep_only(endpoint: Endpoint, variant: str, folder: S3Folder) -> None:
    """Give one of an endpoint's variants all traffic, and remove the others.

    Args:
        endpoint: in service.
        variant: name of one that it has.
        folder: of the endpoint's files.

    Raises:
        AwsError: it has no such variant, or AWS could not remove the others; they all stay.
    """
    deployed = DeployedState.read(endpoint, endpoint.wait())
    _Transition(endpoint, deployed, folder).keep(variant)


@dataclass(frozen=True)
class _Transition:
    """A transition from the deployed state."""

    endpoint: Endpoint
    deployed: DeployedState
    folder: S3Folder

    def keep(self, variant: str) -> None:
        """Give one variant all traffic, and remove the others."""
        every = {each["VariantName"]: each for each in self.deployed.config["ProductionVariants"]}
        if variant not in every:
            raise AwsError(
                f"the endpoint {self.endpoint.name} has no variant {variant}",
                expected=", ".join(every),
                got=variant,
            )
        kept = {
            **every[variant],
            "InitialVariantWeight": 1.0,
            "InitialInstanceCount": self.deployed.instances,
        }
        config = self._create_config([kept])
        self._switch_to(config)
        self._clean_up(config)

    def _switch_to(self, config: str) -> None:
        """Update the endpoint to a config, and wait.

        Raises:
            AwsError: SageMaker could not start it, and reverted to the old one.
        """
        endpoint = self.endpoint
        state = endpoint.wait()
        if state["EndpointConfigName"] != config:
            kept = endpoint.variants(config)
            for variant in state["ProductionVariants"]:
                if variant["VariantName"] not in kept:
                    save_and_deregister(endpoint, variant["VariantName"], self.folder)
            endpoint.progress(f"switching to {config}")
            parameters = {"EndpointName": endpoint.name, "EndpointConfigName": config}
            endpoint.aws.send(Call("sagemaker", "update_endpoint", parameters))
            state = endpoint.wait()
        if state["EndpointConfigName"] != config:
            reason = state.get("FailureReason", "no reason given")
            raise AwsError(f"SageMaker could not start {config}: {reason}")

    def _clean_up(self, config: str) -> None:
        """Restore autoscaling for the serving variants, and delete unused resources."""
        self._restore_autoscaling(self.endpoint.variants(config).values())
        discard_saved(self.endpoint, self.folder)
        delete_unused(self.endpoint, keep={config})

    def _restore_autoscaling(self, variants: Iterable[Mapping[str, Any]]) -> None:
        """Restore the saved autoscaling for those of these variants that have instances."""
        for variant in variants:
            if "ServerlessConfig" not in variant:
                restore(self.endpoint, variant["VariantName"], self.folder)

    def _create_config(self, variants: list[dict[str, Any]]) -> str:
        """Create a config like the running one, with other variants."""
        config = self.deployed.config
        kept = {key: config[key] for key in KEPT_SETTINGS if config.get(key)}
        call = config_call(self.endpoint.name, {**kept, "ProductionVariants": variants})
        self.endpoint.aws.create(call)
        return str(call.parameters["EndpointConfigName"])


@dataclass(frozen=True)
class _Update(_Transition):
    """The transition from the deployed state to a release."""

    release: Release
    smoke: SmokeRequest

    def run(self) -> None:
        """Go through the remaining stages; roll back if one fails.

        Raises:
            AwsError: a stage failed.
        """
        deployed, variant = self.deployed, self.release.variant["VariantName"]
        # An interrupted update may have saved the autoscaling, or restored a part of it.
        self._restore_autoscaling(deployed.variants())
        is_deployed = deployed.runs_only(variant, self.release.settings.instances)
        wanted = deployed.config["EndpointConfigName"]
        previous = self._replaced_config() if is_deployed else self._current_config()
        realtime = self.release.settings.kind == "realtime" and deployed.is_realtime
        trial = realtime and not is_deployed and variant not in deployed.serving
        outcome = "kept serving" if trial else "serves again"
        try:
            if trial:
                self._try_without_traffic(variant)
                outcome = "serves again"
            if not is_deployed:
                wanted = self._release_config(previous)
                self._switch_to(wanted)
            _smoke_test(self.endpoint, self.smoke)
        except AwsError as error:
            if previous is None:
                raise
            self._switch_to(previous)
            self._clean_up(previous)
            raise AwsError(f"{error} Rolled back: {previous} {outcome}.") from error
        self._clean_up(wanted)

    def _try_without_traffic(self, variant: str) -> None:
        """Add the new variant beside the old ones, without traffic, and send it the request."""
        new = {**self.release.variant, "InitialVariantWeight": 0.0}
        self._switch_to(self._create_config([*self.deployed.variants(), new]))
        _smoke_test(self.endpoint, self.smoke, variant)

    def add(self) -> None:
        """Add the release beside what serves; remove it again if it fails.

        Raises:
            AwsError: it failed.
        """
        self._restore_autoscaling(self.deployed.variants())
        variant = self.release.variant["VariantName"]
        if variant in self.deployed.serving:
            _smoke_test(self.endpoint, self.smoke, variant)
            return
        previous = self._current_config()
        try:
            self._try_without_traffic(variant)
        except AwsError as error:
            self._switch_to(previous)
            self._clean_up(previous)
            raise AwsError(f"{error} It was removed: {previous} kept serving.") from error

    def _replaced_config(self) -> str | None:
        """The config that the running one replaced, if an interrupted update left it."""
        tags = self.endpoint.aws.tags(self.deployed.config["EndpointConfigArn"])
        previous = tags.get(PREVIOUS_TAG)
        return previous if previous and self.endpoint.config(previous) else None

    def _current_config(self) -> str:
        """The config to roll back to: what serves, with its current number of instances."""
        variants = self.deployed.variants()
        if variants == self.deployed.config["ProductionVariants"]:
            return str(self.deployed.config["EndpointConfigName"])
        return self._create_config(variants)

    def _release_config(self, previous: str | None) -> str:
        """Create the release's own config, tagged with the one that it replaces."""
        call = self.release.config
        if previous:
            call.parameters["Tags"].append({"Key": PREVIOUS_TAG, "Value": previous})
        self.endpoint.aws.create(call)
        return str(call.parameters["EndpointConfigName"])


def _prepare(endpoint: Endpoint, release: Release) -> None:
    """Upload the archive and create the model, unless they exist."""
    release.upload(endpoint.aws, endpoint.progress)
    endpoint.progress("creating model and config")
    endpoint.aws.create(release.model)


def _holds(endpoint: Endpoint, config: str, release: Release) -> bool:
    """Whether a config is a release's; any number of instances matches if the release has none."""
    if config == release.config.parameters["EndpointConfigName"]:
        return True
    variants = set(endpoint.variants(config))
    return release.settings.instances is None and variants == {release.variant["VariantName"]}


def _smoke_test(endpoint: Endpoint, smoke: SmokeRequest, variant: str | None = None) -> None:
    endpoint.progress("sending the smoke request")
    check_smoke_answer(smoke, invoke(endpoint, smoke.body, variant=variant))
