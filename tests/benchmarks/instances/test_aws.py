"""Instance benchmarks against moto: measured, cleaned up, killed at random and resumed."""

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

from benchmarks.cli.app import app
from benchmarks.instances import aws as instances_aws
from benchmarks.instances import figures
from tests.support import forked
from tests.support.patience import PATIENCE_S
from tests.support.sagemaker.jobs import add_jobs
from tests.support.sagemaker.region import ACCOUNT, local_aws
from tests.support.sagemaker.smoke import smoke_answer
from tests.support.tiny_run import write_images

pytestmark = pytest.mark.slow
ROLE, IMAGE, BUCKET = f"arn:aws:iam::{ACCOUNT}:role/augrank", "image:1", "augrank-test"
METRICS = {"images_per_s": 42.0, "epoch_seconds": 20.0, "input_share": 0.25}


@pytest.fixture
def region(monkeypatch, dist, tmp_path):
    """A region whose endpoints answer correctly and whose jobs train at 42 images/s."""
    right = smoke_answer(dist)
    jobs = add_jobs(monkeypatch)
    jobs.fate = lambda _kind: ("Completed", METRICS)
    with local_aws(lambda _model, _body, _headers: (200, right), monkeypatch):
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="shop/history.csv", Body=b"relative_im_path\n")
        write_images(tmp_path / "images", 3)
        yield jobs


def words(dist, tmp_path, *more: str) -> list[str]:
    return [
        "instances",
        "--quick",
        "--role",
        ROLE,
        "--bucket",
        BUCKET,
        "--image",
        IMAGE,
        "--training-image",
        IMAGE,
        "--data",
        f"s3://{BUCKET}/shop",
        "--dist",
        str(dist),
        "--request-images",
        str(tmp_path / "images"),
        "--out",
        str(tmp_path / "out"),
        *more,
    ]


def left() -> list[str]:
    """Return the resources that still cost money or would confuse the next call."""
    sagemaker = boto3.client("sagemaker")
    names = [e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]]
    names += [m["ModelName"] for m in sagemaker.list_models()["Models"]]
    names += [c["EndpointConfigName"] for c in sagemaker.list_endpoint_configs()["EndpointConfigs"]]
    running = sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]
    return names + [job["TrainingJobName"] for job in running]


def test_instance_types_train_and_serve_and_are_deleted(region, dist, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "QUICK_LOAD", figures.LoadPlan(0.3, 1.0, 2))
    # moto knows older instance types only; a smaller one's quota is spent.
    region.fate = lambda kind: ("Failed", {}) if kind == "ml.c5.2xlarge" else ("Completed", METRICS)
    done = CliRunner().invoke(
        app,
        words(
            dist,
            tmp_path,
            "--training",
            "--serving",
            "--types",
            "ml.c5.large,ml.c5.xlarge,ml.c5.2xlarge,ml.p3.2xlarge",
        ),
    )
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout.splitlines()[-1])
    table = {row["type"]: row for row in content["rows"]}
    assert table["ml.c5.xlarge"]["images_per_s"] == 42.0
    assert table["ml.c5.xlarge"]["hours"] == 0.1  # as billed
    assert table["ml.c5.xlarge"]["usd_an_epoch"] == pytest.approx(20 / 3600 * 0.204)
    assert "AlgorithmError" in table["ml.c5.2xlarge"]["note"]
    assert "does not train" in table["ml.c5.large"]["note"]
    for name in ("ml.c5.large", "ml.c5.xlarge", "ml.c5.2xlarge"):
        assert table[name]["p99_ms"] > 0
        assert table[name]["error_rate"] == 0
    assert "--fp16" in table["ml.p3.2xlarge"]["note"]  # this export has no graph for GPUs
    assert left() == []
    keys = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="augrank/bench-")
    assert keys.get("Contents", []) == []


def test_a_job_nobody_will_follow_is_stopped(region, dist, tmp_path):
    region.fate = lambda _kind: ("InProgress", {})
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        *words(dist, tmp_path, "--training", "--types", "ml.c5.xlarge"),
    ]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + PATIENCE_S
    while not left() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (job,) = left()
    region.fate = lambda _kind: ("Completed", METRICS)
    done = CliRunner().invoke(app, words(dist, tmp_path, "--training", "--types", "ml.c5.4xlarge"))
    assert done.exit_code == 0, done.output
    assert region.stopped == [job]
    assert left() == []


def test_an_interrupt_leaves_nothing_running(region, dist, tmp_path, monkeypatch):
    region.fate = lambda _kind: ("InProgress", {})

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(instances_aws.jobs, "wait", interrupted)
    done = CliRunner().invoke(app, words(dist, tmp_path, "--training", "--types", "ml.c5.xlarge"))
    assert done.exit_code == 130
    assert "started resources are removed" in done.output
    assert len(region.stopped) == 1
    assert left() == []


def test_killed_at_ten_random_moments_the_next_call_finishes_and_cleans_up(
    region, dist, tmp_path, monkeypatch
):
    rng = random.Random(0)
    types = ["ml.c5.large", "ml.c5.xlarge"]
    asked = words(dist, tmp_path, "--serving", "--types", ",".join(types))
    stood = 0
    for _ in range(10):
        process = forked.start("benchmarks.cli.app", asked)
        deadline = time.monotonic() + PATIENCE_S
        while not left() and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.join(rng.uniform(0.0, 2.0))
        forked.kill(process)
        stood += bool(left())
    assert stood >= 5  # most kills met something that had been made
    monkeypatch.setattr(figures, "QUICK_LOAD", figures.LoadPlan(0.3, 1.0, 2))
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout.splitlines()[-1])
    assert all(row["p99_ms"] > 0 for row in content["rows"])
    costs = json.loads((tmp_path / "out" / "ledger.json").read_text())
    assert 0 < costs["spent_usd"] < 0.1  # a few minutes of two small types
    assert left() == []
