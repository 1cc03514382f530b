"""Asynchronous and serverless endpoints: one variant, tested after the endpoint has switched."""

import json

import boto3
import pytest
from typer.testing import CliRunner

from augrank.aws.client import Aws, AwsError
from export.cli import app
from export.sagemaker.endpoint import Endpoint
from export.sagemaker.invoke import check_smoke_answer, invoke, load_smoke_request
from export.sagemaker.rollout import update
from tests.support.sagemaker.region import BUCKET, OPTIONS, everything

pytestmark = pytest.mark.slow


def run(*words: str):
    return CliRunner().invoke(app, list(words))


def test_an_asynchronous_endpoint_answers_through_s3(dist, local, right, tmp_path):
    words = ("shop", "--dist", str(dist), *OPTIONS, "--kind", "async")
    done = run("deploy", *words, "--instances", "2")
    assert done.exit_code == 0, done.output
    output = local.config("shop").async_inference_config["OutputConfig"]
    assert output["S3OutputPath"] == f"s3://{BUCKET}/augrank/shop/answers/"
    asked = run("invoke", "shop", "--dist", str(dist))
    assert "matches the export's" in asked.output
    seen: list[tuple[bytes, str]] = []

    def container(_model, body, headers):
        seen.append((body, headers["Content-Type"]))
        return (200, right) if body != b"broken" else (422, b"the image is broken")

    local.container = container
    for content, status in ((b"\x89PNG", 0), (b"broken", 2)):
        image = tmp_path / "p.png"
        image.write_bytes(content)
        asked = run("invoke", "shop", str(image), "--field", "target=open_rate")
        assert asked.exit_code == status, asked.output
    assert seen == [(b"\x89PNG", "image/png"), (b"broken", "image/png")]
    assert "the image is broken" in asked.output
    written = {key.split("/")[2] for key in everything()["objects"]}
    assert {"questions", "answers", "failures"} <= written
    assert run("autoscale", "shop", "--max", "5").exit_code == 0
    updated = run("update", *words, "--env", "TRY=1")
    assert updated.exit_code == 0, updated.output
    left = everything()
    assert len(left["models"]) == len(left["configs"]) == 1
    (variant,) = Endpoint(Aws(), "shop").existing_state()["ProductionVariants"]
    assert variant["DesiredInstanceCount"] == 2
    assert left["scaling"] == [variant["VariantName"]]
    assert run("delete", "shop").exit_code == 0
    assert not any(everything().values())


@pytest.mark.parametrize("fault", ["error", "wrong"])
def test_an_asynchronous_update_that_fails_is_rolled_back(
    dist, release, local, right, wrong, fault
):
    run("deploy", "shop", "--dist", str(dist), *OPTIONS, "--kind", "async", "--env", "TRY=0")
    run("autoscale", "shop", "--max", "5")
    before = everything()
    new = release(1, kind="async")
    bad = new.model.parameters["ModelName"]
    spoiled = (500, b"out of memory") if fault == "error" else (200, wrong)
    local.container = lambda model, _body, _headers: spoiled if model == bad else (200, right)
    shop = Endpoint(Aws(), "shop")
    with pytest.raises(AwsError, match="serves again") as failure:
        update(shop, new)
    if fault == "error":
        assert "out of memory" in str(failure.value)
    after = everything()
    same = ("endpoints", "configs", "models", "scaling")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    smoke = load_smoke_request(dist)
    check_smoke_answer(smoke, invoke(shop, smoke.body))


def test_an_asynchronous_endpoint_that_never_answers_is_reported(dist, local, monkeypatch):
    from export.sagemaker import invoke as asking

    monkeypatch.setattr(asking, "ASYNC_WAIT_S", 0.2)
    monkeypatch.setattr(local, "invoke_async", lambda *_: None)
    done = run("deploy", "shop", "--dist", str(dist), *OPTIONS, "--kind", "async")
    assert done.exit_code == 2
    assert "no answer at s3://" in done.output


def test_a_serverless_endpoint_is_deployed_updated_and_rolled_back(
    dist, release, local, right, wrong, tmp_path
):
    words = ("shop", "--dist", str(dist), *OPTIONS, "--kind", "serverless", "--memory-mb", "3072")
    for command, environment in (("deploy", "TRY=0"), ("update", "TRY=0"), ("update", "TRY=1")):
        done = run(command, *words, "--env", environment)
        assert done.exit_code == 0, done.output
    (variant,) = local.config("shop").production_variants
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 3072, "MaxConcurrency": 5}
    assert "InitialInstanceCount" not in variant
    assert "It scales automatically" in run("autoscale", "shop").output
    before = everything()
    new = release(2, kind="serverless", memory_mb=3072)
    bad = new.model.parameters["ModelName"]
    local.container = lambda model, *_: (200, wrong if model == bad else right)
    failed = run("update", *words, "--env", "TRY=2")
    assert failed.exit_code == 2
    assert "smoke request" in failed.output
    assert "serves again" in failed.output
    assert everything() == before
    image = tmp_path / "p.png"
    image.write_bytes(b"\x89PNG")
    assert json.loads(run("invoke", "shop", str(image)).output) == json.loads(right)
    image.write_bytes(bytes(5 * 2**20))
    assert "expected at most 4 MB, got 5.0 MB" in run("invoke", "shop", str(image)).output
    assert run("delete", "shop").exit_code == 0
    assert not any(everything().values())


def test_an_update_changes_the_kind_of_an_endpoint(dist, local):
    """Autoscaling is removed together with the instances, and is not restored automatically."""
    words = ("shop", "--dist", str(dist), *OPTIONS)
    run("deploy", *words)
    run("autoscale", "shop")
    done = run("update", *words, "--kind", "serverless")
    assert done.exit_code == 0, done.output
    assert everything()["scaling"] == []
    assert run("update", *words, "--env", "TRY=1").exit_code == 0
    assert "ServerlessConfig" in local.config("shop").production_variants[0]  # as it was
    done = run("update", *words, "--kind", "realtime")
    assert done.exit_code == 0, done.output
    assert "InitialInstanceCount" in local.config("shop").production_variants[0]
    assert everything()["scaling"] == []
    assert boto3.client("s3").list_objects_v2(Bucket=BUCKET)["KeyCount"] == 1  # the archive
