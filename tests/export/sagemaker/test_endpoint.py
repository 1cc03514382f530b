"""Endpoints against moto's server: deploy, update with a smoke test, autoscale, delete."""

import contextlib
import json
import random

import boto3
import pytest
from typer.testing import CliRunner

from augrank.aws.client import TAG, Aws, AwsError
from augrank.images.decode import sha256_of_image
from export.cli import app
from export.sagemaker.autoscaling import ScalingLimits, autoscale
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.rollout import deploy, update
from export.sagemaker.teardown import delete
from tests.support import forked
from tests.support.sagemaker.region import (
    ACCOUNT,
    BUCKET,
    IMAGE,
    OPTIONS,
    REGION,
    ROLE,
    Interrupted,
    everything,
    interrupt,
)

pytestmark = pytest.mark.slow


def run(*words: str):
    return CliRunner().invoke(app, list(words))


def test_deploy_invoke_scale_and_delete_leave_nothing_of_ours(dist, local, tmp_path):
    sagemaker, s3 = boto3.client("sagemaker"), boto3.client("s3")
    others = {
        "ModelName": "shop-others",
        "ExecutionRoleArn": ROLE,
        "PrimaryContainer": {"Image": "i", "ModelDataUrl": "s3://b/k"},
    }
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
    assert sha256_of_image(uploaded) == sha256_of_image((dist / "model.tar.gz").read_bytes())
    again = run("deploy", "shop", "--dist", str(dist), *OPTIONS)  # finds everything in place
    assert again.exit_code == 0
    assert everything() == made
    other = run("deploy", "shop", "--dist", str(dist), *OPTIONS, "--env", "TRY=1")
    assert other.exit_code == 2
    assert "another release" in other.output
    assert "InService" in run("status", "shop").output
    scaled = run("autoscale", "shop", "--min", "1", "--max", "3", "--invocations", "500")
    assert scaled.exit_code == 0, scaled.output
    assert len(everything()["scaling"]) == 1
    image = tmp_path / "p.png"
    image.write_bytes(b"\x89PNG")
    asked = run("invoke", "shop", str(image), "--field", "target=open_rate")
    assert asked.exit_code == 0, asked.output
    assert json.loads(asked.output)["candidates"]
    gone = run("delete", "shop")
    assert gone.exit_code == 0, gone.output
    assert everything() == {
        "endpoints": [],
        "configs": [],
        "models": ["shop-others"],
        "objects": ["others"],
        "uploads": [],
        "scaling": [],
    }
    assert "found nothing of shop" in run("delete", "shop").output


def test_an_update_is_tried_without_traffic_before_it_serves(release, local):
    shop = Endpoint(Aws(), "shop")
    old, new = release(0), release(1)
    deploy(shop, old)
    local.invoked.clear()
    update(shop, new)
    name = new.model.parameters["ModelName"]
    assert local.invoked == [name, name]  # as a variant without traffic, then as the only one
    state = everything()
    assert state["models"] == [name]
    assert state["configs"] == [new.config.parameters["EndpointConfigName"]]


@pytest.mark.parametrize("fault", ["wrong", "error", "no JSON"])
def test_an_update_that_answers_wrongly_never_gets_traffic(release, local, right, wrong, fault):
    shop = Endpoint(Aws(), "shop")
    old, new = release(0), release(1, instances=2)
    deploy(shop, old)
    bad = new.model.parameters["ModelName"]
    spoiled = {
        "wrong": (200, wrong),
        "no JSON": (200, b"<html>"),
        "error": (500, b"the request failed inside the server"),
    }[fault]
    local.container = lambda model, _body, _headers: spoiled if model == bad else (200, right)
    before = everything()
    with pytest.raises(AwsError, match=r"kept serving"):
        update(shop, new)
    assert local.serving("shop", None) == old.model.parameters["ModelName"]
    after = everything()
    assert (after["configs"], after["models"]) == (before["configs"], before["models"])


def test_uploads_left_by_a_killed_command_are_aborted(dist, local):
    """Deploy and delete abort uploads of their endpoint only, delete even before a model exists."""
    s3 = boto3.client("s3")

    def left_behind() -> list[str]:
        for folder in ("shop", "shopping"):
            s3.create_multipart_upload(Bucket=BUCKET, Key=f"augrank/{folder}/1/model.tar.gz")
        return everything()["uploads"]

    others = "augrank/shopping/1/model.tar.gz"
    assert len(left_behind()) == 2
    told = run("delete", "shop", "--bucket", BUCKET)
    assert "deleted the unfinished upload" in told.output
    assert everything()["uploads"] == [others]
    left_behind()
    for command in ("deploy", "update"):
        done = run(command, "shop", "--dist", str(dist), *OPTIONS)
        assert done.exit_code == 0, done.output
        assert set(everything()["uploads"]) == {others}
        left_behind()
    assert run("delete", "shop").exit_code == 0
    left = everything()
    assert set(left.pop("uploads")) == {others}
    assert not any(left.values())
    s3.create_bucket(Bucket=f"sagemaker-{REGION}-{ACCOUNT}")  # where one is put by default
    s3.create_multipart_upload(Bucket=f"sagemaker-{REGION}-{ACCOUNT}", Key="augrank/shop/1/m")
    assert "deleted the unfinished upload" in run("delete", "shop").output


def test_messages_say_what_to_do(dist, local, monkeypatch, tmp_path):
    missing = run("update", "nothing", "--dist", str(dist), *OPTIONS)
    assert missing.exit_code == 2
    assert "there is no endpoint nothing" in missing.output
    assert "--role" in run("deploy", "shop", "--dist", str(dist), "--image", IMAGE).output
    assert "--sagemaker" in run("deploy", "shop", "--dist", str(tmp_path), *OPTIONS).output
    other = [*OPTIONS[:-1], "no-such-bucket"]
    assert "--bucket" in run("deploy", "shop", "--dist", str(dist), *other).output
    words = ("shop", "--dist", str(dist), *OPTIONS)
    assert "create_endpoint_config" in run("deploy", *words, "--dry-run").output
    assert everything()["endpoints"] == []
    assert run("deploy", *words).exit_code == 0
    before = everything()
    assert "create_endpoint_config" in run("update", *words, "--env", "T=1", "--dry-run").output
    assert everything() == before
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
    """Each attempt updates to a new release, is killed at a random moment, and is then repeated."""
    rng, killed = random.Random(0), 0
    for number in range(10):
        command = "deploy" if number == 0 else "update"
        words = [command, "shop", "--dist", str(dist), *OPTIONS, "--env", f"TRY={number}"]
        process = forked.start("export.cli", words)
        process.join(rng.uniform(0.02, 0.5))
        killed += process.is_alive()
        forked.kill(process)
        state = boto3.client("sagemaker").list_endpoints()["Endpoints"]
        if state and number:  # something healthy serves at any moment
            local.serving("shop", None)
        done = run(*words)
        assert done.exit_code == 0, done.output
        left = everything()
        assert len(left["models"]) == len(left["configs"]) == 1, left
        if number == 0:
            assert run("autoscale", "shop").exit_code == 0
        else:
            assert left["scaling"] == list(Endpoint(Aws(), "shop").variants(left["configs"][0]))
    assert killed >= 5
    gone = run("delete", "shop")
    assert gone.exit_code == 0, gone.output
    assert not any(everything().values())


def test_a_delete_interrupted_at_any_moment_is_finished_by_the_next(release, local, monkeypatch):
    shop = Endpoint(Aws(), "shop")
    for moment in range(100):
        deploy(shop, release())
        autoscale(shop, ScalingLimits(1, 2, 500.0))
        with monkeypatch.context() as patch:
            interrupt(patch, moment)
            with contextlib.suppress(Interrupted):
                delete(shop)
                break
        delete(shop)
        assert not any(everything().values()), moment
    assert moment > 4  # so many requests change something
    assert not any(everything().values())


def test_everything_made_carries_the_endpoints_tag(release, local):
    deploy(Endpoint(Aws(), "shop"), release())
    sagemaker = boto3.client("sagemaker")
    state = everything()
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
    arns = [f"{arn}:endpoint/shop"]
    arns += [f"{arn}:endpoint-config/{name}" for name in state["configs"]]
    arns += [f"{arn}:model/{name}" for name in state["models"]]
    for each in arns:
        tags = sagemaker.list_tags(ResourceArn=each)["Tags"]
        assert {"Key": TAG, "Value": "shop"} in tags, each
