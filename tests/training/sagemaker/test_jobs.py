"""Training and tuning jobs: the requests to SageMaker (moto) and the containers that really run."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from augrank.images.augmentations import augmentation_set
from augrank.manifest.read import read_table
from augrank.reporting import NullReporter
from export.run_reader import load_run
from simulation.engagement import SimulationOptions
from tests.support.labelled_images import OPTIONS
from tests.support.sagemaker.containers import lay_out, run_driver, run_toolkit
from tests.support.sagemaker.jobs import LocalJobs, add_jobs
from tests.support.sagemaker.region import ACCOUNT, local_aws
from training.cli.app import app
from training.config import load_config
from training.data.simulated_history import write_history
from training.sagemaker import entry, env, tuner
from training.sagemaker import job as jobs
from training.sagemaker.entry import channels, hyperparameters, torchrun_command
from training.sagemaker.metrics import MAX_DEFINITIONS, definitions
from training.sagemaker.source import requirements

ROLE, IMAGE, BUCKET = f"arn:aws:iam::{ACCOUNT}:role/augrank", "image:1", "augrank-test"
DATA = f"s3://{BUCKET}/shop"
WHERE = [
    "--data",
    DATA,
    "--role",
    ROLE,
    "--image",
    IMAGE,
    "--bucket",
    BUCKET,
    "--instance-type",
    "ml.c5.xlarge",
]
TINY = [
    "--set",
    "image_size=32",
    "--set",
    "epochs=2",
    "--set",
    "batch_size=32",
    "--set",
    "targets=open_rate",
    "--set",
    "baselines=false",
    "--set",
    "precision=fp32",
]


@pytest.fixture
def data(monkeypatch, catalogue) -> Iterator[LocalJobs]:
    """A region with a bucket that contains a history and its images."""
    monkeypatch.setattr(jobs, "POLL_S", 0.05)
    monkeypatch.setattr(tuner, "POLL_S", 0.05)
    manifest = catalogue(20)
    folder = manifest.parent
    write_history(
        read_table(manifest, {}),
        folder,
        folder / "history.csv",
        augmentation_set("seed").names,
        SimulationOptions(sends=3),
    )
    manifest.unlink()
    local = add_jobs(monkeypatch)
    with local_aws(lambda _model, _body, _headers: (500, b""), monkeypatch):
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        for file in folder.rglob("*.*"):
            s3.upload_file(str(file), BUCKET, f"shop/{file.relative_to(folder).as_posix()}")
        yield local


def run(*words: str):
    return CliRunner().invoke(app, list(words))


def the_job() -> dict:
    """Return the only training job."""
    sagemaker = boto3.client("sagemaker")
    (listed,) = sagemaker.list_training_jobs()["TrainingJobSummaries"]
    return sagemaker.describe_training_job(TrainingJobName=listed["TrainingJobName"])


def trial_job(number: int, status: str, value: float | None, learning_rate: str) -> dict:
    """Return a trial's job, as SageMaker lists it."""
    begun = datetime(2026, 11, 22, 12, number, tzinfo=UTC)
    job = {
        "TrainingJobName": f"try-{number}",
        "TrainingJobArn": "arn",
        "TrainingJobStatus": status,
        "CreationTime": begun,
        "TrainingStartTime": begun,
        "TrainingEndTime": begun + timedelta(seconds=90),
        "TunedHyperParameters": {
            "learning_rate": learning_rate,
            "weight_decay": "0.001",
            "batch_size": "32",
            "backbone": '"resnet34"',
        },
    }
    if value is not None:
        objective = {"MetricName": "validation:best_accuracy", "Value": value}
        job["FinalHyperParameterTuningJobObjectiveMetric"] = objective
    return job


def metrics(log: str) -> dict[str, list[float]]:
    """Return the values of each metric in a log, by name."""
    found: dict[str, list[float]] = {}
    for name, value in re.findall(r"^\[metric\] (.+)=(.+)$", log, re.MULTILINE):
        found.setdefault(name, []).append(float(value))
    return found


@pytest.mark.slow
def test_a_job_is_submitted_once_and_makes_a_run_that_export_reads(data, tmp_path):
    done = run("submit", "shop", *WHERE, *TINY, "--no-wait")
    assert done.exit_code == 0, done.output
    job = the_job()
    assert job["TrainingJobName"].startswith("shop-")
    assert job["AlgorithmSpecification"]["TrainingImage"] == IMAGE
    assert job["EnableManagedSpotTraining"] is True
    limits = job["StoppingCondition"]
    assert limits["MaxWaitTimeInSeconds"] == 2 * limits["MaxRuntimeInSeconds"]
    assert job["CheckpointConfig"]["S3Uri"].startswith(f"s3://{BUCKET}/augrank/jobs/shop-")
    assert job["HyperParameters"]["image_size"] == "32"
    again = run("submit", "shop", *WHERE, *TINY)
    assert again.exit_code == 0, again.output
    assert "already exists" in again.output, done.output + again.output
    assert the_job()["TrainingJobName"] == job["TrainingJobName"]

    base = tmp_path / "container"
    lay_out(base, job, job["HyperParameters"])
    ran = run_driver(base, job)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    printed, wanted = metrics(ran.stdout), definitions(["open_rate"])
    assert len(printed["validation:accuracy"]) == 2
    for name, values in printed.items():  # every metric is found by the regex of its own name
        regex = next(item["Regex"] for item in wanted if item["Name"] == name)
        assert [float(text) for text in re.findall(regex, ran.stdout)] == values
    assert set(printed) == {item["Name"] for item in wanted}

    finished = load_run(base / "model", base / "input" / "data" / "training")
    assert finished.record.backbone == "resnet18"
    assert not (base / "model" / "checkpoints").exists()
    assert len(list((base / "checkpoints").glob("*/run/checkpoints/last.pt"))) == 1
    resumed = run_driver(base, job)  # as after a spot interruption
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "already complete" in resumed.stdout


@pytest.mark.slow
def test_the_run_of_a_finished_job_is_fetched(data, tiny_run, tmp_path):
    import tarfile

    packed = tmp_path / "model.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        for file in tiny_run.run.iterdir():
            archive.add(file, file.name)
    boto3.client("s3").upload_file(str(packed), BUCKET, "out/model.tar.gz")
    state = {"ModelArtifacts": {"S3ModelArtifacts": f"s3://{BUCKET}/out/model.tar.gz"}}
    from augrank.aws.client import Aws

    jobs.fetch(Aws(), state, tmp_path / "run")
    assert load_run(tmp_path / "run", tiny_run.images).record == load_run(tiny_run.run).record
    with pytest.raises(Exception, match="exists"):
        jobs.fetch(Aws(), state, tmp_path / "run")


def the_search() -> dict:
    """Return the only tuning job, as SageMaker describes it."""
    sagemaker = boto3.client("sagemaker")
    (listed,) = sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"]
    return sagemaker.describe_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=listed["HyperParameterTuningJobName"]
    )


def check_ranges(ranges: dict) -> dict[str, list[str]]:
    """Compare a search's ranges with the seed's; return the values of its categories."""
    continuous = {item["Name"]: item for item in ranges["ContinuousParameterRanges"]}
    assert set(continuous) == {"learning_rate", "weight_decay"}
    assert continuous["learning_rate"]["ScalingType"] == "Logarithmic"
    assert [item["Name"] for item in ranges["IntegerParameterRanges"]] == ["batch_size"]
    categories = {item["Name"]: item["Values"] for item in ranges["CategoricalParameterRanges"]}
    assert set(categories) == {"epochs", "backbone"}
    assert [json.loads(value) for value in categories["epochs"]] == [5, 10, 15]
    return categories


def train_trial(definition: dict, base: Path, backbone: str) -> None:
    """Run one job of a search: static parameters and one value of each range, all of them text."""
    tried = {
        "learning_rate": "0.0213",
        "weight_decay": "1e-4",
        "batch_size": "16",
        "backbone": backbone,
        "epochs": "2",
        "_tuning_objective_metric": "validation:best_accuracy",
    }
    lay_out(base, definition, {**definition["StaticHyperParameters"], **tried})
    ran = run_toolkit(base)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert len(metrics(ran.stdout)["validation:accuracy"]) == 2
    record = json.loads((base / "model" / "run.json").read_text())
    assert record["config"]["learning_rate"] == 0.0213
    assert record["config"]["batch_size"] == 16
    assert record["config"]["backbone"] == "resnet18"


@pytest.mark.slow
def test_a_search_on_sagemaker_has_the_seeds_ranges_and_its_jobs_train(data, tmp_path):
    data.trials = [
        trial_job(0, "Completed", 0.7, "0.1"),
        trial_job(1, "Stopped", 0.5, "0.2"),
        trial_job(2, "Completed", 0.8, "0.03"),
        trial_job(3, "Failed", None, "0.4"),
    ]
    tune = ["tune", "--engine", "sagemaker", "--out", str(tmp_path / "s"), *WHERE, *TINY]
    tune += ["--trials", "6", "--name", "shop"]
    done = run(*tune)
    assert done.exit_code == 0, done.output
    best = load_config(tmp_path / "s" / "best.yaml", {"out": tmp_path, "images": tmp_path})
    assert (best.learning_rate, best.backbone, best.image_size) == (0.03, "resnet34", 32)
    search = the_search()
    config = search["HyperParameterTuningJobConfig"]
    assert config["Strategy"] == "Bayesian"
    assert config["ResourceLimits"]["MaxNumberOfTrainingJobs"] == 6
    categories = check_ranges(config["ParameterRanges"])
    definition = search["TrainingJobDefinition"]
    assert definition["EnableManagedSpotTraining"] is True
    assert definition["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"
    again = run(*tune)
    assert "already exists" in again.output, done.output + again.output
    train_trial(definition, tmp_path / "container", categories["backbone"][0])


@pytest.mark.slow
def test_a_failed_job_is_submitted_again_and_resumes_from_its_checkpoints(data):
    data.fate = lambda _kind: ("Failed", {})
    failed = run("submit", "shop", *WHERE, *TINY)
    assert failed.exit_code == 2
    assert "AlgorithmError: by a test" in failed.output
    data.fate = lambda _kind: ("Completed", {"validation:accuracy": 0.5})
    again = run("submit", "shop", *WHERE, *TINY)
    assert again.exit_code == 0, again.output
    sagemaker = boto3.client("sagemaker")
    names = [
        job["TrainingJobName"] for job in sagemaker.list_training_jobs()["TrainingJobSummaries"]
    ]
    assert len(names) == 2
    states = [sagemaker.describe_training_job(TrainingJobName=name) for name in names]
    assert states[0]["CheckpointConfig"] == states[1]["CheckpointConfig"]


@pytest.mark.slow
def test_a_job_with_a_wrong_option_fails_with_its_message(data, tmp_path):
    assert "did you mean epochs" in run("submit", "shop", *WHERE, "--set", "epoch=3").output
    submitted = run("submit", "shop", *WHERE, *TINY, "--no-wait")
    assert submitted.exit_code == 0, submitted.output
    job, base = the_job(), tmp_path / "container"
    lay_out(base, job, {**job["HyperParameters"], "epoch": "3"})
    ran = run_driver(base, job)
    assert ran.returncode != 0
    assert "did you mean epochs" in ran.stdout + ran.stderr


def test_mistakes_are_reported_before_anything_is_uploaded(data, tmp_path):
    assert (
        "aws s3 sync" in run("submit", "shop", *[w if w != DATA else "local" for w in WHERE]).output
    )
    nothing = run("submit", "shop", *[w if w != DATA else f"s3://{BUCKET}/none" for w in WHERE])
    assert "s3://augrank-test/none/ is empty" in nothing.output
    shown = run("submit", "shop", *WHERE, *TINY, "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.output)["HyperParameters"]["image_size"] == 32
    assert boto3.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []


def test_several_gpus_or_machines_start_under_torchrun():
    assert torchrun_command({"SM_NUM_GPUS": "1", "SM_HOSTS": '["algo-1"]'}) == []
    assert torchrun_command({}) == []
    four = torchrun_command({"SM_NUM_GPUS": "4", "SM_HOSTS": '["algo-1"]'})
    assert four[1:] == [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=4",
        "--standalone",
        "--max-restarts=3",
        "-m",
        "training.sagemaker.entry",
    ]
    second = torchrun_command(
        {"SM_NUM_GPUS": "0", "SM_HOSTS": '["algo-2", "algo-1"]', "SM_CURRENT_HOST": "algo-2"}
    )
    assert second[3:8] == [
        "--nproc-per-node=1",
        "--nnodes=2",
        "--node-rank=1",
        "--master-addr=algo-1",
        "--master-port=7777",
    ]


def test_numbers_in_both_toolkits_formats_are_read():
    for hps in (
        '{"epochs": 3, "learning_rate": 0.1, "backbone": "resnet34"}',
        '{"epochs": "3", "learning_rate": "0.1", "backbone": "\\"resnet34\\"",'
        ' "sagemaker_program": "train.py", "_tuning_objective_metric": "a"}',
    ):
        options = hyperparameters({"SM_HPS": hps})
        assert options == {"epochs": 3, "learning_rate": 0.1, "backbone": "resnet34"}


def test_channels_give_the_paths_of_manifest_and_weights(tmp_path):
    (tmp_path / "history.csv").touch()
    environment = {"SM_CHANNEL_TRAINING": str(tmp_path), "SM_CHANNEL_WEIGHTS": "/w"}
    places = channels(environment, {"weights": "r18.pt"})
    assert places["manifest"] == tmp_path / "history.csv"
    assert places["weights"] == str(Path("/w/r18.pt"))
    (tmp_path / "other.csv").touch()
    with pytest.raises(Exception, match=r"history\.csv, other\.csv"):
        channels(environment, {})
    assert channels(environment, {"manifest": "other.csv"})["manifest"] == tmp_path / "other.csv"
    with pytest.raises(Exception, match="channel named training"):
        channels({}, {})


@pytest.mark.slow
def test_a_classifiers_job_delivers_its_run_and_prints_its_metrics(classify_run, tmp_path, capsys):
    manifest = json.loads((classify_run.run / "run.json").read_text())
    options = {name: value for name, value in OPTIONS.items() if name != "threads"}
    options |= {"epochs": 1, "graphs": ["fp32"], "labels": ["shape"], "ranks": ["likes"]}
    data = tmp_path / "data"
    data.mkdir()
    for part in ("images", "labels.csv"):
        (data / part).symlink_to(Path(manifest["images"]) / part)
    environment = {
        env.HYPERPARAMETERS: json.dumps(options),
        env.MODEL_DIR: str(tmp_path / "model"),
        env.CHANNEL_TRAINING: str(data),
        env.CHECKPOINTS: str(tmp_path / "checkpoints"),
    }
    entry.train(environment, NullReporter())
    assert load_run(tmp_path / "model", data).record.labels == ("shape",)
    printed = metrics(capsys.readouterr().out)
    assert set(printed) == {item["Name"] for item in definitions(task="classify")}


def test_metrics_stay_below_sagemakers_limit_and_the_image_keeps_its_torch():
    assert len(definitions()) <= MAX_DEFINITIONS
    many = definitions([f"t{number}" for number in range(60)])
    assert len(many) == MAX_DEFINITIONS
    assert "heads:auc" in [item["Name"] for item in many]
    assert not [line for line in requirements() if line.startswith("torch")]
    assert any(line.startswith("xgboost") for line in requirements())


@pytest.mark.parametrize(
    ("instance", "version"),
    [("ml.p3.2xlarge", "2.6.0-gpu"), ("ml.g5.xlarge", "2.9.0-gpu"), ("ml.c5.xlarge", "2.9.0-cpu")],
)
def test_a_v100_gets_an_image_that_has_its_kernels(instance, version):
    assert version in jobs.training_image("us-east-1", instance)


def test_options_of_a_job_are_those_of_fit(tmp_path):
    file = tmp_path / "fit.yaml"
    file.write_text("image-size: 64\ntargets: a, b\n", encoding="utf-8")
    config = load_config(file, {"out": tmp_path, "images": tmp_path})
    assert (config.image_size, config.targets) == (64, ("a", "b"))
