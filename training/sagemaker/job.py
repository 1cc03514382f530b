"""A training job on SageMaker: submitted once, followed to its end, gone on with after a failure.

    this repository's packages ─ S3 ─┐
    s3://.../data ───────────────────┼─ training job ─ model.tar.gz ─ RUN, for export
    options of fit ──────────────────┘        └ checkpoints ─ S3

A job's name says what it does (a digest of settings, options, source and data), so that the same
command finds a job that runs or is done already instead of paying for another one. A job that
failed or was stopped is submitted again, and goes on from its checkpoints.
"""

import hashlib
import json
import logging
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from augrank.aws.client import Aws, AwsError, Call, aws_errors
from augrank.errors import BadRequest
from training.sagemaker.entry import CHECKPOINTS
from training.sagemaker.metrics import OBJECTIVE, definitions
from training.sagemaker.source import ENTRY, source_digest, stage

Step = Callable[[str], None]
TAG = "augrank:job"
FOLDER = "augrank/jobs"  # of a bucket
MOST_NAME = 40  # letters of a job's name; SageMaker adds to it, up to 63
POLL_S = 15.0
LOCAL_CHECKPOINTS = "/opt/ml/checkpoints"
# AWS's PyTorch images. The newer one's CUDA has no kernels for the V100 of ml.p3.
VERSIONS = {"ml.p3": "2.6.0"}
NEWEST, PYTHON = "2.9.0", "py312"
ENDED = ("Completed", "Failed", "Stopped")


@dataclass(frozen=True)
class JobSettings:
    """Where and how a job runs."""

    name: str
    role: str  # ARN that the container runs under
    data: str  # s3://BUCKET/FOLDER: manifest and images
    bucket: str  # for source, checkpoints and results
    instance_type: str
    image: str
    instances: int = 1
    spot: bool = True
    max_hours: float = 24.0
    volume_gb: int = 100
    weights: str | None = None  # s3://BUCKET/FOLDER with the file that the option weights names

    def __post_init__(self) -> None:
        if not self.name.replace("-", "").isalnum() or len(self.name) > MOST_NAME - 13:
            raise BadRequest(
                "the job's name does not fit",
                expected=f"letters, digits and -, at most {MOST_NAME - 13}",
                got=repr(self.name),
            )
        for url in filter(None, (self.data, self.weights)):
            if not url.startswith("s3://"):
                raise BadRequest(
                    "the job's data do not lie in S3", expected="s3://BUCKET/FOLDER", got=url,
                    remedy="Bring them there with: aws s3 sync FOLDER s3://BUCKET/FOLDER",
                )  # fmt: skip


@dataclass(frozen=True)
class TrainingJob:
    """What is to be trained, and where."""

    settings: JobSettings
    options: Mapping[str, Any] = field(default_factory=dict)  # of ``fit``
    content: str = ""  # digest of source and data

    @property
    def name(self) -> str:
        """The job's, but for the time that SageMaker's SDK adds."""
        given = [asdict(self.settings), dict(self.options), self.content]
        what = json.dumps(given, sort_keys=True, default=str)
        return f"{self.settings.name}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"

    @property
    def targets(self) -> list[str] | None:
        """Those that the options name."""
        named = self.options.get("targets")
        return named.split(",") if isinstance(named, str) else named


def as_folder(url: str) -> str:
    """With a slash behind: SageMaker takes all that begins so, of ``shop`` also ``shop-2``."""
    return url.rstrip("/") + "/"


def training_image(region: str, instance_type: str) -> str:
    """AWS's PyTorch training image that fits an instance type's processors."""
    version = next((v for k, v in VERSIONS.items() if instance_type.startswith(k)), NEWEST)
    with _sdk():
        from sagemaker.core import image_uris

        uri: str = image_uris.retrieve(
            "pytorch", region, version=version, py_version=PYTHON, image_scope="training",
            instance_type=instance_type,
        )  # fmt: skip
    return uri


def content_of(aws: Aws, settings: JobSettings) -> str:
    """Digest of the source that a job is sent and of the files that it reads in S3.

    Raises:
        BadRequest: there are no files.
        AwsError: what AWS says.
    """
    digest = hashlib.sha256(source_digest().encode())
    for url in filter(None, (settings.data, settings.weights)):
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        pages = aws.paginate("s3", "list_objects_v2", Bucket=bucket, Prefix=prefix)
        files = [(f["Key"], f["ETag"]) for page in pages for f in page.get("Contents", [])]
        if not files:
            raise BadRequest(f"there is nothing in {url}", expected="a manifest and its images")
        digest.update(json.dumps(files).encode())
    return digest.hexdigest()


def submit(aws: Aws, job: TrainingJob, step: Step = lambda _: None) -> str:
    """Start a job, or find the one that was started.

    Returns:
        Its full name.

    Raises:
        AwsError: what AWS says.
    """
    known = find(aws, job.name)
    while known and known["TrainingJobStatus"] == "Stopping":
        step(f"{known['TrainingJobName']} is stopping")
        time.sleep(POLL_S)
        known = find(aws, job.name)
    if known and known["TrainingJobStatus"] not in ("Failed", "Stopped"):
        step(f"{known['TrainingJobName']} is there already: {known['TrainingJobStatus']}")
        return str(known["TrainingJobName"])
    step(f"uploading the source and starting {job.name}")
    with trainer(aws, job) as prepared, aws_errors():
        prepared.train(input_data_config=inputs(job.settings), wait=False, logs=False)
        return str(prepared._latest_training_job.training_job_name)


def requests(job: TrainingJob) -> dict[str, Any]:
    """What ``--dry-run`` shows: the job without what only an upload can tell."""
    settings = job.settings
    return {
        "TrainingJobName": f"{job.name}-...",
        "RoleArn": settings.role,
        "TrainingImage": settings.image,
        "HyperParameters": dict(job.options),
        "InputDataConfig": {"training": settings.data, "weights": settings.weights},
        "ResourceConfig": {
            "InstanceType": settings.instance_type,
            "InstanceCount": settings.instances,
            "VolumeSizeInGB": settings.volume_gb,
        },
        "EnableManagedSpotTraining": settings.spot,
        "MaxRuntimeInSeconds": int(settings.max_hours * 3600),
        "CheckpointConfig": _checkpoints(job),
        "MetricDefinitions": definitions(job.targets),
    }


def inputs(settings: JobSettings) -> list[Any]:
    """The job's channels."""
    from sagemaker.core.training.configs import InputData

    channels = {"training": settings.data, "weights": settings.weights}
    return [InputData(channel_name=n, data_source=url) for n, url in channels.items() if url]


@contextmanager
def trainer(aws: Aws, job: TrainingJob) -> Iterator[Any]:
    """The SDK's ModelTrainer of a job, with the source staged as long as the block lasts."""
    settings = job.settings
    with _sdk(), tempfile.TemporaryDirectory() as source, aws_errors():
        from sagemaker.core.helper.session_helper import Session
        from sagemaker.core.training.configs import (
            CheckpointConfig,
            Compute,
            MetricDefinition,
            OutputDataConfig,
            SourceCode,
            StoppingCondition,
            Tag,
        )
        from sagemaker.train import ModelTrainer

        stage(Path(source))
        modules = {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}
        quiet = {"SchemaVersion": "1.0", "SageMaker": modules}
        session = Session(
            boto_session=aws.session, default_bucket=settings.bucket, sagemaker_config=quiet
        )
        limit_s = int(settings.max_hours * 3600)
        waiting = {"max_wait_time_in_seconds": 2 * limit_s} if settings.spot else {}
        made = ModelTrainer(
            sagemaker_session=session,
            role=settings.role,
            base_job_name=job.name,
            input_s3_key_prefix=f"{FOLDER}/{job.name}",
            training_image=settings.image,
            source_code=SourceCode(
                source_dir=source, entry_script=ENTRY, requirements="requirements.txt"
            ),
            compute=Compute(
                instance_type=settings.instance_type,
                instance_count=settings.instances,
                volume_size_in_gb=settings.volume_gb,
                enable_managed_spot_training=settings.spot,
            ),
            stopping_condition=StoppingCondition(max_runtime_in_seconds=limit_s, **waiting),
            output_data_config=OutputDataConfig(s3_output_path=folder(job, "output")),
            checkpoint_config=CheckpointConfig(**_checkpoints(job)),
            hyperparameters=texts(job.options),
            environment={CHECKPOINTS: LOCAL_CHECKPOINTS},
            tags=[Tag(key=TAG, value=settings.name)],
        )
        yield made.with_metric_definitions(
            [MetricDefinition(name=d["Name"], regex=d["Regex"]) for d in definitions(job.targets)]
        )


def texts(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as hyperparameters: texts, JSON where they are none (the SDK writes Python's own)."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in options.items()
    }


def folder(job: TrainingJob, name: str) -> str:
    """One of the job's own folders in S3."""
    return f"s3://{job.settings.bucket}/{FOLDER}/{job.name}/{name}"


def find(aws: Aws, name: str) -> dict[str, Any] | None:
    """The newest job whose name begins so."""
    parameters = {"NameContains": name, "SortBy": "CreationTime", "SortOrder": "Descending"}
    listed = aws.send(Call("sagemaker", "list_training_jobs", parameters))["TrainingJobSummaries"]
    found = [item for item in listed if item["TrainingJobName"].startswith(name)]
    return found[0] if found else None


def wait(aws: Aws, name: str, step: Step, *, poll_s: float | None = None) -> dict[str, Any]:
    """Until the job has ended.

    Returns:
        SageMaker's description of it.

    Raises:
        AwsError: it failed or was stopped.
    """
    started = time.monotonic()
    while True:
        state = aws.send(Call("sagemaker", "describe_training_job", {"TrainingJobName": name}))
        status = state["TrainingJobStatus"]
        if status == "Completed":
            return state
        if status in ENDED:
            raise AwsError(
                f"the job {name} {status.lower()}: {state.get('FailureReason', 'no reason given')}",
                remedy="Its log is in CloudWatch (/aws/sagemaker/TrainingJobs). The same command "
                "submits it again and goes on from its checkpoints.",
            )
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        step(
            f"{name}: {state.get('SecondaryStatus', status)}, {minutes}:{seconds:02d}{_best(state)}"
        )
        time.sleep(POLL_S if poll_s is None else poll_s)


def fetch(aws: Aws, state: Mapping[str, Any], out: Path) -> None:
    """Bring a finished job's run here, for ``python -m export build``.

    Raises:
        BadRequest: ``out`` exists.
        AwsError: what AWS says.
    """
    if out.exists():
        raise BadRequest(f"{out} exists", expected="a new folder in --out")
    bucket, _, key = (
        state["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
        archive = Path(beside) / "model.tar.gz"
        with aws_errors():
            aws.client("s3").download_file(bucket, key, str(archive))
        unpacked = Path(beside) / "run"
        with tarfile.open(archive) as packed:
            packed.extractall(unpacked, filter="data")
        unpacked.rename(out)


def _checkpoints(job: TrainingJob) -> dict[str, str]:
    return {"s3_uri": folder(job, "checkpoints"), "local_path": LOCAL_CHECKPOINTS}


def _best(state: Mapping[str, Any]) -> str:
    for metric in state.get("FinalMetricDataList", []):
        if metric["MetricName"] == OBJECTIVE:
            return f", {OBJECTIVE} {metric['Value']:.4f}"
    return ""


@contextmanager
def _sdk() -> Iterator[None]:
    """SageMaker's SDK without its chatter.

    Raises:
        BadRequest: it is not installed.
    """
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")  # it asks for rights to look at IAM
    for name in ("sagemaker", "sagemaker.config", "sagemaker.core"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    except ImportError as error:
        raise BadRequest(
            f"SageMaker's SDK cannot be loaded: {error}", remedy="pip install 'augrank[aws]'"
        ) from error
    except ValueError as error:  # its own checks, pydantic's among them
        raise BadRequest(f"SageMaker's SDK refuses: {error}") from error
