"""A live endpoint from an export: deploy, update, invoke, autoscale, delete.

    model.tar.gz ─ S3 ─ model ─ endpoint config ─ endpoint ─ smoke question

Models and configs are named by what they hold and tagged with their endpoint. So every command can
be run again after it was interrupted: what is there already is used, what is missing is made.

An update of a real-time endpoint lets the new variant stand beside the old one without traffic,
asks it the smoke question, and only then shifts traffic; where it does not answer rightly, it goes,
and the old one was never touched.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from augrank.bundle import SMOKE_FILE, load_bundle, sha256_of
from augrank.errors import BadRequest
from export.aws.clients import TAG, Aws, AwsError, Call, friendly, is_missing

Kind = Literal["realtime", "serverless", "async"]
Step = Callable[[str], None]
POLL_S = 10.0
WAIT_S = 40 * 60.0  # SageMaker itself gives up earlier
MAX_REQUEST_BYTES = 25 * 1024 * 1024
PREVIOUS_TAG = "augrank:previous-config"  # on a config that holds an old and a new variant
SMOKE_TOLERANCE = 0.02  # of a probability; other processors round otherwise
# AWS's image starts TorchServe with its own limit of 6.5 MB.
ENVIRONMENT = {
    "TS_MAX_REQUEST_SIZE": str(MAX_REQUEST_BYTES),
    "TS_MAX_RESPONSE_SIZE": str(MAX_REQUEST_BYTES),
}
MAX_NAME = 40  # of an endpoint, so that names made from it fit SageMaker's 63 characters


@dataclass(frozen=True)
class Settings:
    """What a deployed endpoint is made of."""

    name: str
    image: str  # of the container, in ECR
    role: str  # ARN that the container runs under
    bucket: str
    kind: Kind = "realtime"
    instance_type: str = "ml.c7i.large"
    instances: int = 1
    memory_mb: int = 4096  # serverless only
    max_concurrency: int = 5  # serverless only
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Release:
    """An export as an endpoint's model and config, with the requests that make them."""

    settings: Settings
    dist: Path

    def __post_init__(self) -> None:
        name = self.settings.name
        if not name.replace("-", "").isalnum() or len(name) > MAX_NAME or name.startswith("-"):
            raise BadRequest(
                "the endpoint's name does not fit",
                expected=f"letters, digits and -, at most {MAX_NAME}",
                got=repr(name),
            )
        if not self.archive.is_file():
            raise BadRequest(
                f"there is no {self.archive}",
                remedy="Export with: python -m export build RUN --out DIST --sagemaker",
            )

    @property
    def archive(self) -> Path:
        """The export's model.tar.gz."""
        return self.dist / "model.tar.gz"

    @property
    def key(self) -> str:
        """Of the archive in the bucket; another content has another one."""
        return f"{prefix(self.settings.name)}{sha256_of(self.archive)[:16]}/model.tar.gz"

    @property
    def model(self) -> Call:
        """The request that makes the model."""
        settings = self.settings
        container = {
            "Image": settings.image,
            "ModelDataUrl": f"s3://{settings.bucket}/{self.key}",
            "Environment": {**ENVIRONMENT, **settings.environment},
        }
        what = {"PrimaryContainer": container, "ExecutionRoleArn": settings.role}
        return Call("sagemaker", "create_model", self._named("ModelName", what))

    @property
    def variant(self) -> dict[str, Any]:
        """The production variant that serves it."""
        settings, model = self.settings, self.model.parameters["ModelName"]
        shape: dict[str, Any] = {
            "InstanceType": settings.instance_type,
            "InitialInstanceCount": settings.instances,
        }
        if settings.kind == "serverless":
            shape = {
                "ServerlessConfig": {
                    "MemorySizeInMB": settings.memory_mb,
                    "MaxConcurrency": settings.max_concurrency,
                }
            }
        return {"VariantName": model, "ModelName": model, "InitialVariantWeight": 1.0, **shape}

    @property
    def config(self) -> Call:
        """The request that makes the endpoint's config: this release alone."""
        what: dict[str, Any] = {"ProductionVariants": [self.variant]}
        if self.settings.kind == "async":
            bucket, folder = self.settings.bucket, prefix(self.settings.name)
            output = {
                "S3OutputPath": f"s3://{bucket}/{folder}answers/",
                "S3FailurePath": f"s3://{bucket}/{folder}failures/",
            }
            what["AsyncInferenceConfig"] = {"OutputConfig": output}
        return Call("sagemaker", "create_endpoint_config", self._named("EndpointConfigName", what))

    def beside(self, current: Mapping[str, Any]) -> Call:
        """The request for a config with the current variants, and this one without traffic."""
        new = {**self.variant, "InitialVariantWeight": 0.0}
        what = {"ProductionVariants": [*current["ProductionVariants"], new]}
        parameters = self._named("EndpointConfigName", what)
        parameters["Tags"].append({"Key": PREVIOUS_TAG, "Value": current["EndpointConfigName"]})
        return Call("sagemaker", "create_endpoint_config", parameters)

    @property
    def endpoint(self) -> Call:
        """The request that makes the endpoint."""
        parameters = {
            "EndpointName": self.settings.name,
            "EndpointConfigName": self.config.parameters["EndpointConfigName"],
            "Tags": tags(self.settings.name),
        }
        return Call("sagemaker", "create_endpoint", parameters)

    def upload(self, aws: Aws, step: Step) -> None:
        """Bring the archive to the bucket, unless it is there."""
        bucket = self.settings.bucket
        if self._uploaded(aws):
            return
        step(f"uploading {self.archive} to s3://{bucket}/{self.key}")
        with friendly():
            aws.s3.upload_file(str(self.archive), bucket, self.key)

    def _uploaded(self, aws: Aws) -> bool:
        place = {"Bucket": self.settings.bucket, "Key": self.key}
        try:
            head = aws.send(Call("s3", "head_object", place))
        except AwsError as error:
            if "404" in error.problem or is_missing(error):
                return False
            raise
        return bool(head["ContentLength"] == self.archive.stat().st_size)

    def _named(self, key: str, what: dict[str, Any]) -> dict[str, Any]:
        """The parameters, under a name that says what they hold."""
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
        name = self.settings.name
        return {key: f"{name}-{digest}", **what, "Tags": tags(name)}


def prefix(name: str) -> str:
    """The folder of a bucket where an endpoint's files are."""
    return f"augrank/{name}/"


def tags(name: str) -> list[dict[str, str]]:
    """What marks something as made for this endpoint."""
    return [{"Key": TAG, "Value": name}]


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


class Endpoint:
    """An endpoint by name."""

    def __init__(self, aws: Aws, name: str, step: Step = lambda _: None) -> None:
        self._aws, self.name, self._step = aws, name, step

    # --- looking ----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any] | None:
        """SageMaker's description; None where there is no such endpoint."""
        return self._aws.describe("describe_endpoint", EndpointName=self.name)

    def wait(self, *, poll_s: float = POLL_S) -> dict[str, Any]:
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
            if status == "Failed":
                reason = state.get("FailureReason", "no reason given")
                raise AwsError(
                    f"the endpoint {self.name} failed: {reason}",
                    remedy=f"See its log in CloudWatch (/aws/sagemaker/Endpoints/{self.name}).",
                )
            waited = int(time.monotonic() - started)
            self._step(f"{self.name}: {status} for {waited // 60}:{waited % 60:02d}")
            time.sleep(poll_s)
        raise AwsError(f"the endpoint {self.name} is not in service after {WAIT_S / 60:.0f} min")

    # --- making -----------------------------------------------------------------------------------

    def deploy(self, release: Release) -> dict[str, Any]:
        """Make it, or go on making it, and ask the smoke question.

        Raises:
            AwsError: AWS refuses, the endpoint exists with another release, or answers wrongly.
        """
        question = SmokeQuestion.of(release.dist)
        state, wanted = self.state(), release.config.parameters["EndpointConfigName"]
        if state is not None and state["EndpointConfigName"] != wanted:
            raise AwsError(
                f"the endpoint {self.name} exists with another release",
                remedy="Use: python -m export update, or delete it first.",
            )
        self._prepare(release, release.config)
        if state is None:
            self._step("making the endpoint")
            self._aws.make(release.endpoint)
        state = self.wait()
        self._smoke(question, release, None)
        return state

    def update(self, release: Release) -> dict[str, Any]:
        """Replace what it serves, without a moment in which nothing healthy serves.

        Raises:
            AwsError: there is none, or the new release failed and the old one serves on.
        """
        question = SmokeQuestion.of(release.dist)
        state = self.state()
        if state is None:
            raise AwsError(f"there is no endpoint {self.name}", remedy="Use: export deploy")
        wanted = release.config.parameters["EndpointConfigName"]
        state = self.wait()
        previous = self._previous(state["EndpointConfigName"])
        self._prepare(release, release.config)
        if state["EndpointConfigName"] != wanted:
            if release.settings.kind == "realtime":
                self._try_beside(release, previous, question)
            self._shift(wanted)
        try:
            self._smoke(question, release, None)
        except AwsError as error:
            if previous == wanted:
                raise
            self._shift(previous)
            raise AwsError(f"{error} Rolled back to {previous}.") from error
        self._remove_unused(keep={wanted})
        return self.wait()

    def _previous(self, config: str) -> str:
        """The config that served before an update that was interrupted; else the present one."""
        described = self._aws.describe("describe_endpoint_config", EndpointConfigName=config) or {}
        arn = described.get("EndpointConfigArn", "")
        return self._tags(arn).get(PREVIOUS_TAG, config) if arn else config

    def _try_beside(self, release: Release, previous: str, question: SmokeQuestion) -> None:
        """Let the new variant stand beside the old one without traffic, and ask it.

        Raises:
            AwsError: it does not answer rightly; it is gone again.
        """
        current = self._aws.send(
            Call("sagemaker", "describe_endpoint_config", {"EndpointConfigName": previous})
        )
        beside = release.beside(current)
        self._aws.make(beside)
        variant = release.variant["VariantName"]
        try:
            self._shift(beside.parameters["EndpointConfigName"])
            self._smoke(question, release, variant)
        except AwsError as error:
            self._shift(previous)
            self._remove_unused(keep={previous})
            raise AwsError(f"{error} Rolled back: {previous} served all the while.") from error

    def _shift(self, config: str) -> None:
        """Let the endpoint run this config, and wait.

        Raises:
            AwsError: SageMaker could not, and went back by itself.
        """
        parameters = {"EndpointName": self.name, "EndpointConfigName": config}
        if (self.state() or {}).get("EndpointConfigName") != config:
            self._step(f"shifting to {config}")
            self._aws.send(Call("sagemaker", "update_endpoint", parameters))
        state = self.wait()
        if state["EndpointConfigName"] != config:
            reason = state.get("FailureReason", "no reason given")
            raise AwsError(f"SageMaker could not start {config}: {reason}")

    def _prepare(self, release: Release, config: Call) -> None:
        """Upload the archive and make model and config, as far as they are not there."""
        release.upload(self._aws, self._step)
        self._step("making model and config")
        self._aws.make(release.model)
        self._aws.make(config)

    def _smoke(self, question: SmokeQuestion, release: Release, variant: str | None) -> None:
        self._step("asking the smoke question")
        kind = release.settings.kind
        if kind == "async":
            answer = self.invoke_async(question.body, release.settings.bucket)
        else:
            answer = self.invoke(question.body, variant=variant)
        question.check(answer)

    # --- asking -----------------------------------------------------------------------------------

    def invoke(
        self,
        body: bytes,
        content_type: str = "application/json",
        *,
        attributes: Mapping[str, Any] | None = None,
        variant: str | None = None,
    ) -> dict[str, Any]:
        """Ask it.

        Args:
            body: JSON, or a picture file.
            content_type: of the body.
            attributes: target and context beside a picture.
            variant: of those that serve; by default SageMaker chooses.

        Raises:
            AwsError: what the container or AWS says.
        """
        if len(body) > MAX_REQUEST_BYTES:
            raise AwsError(
                "the request is too large",
                expected=f"at most {MAX_REQUEST_BYTES // 2**20} MB",
                got=f"{len(body) / 2**20:.1f} MB",
                remedy="Send a smaller picture, or raw instead of JSON; or use --kind async.",
            )
        parameters: dict[str, Any] = {
            "EndpointName": self.name, "Body": body, "ContentType": content_type,
        }  # fmt: skip
        if attributes:
            parameters["CustomAttributes"] = json.dumps(dict(attributes))
        if variant:
            parameters["TargetVariant"] = variant
        answer = self._aws.send(Call("sagemaker-runtime", "invoke_endpoint", parameters))
        return _object(answer["Body"].read())

    def invoke_async(self, body: bytes, bucket: str, *, poll_s: float = 2.0) -> dict[str, Any]:
        """Ask an asynchronous endpoint and wait for its answer in S3."""
        key = f"{prefix(self.name)}questions/{hashlib.sha256(body).hexdigest()[:16]}.json"
        self._aws.send(Call("s3", "put_object", {"Bucket": bucket, "Key": key, "Body": body}))
        parameters = {
            "EndpointName": self.name,
            "InputLocation": f"s3://{bucket}/{key}",
            "ContentType": "application/json",
        }
        call = Call("sagemaker-runtime", "invoke_endpoint_async", parameters)
        location = self._aws.send(call)["OutputLocation"]
        _, _, bucket, key = location.split("/", 3)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                got = self._aws.send(Call("s3", "get_object", {"Bucket": bucket, "Key": key}))
            except AwsError as error:
                if "NoSuchKey" not in error.problem:
                    raise
                time.sleep(poll_s)
                continue
            return _object(got["Body"].read())
        raise AwsError(f"no answer at {location} after 120 s")

    # --- scaling, removing ------------------------------------------------------------------------

    def autoscale(self, least: int, most: int, invocations_per_minute: float) -> list[str]:
        """Let the number of instances follow the requests, for every variant that has instances.

        Args:
            least: instances, at least.
            most: instances, at most.
            invocations_per_minute: of one instance, that is aimed at.

        Returns:
            The variants' names.

        Raises:
            AwsError: there is no endpoint, or it has no instances.
        """
        state = self.state()
        if state is None:
            raise AwsError(f"there is no endpoint {self.name}", remedy="Use: export deploy")
        names = [
            variant["VariantName"]
            for variant in state["ProductionVariants"]
            if "CurrentServerlessConfig" not in variant
        ]
        if not names:
            raise AwsError(
                f"{self.name} is serverless", remedy="It scales by itself, up to --max-concurrency."
            )
        for name in names:
            for call in scaling_calls(self.name, name, least, most, invocations_per_minute):
                self._aws.send(call)
        return names

    def delete(self) -> list[str]:
        """Remove the endpoint and all that was made for it, and nothing else.

        Returns:
            What was removed, in words.
        """
        removed = []
        state = self.state()
        if state is not None:
            self._must_be_ours(state["EndpointArn"])
            buckets = self._buckets()
            removed += self._unscale(state.get("ProductionVariants", []))
            self._step("deleting the endpoint")
            name = {"EndpointName": self.name}
            self._aws.send(Call("sagemaker", "delete_endpoint", name))
            removed.append(f"endpoint {self.name}")
            while self.state() is not None:
                time.sleep(POLL_S)
        else:
            buckets = self._buckets()
        removed += self._remove_unused(keep=set())
        for bucket in sorted(buckets):
            removed += self._empty(bucket)
        return removed

    def _unscale(self, variants: list[dict[str, Any]]) -> list[str]:
        removed = []
        for variant in variants:
            target = scalable(self.name, variant["VariantName"])
            try:
                self._aws.send(
                    Call("application-autoscaling", "deregister_scalable_target", target)
                )
                removed.append(f"autoscaling of {variant['VariantName']}")
            except AwsError as error:
                if "No scalable target" not in error.problem:
                    raise
        return removed

    def _remove_unused(self, keep: set[str]) -> list[str]:
        """Delete configs made for this endpoint but those to keep, and models none of those use."""
        used = set()
        for config in keep:
            described = self._aws.describe("describe_endpoint_config", EndpointConfigName=config)
            used |= {v["ModelName"] for v in (described or {}).get("ProductionVariants", [])}
        removed = []
        for kind, key, unused in (
            ("endpoint_config", "EndpointConfigName", keep), ("model", "ModelName", used),
        ):  # fmt: skip
            for name in self._ours(kind, key):
                if name not in unused:
                    self._aws.send(Call("sagemaker", f"delete_{kind}", {key: name}))
                    removed.append(f"{kind.replace('_', ' ')} {name}")
        return removed

    def _ours(self, kind: str, key: str) -> list[str]:
        """Names of the models or configs that carry this endpoint's tag."""
        listed = {"endpoint_config": "EndpointConfigs", "model": "Models"}[kind]
        arn = key.removesuffix("Name") + "Arn"
        pages = self._pages(f"list_{kind}s", NameContains=self.name)
        found = [item for page in pages for item in page[listed]]
        return [item[key] for item in found if self._tags(item[arn]).get(TAG) == self.name]

    def _buckets(self) -> set[str]:
        """Where the models made for this endpoint have their archives."""
        found = set()
        for model in self._ours("model", "ModelName"):
            described = self._aws.describe("describe_model", ModelName=model) or {}
            url = described.get("PrimaryContainer", {}).get("ModelDataUrl", "")
            if url.startswith("s3://"):
                found.add(url.split("/")[2])
        return found

    def _empty(self, bucket: str) -> list[str]:
        """Delete what was uploaded for this endpoint."""
        removed = []
        with friendly():
            pages = self._aws.s3.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix(self.name)
            )
            keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        for key in keys:
            self._aws.send(Call("s3", "delete_object", {"Bucket": bucket, "Key": key}))
            removed.append(f"s3://{bucket}/{key}")
        return removed

    def _must_be_ours(self, arn: str) -> None:
        if self._tags(arn).get(TAG) != self.name:
            raise AwsError(
                f"the endpoint {self.name} was not made by augrank",
                expected=f"the tag {TAG}={self.name} on it",
                remedy="Delete it where it was made.",
            )

    def _tags(self, arn: str) -> dict[str, str]:
        pages = self._pages("list_tags", ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}

    def _pages(self, operation: str, **parameters: Any) -> list[dict[str, Any]]:
        with friendly():
            return list(self._aws.sagemaker.get_paginator(operation).paginate(**parameters))


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


def scalable(endpoint: str, variant: str) -> dict[str, str]:
    """A variant's number of instances, as Application Auto Scaling names it."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


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
    service = "application-autoscaling"
    return [
        Call(service, "register_scalable_target",
             {**target, "MinCapacity": least, "MaxCapacity": most}),
        Call(service, "put_scaling_policy",
             {**target, "PolicyName": f"{endpoint}-invocations",
              "PolicyType": "TargetTrackingScaling",
              "TargetTrackingScalingPolicyConfiguration": policy}),
    ]  # fmt: skip
