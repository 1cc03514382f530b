"""Training containers without Docker: the files that the platform provides, and the entry points.

Both entry points run a job's own files, downloaded from the job's locations in moto's S3:

- SDK v3's driver: ``sm_train.sh`` and the scripts beside it, in which ``/opt/ml`` is replaced by a
  folder of the test; nothing else is changed;
- the training toolkit's ``train`` entry, unmodified, from its own environment.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3

from tests.support.sagemaker.stacks import HERE, environment_of

PLATFORM = "/opt/ml"
HOST = "localhost"  # algo-1 on AWS; the toolkit waits until the name resolves
TRAINING_LOCK = HERE / "training_toolkit.lock"


def lay_out(base: Path, job: Mapping[str, Any], hyperparameters: Mapping[str, str]) -> None:
    """Write a job's channels and configuration as the platform does under ``/opt/ml``."""
    for folder in ("input/config", "input/data", "model", "output/data", "checkpoints", "code"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    channels = {}
    for channel in job["InputDataConfig"]:
        name, url = channel["ChannelName"], channel["DataSource"]["S3DataSource"]["S3Uri"]
        download(url, base / "input" / "data" / name)
        channels[name] = {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        }
    hosts = {
        "current_host": HOST,
        "hosts": [HOST],
        "network_interface_name": "lo",
        "current_instance_type": "ml.c5.xlarge",
        "current_group_name": "homogeneousCluster",
        "instance_groups": [
            {
                "instance_group_name": "homogeneousCluster",
                "instance_type": "ml.c5.xlarge",
                "hosts": [HOST],
            }
        ],
    }
    for name, content in {
        "hyperparameters": dict(hyperparameters),
        "inputdataconfig": channels,
        "resourceconfig": hosts,
    }.items():
        (base / "input" / "config" / f"{name}.json").write_text(json.dumps(content))


def download(url: str, folder: Path) -> None:
    """Download everything below an S3 prefix."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    s3 = boto3.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for item in (item for page in pages for item in page.get("Contents", [])):
        file = folder / item["Key"].removeprefix(prefix).lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, item["Key"], str(file))


def run_driver(
    base: Path, job: Mapping[str, Any], **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a training job's entry point and arguments, as SDK v3 sets them."""
    for script in (base / "input" / "data" / "sm_drivers").rglob("*"):
        if script.suffix in (".py", ".sh"):
            script.write_text(script.read_text().replace(PLATFORM, str(base)))
    algorithm = job["AlgorithmSpecification"]
    command = [*algorithm["ContainerEntrypoint"], *algorithm["ContainerArguments"]]
    command = [word.replace(PLATFORM, str(base)) for word in command]
    own = {name: value.replace(PLATFORM, str(base)) for name, value in job["Environment"].items()}
    own |= {"TRAINING_JOB_NAME": job["TrainingJobName"]}
    return _run(command, base, {**own, **environment}, Path(sys.executable).parent)


def run_toolkit(base: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``train``, as a tuning job's container does."""
    python = training_toolkit()
    own = {"SAGEMAKER_BASE_DIR": str(base), "SM_CURRENT_INSTANCE_TYPE": "ml.c5.xlarge"}
    return _run([str(python.parent / "train")], base, {**own, **environment}, python.parent)


def training_toolkit() -> Path:
    """Return the toolkit's interpreter, which falls back on this environment's packages."""
    python = environment_of(TRAINING_LOCK, "training-toolkit")
    site = next((python.parents[1] / "lib").glob("python*")) / "site-packages"
    ours = next((Path(sys.executable).parents[1] / "lib").glob("python*")) / "site-packages"
    (site / "ours.pth").write_text(f"{ours}\n")
    return python


def _run(
    command: list[str], base: Path, environment: Mapping[str, str], bin_folder: Path
) -> subprocess.CompletedProcess[str]:
    (base / "tmp").mkdir(exist_ok=True)  # a container's own
    environment = {"TMPDIR": str(base / "tmp"), **environment}
    left_out = ("AUGRANK_", "SAGEMAKER", "SM_", "PYTHONPATH")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    path = os.pathsep.join((str(bin_folder), inherited["PATH"]))
    return subprocess.run(
        command,
        cwd=base,
        env={**inherited, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
        stdin=subprocess.DEVNULL,
    )
