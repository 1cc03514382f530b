"""A training job on SageMaker: submit it once, follow it to its end, resume it after a failure.

    this repository's packages ─ S3 ─┐
    s3://.../data ───────────────────┼─ training job ─ model.tar.gz ─ RUN, for export
    options of fit ──────────────────┘        └ checkpoints ─ S3

A job's name contains a digest of settings, options, source and data: the same command finds a job
that is running or finished instead of paying for another one. A job that failed or was stopped is
submitted again, and resumes from its checkpoints.
"""

import hashlib
import json
import logging
import os
import tarfile
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from augrank.aws.client import Aws, AwsError, Call, aws_errors
from augrank.aws.poll import Pending, poll
from augrank.errors import BadRequest, reason
from augrank.reporting import ShowStatus, no_progress
from training.sagemaker.env import CHECKPOINTS, LOCAL_CHECKPOINTS, VALIDATE_ROLE
from training.sagemaker.metrics import OBJECTIVE, definitions
from training.sagemaker.source import ENTRY, source_digest, stage

TAG = "augrank:job"
FOLDER = "augrank/jobs"  # in the bucket
MAX_NAME = 40  # characters of a job's name; SageMaker appends to it, up to 63
POLL_S = 15.0
# AWS's PyTorch images. The newest one's CUDA has no kernels for the V100 of ml.p3.
VERSIONS = {"ml.p3": "2.6.0"}
NEWEST, PYTHON = "2.9.0", "py312"
ENDED = ("Completed", "Failed", "Stopped")


@dataclass(frozen=True)
class JobSettings:
    """Settings of a training job."""

    name: str
    role: str  # ARN that the container runs under
    data: str  # s3://BUCKET/FOLDER/ of manifest and images
    bucket: str  # for source, checkpoints and results
    instance_type: str
    image: str
    instances: int = 1
    spot: bool = True
    max_hours: float = 24.0
    volume_gb: int = 100
    weights: str | None = None  # s3://BUCKET/FOLDER/ of the file that the option weights names

    def __post_init__(self) -> None:
        if not self.name.replace("-", "").isalnum() or len(self.name) > MAX_NAME - 13:
            raise BadRequest(
                "invalid job name",
                expected=f"letters, digits and -, at most {MAX_NAME - 13}",
                got=repr(self.name),
            )
        for url in filter(None, (self.data, self.weights)):
            if not url.startswith("s3://"):
                raise BadRequest(
                    "a job reads its data from S3",
                    expected="s3://BUCKET/FOLDER",
                    got=url,
                    remedy="Upload the data with: aws s3 sync FOLDER s3://BUCKET/FOLDER",
                )


@dataclass(frozen=True)
class TrainingJob:
    """A training job: the options of ``fit`` and the job's settings."""

    settings: JobSettings
    options: Mapping[str, Any] = field(default_factory=dict)  # of ``fit``
    content: str = ""  # digest of source and data

    @property
    def name(self) -> str:
        """The job's name, without the time that SageMaker's SDK appends."""
        parts = [asdict(self.settings), dict(self.options), self.content]
        text = json.dumps(parts, sort_keys=True, default=str)
        return f"{self.settings.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def targets(self) -> list[str] | None:
        """The targets that the options name, if any."""
        targets = self.options.get("targets")
        return targets.split(",") if isinstance(targets, str) else targets

    @property
    def metrics(self) -> list[dict[str, str]]:
        """The definitions of the metrics that the job prints."""
        return definitions(self.targets, task=str(self.options.get("task", "recommend")))

    @property
    def checkpoint_config(self) -> dict[str, str]:
        """The location of the checkpoints, in S3 and in the container."""
        return {"s3_uri": self.folder("checkpoints"), "local_path": LOCAL_CHECKPOINTS}

    def folder(self, name: str) -> str:
        """Return the URL of one of the job's own folders in S3."""
        return f"s3://{self.settings.bucket}/{FOLDER}/{self.name}/{name}"


def as_folder(url: str) -> str:
    """Add a trailing slash: SageMaker matches prefixes, and ``shop`` would include ``shop-2``."""
    return url.rstrip("/") + "/"


def training_image(region: str, instance_type: str) -> str:
    """Return AWS's PyTorch training image that fits an instance type's processors."""
    version = next((v for k, v in VERSIONS.items() if instance_type.startswith(k)), NEWEST)
    with _sdk():
        from sagemaker.core import image_uris

        uri: str = image_uris.retrieve(
            "pytorch",
            region,
            version=version,
            py_version=PYTHON,
            image_scope="training",
            instance_type=instance_type,
        )
    return uri


def content_digest(aws: Aws, settings: JobSettings) -> str:
    """Hash the source that is sent to a job and the list of the files that it reads in S3.

    Raises:
        BadRequest: there are no files.
        AwsError: AWS rejected the request.
    """
    digest = hashlib.sha256(source_digest().encode())
    for url in filter(None, (settings.data, settings.weights)):
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        pages = aws.paginate("s3", "list_objects_v2", Bucket=bucket, Prefix=prefix)
        files = [(f["Key"], f["ETag"]) for page in pages for f in page.get("Contents", [])]
        if not files:
            raise BadRequest(f"{url} is empty", expected="a manifest and its images")
        digest.update(json.dumps(files).encode())
    return digest.hexdigest()


def submit(aws: Aws, job: TrainingJob, progress: ShowStatus = no_progress) -> str:
    """Start a job, or find the one that was started before.

    Returns:
        The job's full name.

    Raises:
        AwsError: AWS rejected the request.
    """

    def not_stopping() -> dict[str, Any] | Pending | None:
        found = find_job(aws, job.name)
        if found and found["TrainingJobStatus"] == "Stopping":
            return Pending(f"{found['TrainingJobName']} is stopping")
        return found

    found = poll(not_stopping, interval_s=POLL_S, progress=progress)
    if found and found["TrainingJobStatus"] not in ("Failed", "Stopped"):
        progress(f"{found['TrainingJobName']} already exists: {found['TrainingJobStatus']}")
        return str(found["TrainingJobName"])
    progress(f"uploading the source and starting {job.name}")
    with model_trainer(aws, job) as trainer, aws_errors():
        trainer.train(input_data_config=input_channels(job.settings), wait=False, logs=False)
        return str(trainer._latest_training_job.training_job_name)


def dry_run_request(job: TrainingJob) -> dict[str, Any]:
    """Return what ``--dry-run`` prints: the request, except what only an upload determines."""
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
        "CheckpointConfig": job.checkpoint_config,
        "MetricDefinitions": job.metrics,
    }


def input_channels(settings: JobSettings) -> list[Any]:
    """Return the job's data channels, as the SDK's InputData."""
    from sagemaker.core.training.configs import InputData

    channels = {"training": settings.data, "weights": settings.weights}
    return [InputData(channel_name=n, data_source=url) for n, url in channels.items() if url]


@contextmanager
def model_trainer(aws: Aws, job: TrainingJob) -> Iterator[Any]:
    """Yield the SDK's ModelTrainer of a job; its staged source is deleted after the block."""
    with _sdk(), tempfile.TemporaryDirectory() as source, aws_errors():
        from sagemaker.core.training import configs
        from sagemaker.train import ModelTrainer

        settings = job.settings
        stage(Path(source))
        limit_s = int(settings.max_hours * 3600)
        max_wait = {"max_wait_time_in_seconds": 2 * limit_s} if settings.spot else {}
        trainer = ModelTrainer(
            sagemaker_session=_session(aws, settings.bucket),
            role=settings.role,
            base_job_name=job.name,
            input_s3_key_prefix=f"{FOLDER}/{job.name}",
            training_image=settings.image,
            source_code=configs.SourceCode(
                source_dir=source, entry_script=ENTRY, requirements="requirements.txt"
            ),
            compute=configs.Compute(
                instance_type=settings.instance_type,
                instance_count=settings.instances,
                volume_size_in_gb=settings.volume_gb,
                enable_managed_spot_training=settings.spot,
            ),
            stopping_condition=configs.StoppingCondition(
                max_runtime_in_seconds=limit_s, **max_wait
            ),
            output_data_config=configs.OutputDataConfig(s3_output_path=job.folder("output")),
            checkpoint_config=configs.CheckpointConfig(**job.checkpoint_config),
            hyperparameters=to_strings(job.options),
            environment={CHECKPOINTS: LOCAL_CHECKPOINTS},
            tags=[configs.Tag(key=TAG, value=settings.name)],
        )
        metrics = [
            configs.MetricDefinition(name=metric["Name"], regex=metric["Regex"])
            for metric in job.metrics
        ]
        yield trainer.with_metric_definitions(metrics)


def to_strings(options: Mapping[str, Any]) -> dict[str, str]:
    """Return options as hyperparameters: strings, or JSON (the SDK would write Python's repr)."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in options.items()
    }


def find_job(aws: Aws, name: str) -> dict[str, Any] | None:
    """Return the newest job whose name begins with ``name``, if there is one."""
    parameters = {"NameContains": name, "SortBy": "CreationTime", "SortOrder": "Descending"}
    listed = aws.send(Call("sagemaker", "list_training_jobs", parameters))["TrainingJobSummaries"]
    found = [item for item in listed if item["TrainingJobName"].startswith(name)]
    return found[0] if found else None


def wait(
    aws: Aws, name: str, progress: ShowStatus, *, poll_s: float | None = None
) -> dict[str, Any]:
    """Wait for a job to end.

    Returns:
        SageMaker's description of it.

    Raises:
        AwsError: it failed or was stopped.
    """

    def ended() -> dict[str, Any] | Pending:
        state = aws.send(Call("sagemaker", "describe_training_job", {"TrainingJobName": name}))
        status = state["TrainingJobStatus"]
        if status == "Completed":
            return state
        if status in ENDED:
            raise AwsError(
                f"the job {name} {status.lower()}: {state.get('FailureReason', 'no reason given')}",
                remedy="Its log is in CloudWatch (/aws/sagemaker/TrainingJobs). The same command "
                "submits it again and resumes from its checkpoints.",
            )
        return Pending(f"{name}: {state.get('SecondaryStatus', status)}{_best_metric(state)}")

    return poll(ended, interval_s=POLL_S if poll_s is None else poll_s, progress=progress)


def fetch(aws: Aws, state: Mapping[str, Any], out: Path) -> None:
    """Download and unpack a finished job's run, for ``python -m export build``.

    Raises:
        BadRequest: ``out`` exists.
        AwsError: AWS rejected the request.
    """
    if out.exists():
        raise BadRequest(f"{out} exists", expected="a new folder in --out")
    url = state["ModelArtifacts"]["S3ModelArtifacts"]
    bucket, _, key = url.removeprefix("s3://").partition("/")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        archive = Path(scratch) / "model.tar.gz"
        with aws_errors():
            aws.client("s3").download_file(bucket, key, str(archive))
        unpacked = Path(scratch) / "run"
        with tarfile.open(archive) as packed:
            packed.extractall(unpacked, filter="data")
        unpacked.rename(out)


def _session(aws: Aws, bucket: str) -> Any:
    """The SDK's session, without telemetry."""
    from sagemaker.core.helper.session_helper import Session

    modules = {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}
    config = {"SchemaVersion": "1.0", "SageMaker": modules}
    return Session(boto_session=aws.session, default_bucket=bucket, sagemaker_config=config)


def _best_metric(state: Mapping[str, Any]) -> str:
    for metric in state.get("FinalMetricDataList", []):
        if metric["MetricName"] == OBJECTIVE:
            return f", {OBJECTIVE} {metric['Value']:.4f}"
    return ""


@contextmanager
def _sdk() -> Iterator[None]:
    """Silence SageMaker's SDK, and convert its errors.

    Raises:
        BadRequest: it is not installed, or rejects a setting.
    """
    os.environ.setdefault(VALIDATE_ROLE, "false")  # it would need permission to read IAM
    for name in ("sagemaker", "sagemaker.config", "sagemaker.core"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # The SDK imports its own deprecated modules.
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    except ImportError as error:
        raise BadRequest(
            "SageMaker's SDK cannot be loaded",
            got=reason(error),
            remedy="pip install 'augrank[aws]'",
        ) from error
    except ValueError as error:  # its own checks, pydantic's among them
        raise BadRequest(
            "SageMaker's SDK refuses the settings",
            expected="settings that SageMaker accepts",
            got=" ".join(str(error).split()),
        ) from error
