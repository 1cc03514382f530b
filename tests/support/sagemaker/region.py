"""An AWS region on loopback: moto's server, and a stub of SageMaker's runtime.

moto implements models, configs, endpoints, tags, transform jobs, autoscaling and S3 over real HTTP.
What it lacks is added here, and is only as good as our reading of AWS's documentation:

- ``UpdateEndpoint``: the endpoint switches to the new config at once (AWS takes minutes, keeps the
  old instances until the new ones answer, and rolls back if they do not). Two variants with the
  same name are refused, and so is removing a variant that is registered for autoscaling;
- Application Auto Scaling registers only variants that exist; deregistering a variant deletes its
  policies and scheduled actions. Nothing is ever scaled: a test sets the counts;
- ``InvokeEndpoint``: the test provides the answer of a variant's container, or gets it from a real
  serving stack over HTTP. A serverless variant answers like any other: no cold start, no limit of
  concurrency, of memory, or of 4 MB a request;
- ``InvokeEndpointAsync``: 202 at once; the container is called a moment later, its answer stored
  under ``S3OutputPath`` or its error under ``S3FailurePath``. There is no queue, notification, time
  limit or retry, and the name of the answer's file is our guess;
- a transform job answers one image of its manifest each time it is described, fails at the first
  status other than 200, as AWS's does, and stops at the first description after a request to stop.
  There is no splitting, no second instance and no retry.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import boto3
import httpx
import pytest
from moto.applicationautoscaling.exceptions import AWSValidationException
from moto.applicationautoscaling.models import (
    ApplicationAutoscalingBackend,
    applicationautoscaling_backends,
)
from moto.core.exceptions import JsonRESTError
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import (
    FakeEndpointConfig,
    FakeTransformJob,
    SageMakerModelBackend,
    sagemaker_backends,
)
from moto.sagemaker.responses import SageMakerResponse
from moto.server import ThreadedMotoServer

from augrank.aws.client import Aws, Call
from tests.support.patience import PATIENCE_S
from tests.support.servers import LocalServer

CHANGES = ("abort_", "create_", "delete_", "deregister_", "put_", "register_", "update_")
REGION, ACCOUNT = "us-east-1", "123456789012"
ROLE, IMAGE, BUCKET = f"arn:aws:iam::{ACCOUNT}:role/augrank", "image:1", "augrank-test"
# moto knows older instance types only.
OPTIONS = ["--role", ROLE, "--image", IMAGE, "--instance-type", "ml.c5.large", "--bucket", BUCKET]
QUEUED_S = 0.1  # how long an asynchronous request is queued
Container = Callable[[str, bytes, dict[str, str]], tuple[int, bytes]]  # model, body, headers


@dataclass
class LocalAws:
    """A region on loopback."""

    container: Container
    invoked: list[str] = field(default_factory=list)  # models that were invoked, in order

    def config(self, endpoint: str) -> FakeEndpointConfig:
        """Return the config that an endpoint uses."""
        backend = sagemaker_backends[ACCOUNT][REGION]
        return backend.endpoint_configs[backend.endpoints[endpoint].endpoint_config_name]

    def serving(self, endpoint: str, variant: str | None) -> str:
        """Return the model that is invoked: the variant's, or the first that has traffic."""
        for each in self.config(endpoint).production_variants:
            wanted = each["VariantName"] == variant if variant else each["InitialVariantWeight"] > 0
            if wanted:
                return str(each["ModelName"])
        raise KeyError(f"{endpoint} has no variant {variant}")

    def invoke(
        self, endpoint: str, variant: str | None, body: bytes, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Return the answer of a variant's container."""
        model = self.serving(endpoint, variant)
        self.invoked.append(model)
        return self.container(model, body, headers)

    def invoke_async(self, endpoint: str, source: str, places: dict[str, str], kind: str) -> None:
        """Process a queued request as a worker of an asynchronous endpoint does."""
        time.sleep(QUEUED_S)
        s3 = boto3.client("s3")
        body = s3.get_object(**_place(source))["Body"].read()
        status, content = self.invoke(endpoint, None, body, {"Content-Type": kind})
        if status != 200:
            content = f"Received server error ({status}): {content.decode()}".encode()
        s3.put_object(**_place(places["Output" if status == 200 else "Failure"]), Body=content)

    def transform(self, job: FakeTransformJob) -> None:
        """Process the next image of a job as a worker of batch transform does."""
        s3, source = boto3.client("s3"), job.transform_input["DataSource"]["S3DataSource"]
        first, *keys = json.loads(s3.get_object(**_place(source["S3Uri"]))["Body"].read())
        for key in keys:
            answer = _place(f"{job.transform_output['S3OutputPath']}{key}.out")
            if s3.list_objects_v2(Bucket=answer["Bucket"], Prefix=answer["Key"])["KeyCount"]:
                continue
            body = s3.get_object(**_place(first["prefix"] + key))["Body"].read()
            status, content = self.container(job.model_name, body, {})
            if status == 200:
                s3.put_object(**answer, Body=content)
            else:
                job.transform_job_status = "Failed"
                job.failure_reason = f"ClientError: {key}: {status}"
            return
        job.transform_job_status = "Completed"


def _place(url: str) -> dict[str, str]:
    _, _, bucket, key = url.split("/", 3)
    return {"Bucket": bucket, "Key": key}


def _update_endpoint(response: SageMakerResponse) -> str:
    """UpdateEndpoint, which moto lacks: switch the endpoint to the other config."""
    name, config = response._get_param("EndpointName"), response._get_param("EndpointConfigName")
    backend = sagemaker_backends[ACCOUNT][REGION]
    endpoint, found = backend.endpoints[name], backend.endpoint_configs[config]
    coming = [v["VariantName"] for v in found.production_variants]
    if len(set(coming)) < len(coming):
        raise ValidationError(message=f"Variant names must be unique: {coming}")
    scaling = applicationautoscaling_backends[ACCOUNT][REGION]
    targets = scaling.describe_scalable_targets("sagemaker", None, None)
    registered = {target.resource_id for target in targets}
    for variant in endpoint.production_variants:
        gone = variant["VariantName"] not in coming
        if gone and f"endpoint/{name}/variant/{variant['VariantName']}" in registered:
            raise ValidationError(
                message=f"The variant {variant['VariantName']} must be deregistered as scalable "
                "target with AutoScaling before it can be removed"
            )
    endpoint.endpoint_config_name = config
    endpoint.production_variants = endpoint._process_production_variants(found.production_variants)
    return json.dumps({"EndpointArn": endpoint.arn})


def _as_aws_transforms(local: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep transform jobs in progress until all images of their manifest are answered."""

    def created(self: SageMakerModelBackend, *args: Any, **named: Any) -> FakeTransformJob:
        job = create(self, *args, **named)
        job.transform_job_status = "InProgress"
        return job

    def described(self: SageMakerModelBackend, transform_job_name: str) -> dict[str, Any]:
        job = self.transform_jobs[transform_job_name]
        if job.transform_job_status == "Stopping":
            job.transform_job_status = "Stopped"
        elif job.transform_job_status == "InProgress":
            local.transform(job)
        return describe(self, transform_job_name)

    def stopped(response: SageMakerResponse) -> str:
        job = sagemaker_backends[ACCOUNT][REGION].transform_jobs[
            response._get_param("TransformJobName")
        ]
        if job.transform_job_status != "InProgress":
            raise ValidationError(message=f"The job is {job.transform_job_status}")
        job.transform_job_status = "Stopping"
        return "{}"

    create = SageMakerModelBackend.create_transform_job
    describe = SageMakerModelBackend.describe_transform_job
    monkeypatch.setattr(SageMakerModelBackend, "create_transform_job", created)
    monkeypatch.setattr(SageMakerModelBackend, "describe_transform_job", described)
    monkeypatch.setattr(SageMakerResponse, "stop_transform_job", stopped, raising=False)


def _as_aws_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register only variants that exist; deregistering also deletes their policies and actions."""
    register = ApplicationAutoscalingBackend.register_scalable_target
    deregister = ApplicationAutoscalingBackend.deregister_scalable_target

    def checked(self: Any, namespace: str, r_id: str, *more: Any, **named: Any) -> Any:
        _, endpoint, _, variant = r_id.split("/")
        found = sagemaker_backends[ACCOUNT][REGION].endpoints.get(endpoint)
        if not found or variant not in [v["VariantName"] for v in found.production_variants]:
            raise AWSValidationException(f"{r_id} does not exist")
        return register(self, namespace, r_id, *more, **named)

    def deregistered(self: Any, namespace: str, r_id: str, dimension: str) -> None:
        if r_id not in self.targets.get(dimension, {}):
            raise JsonRESTError("ObjectNotFoundException", f"No scalable target found: {r_id}")
        deregister(self, namespace, r_id, dimension)
        self.policies = {k: p for k, p in self.policies.items() if p.resource_id != r_id}
        self.scheduled_actions = [a for a in self.scheduled_actions if a.resource_id != r_id]

    monkeypatch.setattr(ApplicationAutoscalingBackend, "register_scalable_target", checked)
    monkeypatch.setattr(ApplicationAutoscalingBackend, "deregister_scalable_target", deregistered)


def _runtime(local: LocalAws) -> type[BaseHTTPRequestHandler]:
    """Return a handler of HTTP requests that stands in for SageMaker's runtime."""

    class Runtime(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            _, _, name, operation = self.path.split("/")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asynchronous = local.config(name).async_inference_config
            if bool(asynchronous) != (operation == "async-invocations"):
                self._refuse(400, "ValidationError", {"Message": f"{name} takes no {operation}"})
            elif asynchronous:
                self._queue(name, asynchronous["OutputConfig"])
            else:
                self._answer(name, body)

        def _answer(self, name: str, body: bytes) -> None:
            variant = self.headers.get("X-Amzn-SageMaker-Target-Variant")
            status, content = local.invoke(name, variant, body, dict(self.headers.items()))
            if status == 200:
                self._send(200, {"Content-Type": "application/json"}, content)
            else:
                said = {"Message": content.decode(), "OriginalStatusCode": status}
                self._refuse(424, "ModelError", said)

        def _queue(self, name: str, output: dict[str, str]) -> None:
            number = uuid.uuid4().hex
            places = {
                "Output": f"{output['S3OutputPath'].rstrip('/')}/{number}.out",
                "Failure": f"{output['S3FailurePath'].rstrip('/')}/{number}-error.out",
            }
            source = self.headers["X-Amzn-SageMaker-InputLocation"]
            kind = self.headers["X-Amzn-SageMaker-Content-Type"]
            work = threading.Thread(
                target=local.invoke_async, args=(name, source, places, kind), daemon=True
            )
            work.start()
            told = {f"X-Amzn-SageMaker-{key}Location": url for key, url in places.items()}
            self._send(202, told, json.dumps({"InferenceId": number}).encode())

        def _refuse(self, status: int, error: str, said: dict[str, Any]) -> None:
            headers = {"x-amzn-ErrorType": error, "Content-Type": "application/json"}
            self._send(status, headers, json.dumps(said).encode())

        def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Runtime


@contextmanager
def local_aws(container: Container, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    """Start an empty region and point boto3 at it through environment variables."""
    local = LocalAws(container)
    runtime = LocalServer(_runtime(local))
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    reset = httpx.post(f"http://{host}:{port}/moto-api/reset", timeout=PATIENCE_S)
    reset.raise_for_status()  # of an earlier test
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": runtime.url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    monkeypatch.setattr(SageMakerResponse, "update_endpoint", _update_endpoint, raising=False)
    _as_aws_registers(monkeypatch)
    _as_aws_transforms(local, monkeypatch)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    try:
        yield local
    finally:
        moto.stop()
        runtime.end()


def everything() -> dict[str, list[str]]:
    """Return the names of all resources in the region, by kind."""
    sagemaker, s3 = boto3.client("sagemaker"), boto3.client("s3")
    objects = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    uploads = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    targets = boto3.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker"
    )
    return {
        "endpoints": [e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]],
        "configs": [
            c["EndpointConfigName"] for c in sagemaker.list_endpoint_configs()["EndpointConfigs"]
        ],
        "models": [m["ModelName"] for m in sagemaker.list_models()["Models"]],
        "objects": [o["Key"] for o in objects],
        "uploads": [u["Key"] for u in uploads],
        "scaling": [t["ResourceId"].split("/")[-1] for t in targets["ScalableTargets"]],
    }


class Interrupted(BaseException):
    """An interrupt like Ctrl-C, at a moment that the test chooses."""


def interrupt(monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """Raise instead of sending the changing request with this number, counted from 0."""
    send, count = Aws.send, iter(range(10**6))

    def counted(self: Aws, call: Call) -> dict[str, Any]:
        if call.operation.startswith(CHANGES) and next(count) == moment:
            raise Interrupted
        return send(self, call)

    monkeypatch.setattr(Aws, "send", counted)
