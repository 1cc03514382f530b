"""Endpoints against moto's server: deploy, update with a smoke test, autoscale, delete."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import boto3
import pytest
from typer.testing import CliRunner

from augrank.decode import sha256_of_picture
from export.aws import endpoint as endpoint_module
from export.aws.clients import TAG, Aws, AwsError
from export.aws.endpoint import Endpoint, Release, Settings, SmokeQuestion
from export.cli import app
from tests.sagemaker.aws import ACCOUNT, REGION, local_aws

pytestmark = pytest.mark.slow
ROLE, IMAGE, BUCKET = f"arn:aws:iam::{ACCOUNT}:role/augrank", "image:1", "augrank-test"
# moto knows older instance types only.
OPTIONS = ["--role", ROLE, "--image", IMAGE, "--instance-type", "ml.c5.large", "--bucket", BUCKET]


@pytest.fixture
def right(dist) -> bytes:
    """The answer that the smoke question expects."""
    question = SmokeQuestion.of(dist)
    scores = [{"name": n, "probability": p} for n, p in question.probabilities.items()]
    return json.dumps({"candidates": scores}).encode()


@pytest.fixture
def local(monkeypatch, right):
    """A region whose containers answer rightly, unless a test says otherwise."""
    monkeypatch.setattr(endpoint_module, "POLL_S", 0.05)
    with local_aws(lambda _model, _body, _headers: (200, right), monkeypatch) as region:
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield region


def release(dist, **changes) -> Release:
    return Release(Settings(**{"name": "shop", "image": IMAGE, "role": ROLE, "bucket": BUCKET,
                               "instance_type": "ml.c5.large",
                               **changes}), dist)  # fmt: skip


def run(*words: str):
    return CliRunner().invoke(app, list(words))


def everything() -> dict[str, list[str]]:
    """All that is in the region."""
    sagemaker, s3 = boto3.client("sagemaker"), boto3.client("s3")
    objects = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
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
        "scaling": [t["ResourceId"] for t in targets["ScalableTargets"]],
    }


def test_deploy_invoke_scale_and_delete_leave_nothing_of_ours(dist, local, tmp_path):
    sagemaker, s3 = boto3.client("sagemaker"), boto3.client("s3")
    others = {"ModelName": "shop-others", "ExecutionRoleArn": ROLE,
              "PrimaryContainer": {"Image": "i", "ModelDataUrl": "s3://b/k"}}  # fmt: skip
    sagemaker.create_model(**others)  # a name like ours, without our tag
    s3.put_object(Bucket=BUCKET, Key="others", Body=b"")
    done = run("deploy", "shop", "--dist", str(dist), *OPTIONS)
    assert done.exit_code == 0, done.output
    made = everything()
    assert (len(made["configs"]), len(made["models"]), made["endpoints"]) == (1, 2, ["shop"])
    model = sagemaker.describe_model(
        ModelName=next(m for m in made["models"] if m != "shop-others")
    )
    assert model["PrimaryContainer"]["Environment"]["TS_MAX_REQUEST_SIZE"] == str(25 * 2**20)
    key = model["PrimaryContainer"]["ModelDataUrl"].removeprefix(f"s3://{BUCKET}/")
    uploaded = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    assert sha256_of_picture(uploaded) == sha256_of_picture((dist / "model.tar.gz").read_bytes())
    again = run("deploy", "shop", "--dist", str(dist), *OPTIONS)  # finds all there
    assert again.exit_code == 0
    assert everything() == made
    assert "InService" in run("status", "shop").output
    scaled = run("autoscale", "shop", "--min", "1", "--max", "3", "--invocations", "500")
    assert scaled.exit_code == 0, scaled.output
    assert len(everything()["scaling"]) == 1
    picture = tmp_path / "p.png"
    picture.write_bytes(b"\x89PNG")
    asked = run("invoke", "shop", str(picture), "--field", "target=open_rate")
    assert asked.exit_code == 0, asked.output
    assert json.loads(asked.output)["candidates"]
    gone = run("delete", "shop")
    assert gone.exit_code == 0, gone.output
    assert everything() == {"endpoints": [], "configs": [], "models": ["shop-others"],
                            "objects": ["others"], "scaling": []}  # fmt: skip
    assert "there was nothing" in run("delete", "shop").output


def test_an_update_is_tried_without_traffic_before_it_serves(dist, local):
    shop = Endpoint(Aws(), "shop")
    old, new = release(dist), release(dist, environment={"AUGRANK_CACHE_MB": "64"})
    shop.deploy(old)
    local.asked.clear()
    shop.update(new)
    name = new.model.parameters["ModelName"]
    assert local.asked == [name, name]  # as a variant without traffic, then as the only one
    state = everything()
    assert state["models"] == [name]
    assert state["configs"] == [new.config.parameters["EndpointConfigName"]]


@pytest.mark.parametrize("fault", ["wrong", "error", "no JSON"])
def test_an_update_that_answers_wrongly_never_gets_traffic(dist, local, right, fault):
    shop = Endpoint(Aws(), "shop")
    old = release(dist)
    shop.deploy(old)
    new = release(dist, environment={"AUGRANK_CACHE_MB": "1"}, instances=2)
    bad = new.model.parameters["ModelName"]
    spoiled = {"wrong": (200, right.replace(b'"probability": 0', b'"probability": 1')),
               "no JSON": (200, b"<html>"),
               "error": (500, b"the request failed inside the server")}[fault]  # fmt: skip
    local.container = lambda model, _body, _headers: spoiled if model == bad else (200, right)
    before = everything()
    with pytest.raises(AwsError, match=r"served all the while"):
        shop.update(new)
    assert local.serving("shop", None) == old.model.parameters["ModelName"]
    after = everything()
    assert (after["configs"], after["models"]) == (before["configs"], before["models"])


def test_messages_say_what_to_do(dist, local, monkeypatch, tmp_path):
    missing = run("update", "nothing", "--dist", str(dist), *OPTIONS)
    assert missing.exit_code == 2
    assert "there is no endpoint nothing" in missing.output
    assert "--role" in run("deploy", "shop", "--dist", str(dist), "--image", IMAGE).output
    assert "--sagemaker" in run("deploy", "shop", "--dist", str(tmp_path), *OPTIONS).output
    other = [*OPTIONS[:-1], "no-such-bucket"]
    assert "--bucket" in run("deploy", "shop", "--dist", str(dist), *other).output
    shown = run("deploy", "shop", "--dist", str(dist), *OPTIONS, "--dry-run")
    assert shown.exit_code == 0
    assert "create_endpoint_config" in shown.output
    assert everything()["endpoints"] == []
    large = tmp_path / "large.png"
    large.write_bytes(bytes(26 * 2**20))
    assert "at most 25 MB" in run("invoke", "shop", str(large)).output
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    nobody = run("status", "shop")
    assert nobody.exit_code == 2
    assert "no AWS credentials" in nobody.output


def test_killed_at_ten_random_moments_the_next_call_finishes(dist, local):
    """Each try is another release, killed somewhere, and then run to its end."""
    rng = random.Random(0)
    for number in range(10):
        command = "deploy" if number == 0 else "update"
        words = [sys.executable, "-m", "export", command, "shop", "--dist", str(dist), *OPTIONS,
                 "--env", f"TRY={number}"]  # fmt: skip
        process = subprocess.Popen(
            words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.5, 3.0))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        state = boto3.client("sagemaker").list_endpoints()["Endpoints"]
        if state and number:  # something healthy serves at any moment
            local.serving("shop", None)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        left = everything()
        assert len(left["models"]) == len(left["configs"]) == 1, left
    gone = run("delete", "shop")
    assert gone.exit_code == 0, gone.output
    assert not any(everything().values())


def test_everything_made_carries_the_endpoints_tag(dist, local):
    Endpoint(Aws(), "shop").deploy(release(dist))
    sagemaker = boto3.client("sagemaker")
    state = everything()
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
    arns = [f"{arn}:endpoint/shop"]
    arns += [f"{arn}:endpoint-config/{name}" for name in state["configs"]]
    arns += [f"{arn}:model/{name}" for name in state["models"]]
    for each in arns:
        tags = sagemaker.list_tags(ResourceArn=each)["Tags"]
        assert {"Key": TAG, "Value": "shop"} in tags, each
