"""``python -m training tune|submit``: local or SageMaker hyperparameter search; training jobs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from augrank.cli.options import pairs
from augrank.errors import BadRequest
from augrank.files import check_output_folder
from augrank.reporting import Reporter
from training.cli.command import command_reporter
from training.common.context import TrainContext
from training.config import FitConfig, load_config, named_options, read_options, read_value

if TYPE_CHECKING:
    from augrank.aws.client import Aws
    from training.sagemaker.job import TrainingJob
    from training.tuning.space import Space
    from training.tuning.trials import Trial

AWS_IMAGE = "aws"
IN_THE_JOB = Path("in-the-job")  # placeholder for paths that are known only inside the job

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the requests without sending.")]


@dataclass(frozen=True)
class FitOptions:
    """Options of ``fit`` for searches and jobs."""

    config: Annotated[Path | None, typer.Option(help="YAML or TOML file with options of fit.")] = (
        None
    )
    options: Annotated[
        list[str] | None,
        typer.Option("--set", help="Option of fit, such as image_size=96. Repeatable."),
    ] = None

    def given(self) -> dict[str, Any]:
        """Merge the options of the file and of the command line, whose values are YAML.

        Raises:
            DataError: an option is unknown.
        """
        named = pairs(self.options, "--set")
        set_options = named_options({n: read_value(n, v) for n, v in named.items()}, "--set")
        return {**read_options(self.config), **set_options}


@dataclass(frozen=True)
class JobOptions:
    """Options of a SageMaker training job."""

    data: Annotated[
        str, typer.Option(help="S3 folder of manifest and images: s3://BUCKET/FOLDER.")
    ] = ""
    weights: Annotated[
        str | None,
        typer.Option(help="S3 folder with the file that --set weights=FILE names."),
    ] = None
    instance_type: Annotated[
        str, typer.Option(help="Instance type, such as ml.g4dn.xlarge or ml.c5.2xlarge.")
    ] = "ml.g4dn.xlarge"
    instances: Annotated[int, typer.Option(min=1, help="Number of instances per job.")] = 1
    role: Annotated[
        str, typer.Option(envvar="SAGEMAKER_ROLE", help="ARN of the execution role.")
    ] = ""
    bucket: Annotated[
        str | None,
        typer.Option(help="Bucket for source and results; by default sagemaker-REGION-ACCOUNT."),
    ] = None
    image: Annotated[
        str,
        typer.Option(help="Container image in ECR; aws: AWS's image for the instance type."),
    ] = AWS_IMAGE
    spot: Annotated[
        bool, typer.Option(help="Use spot instances: up to 70 % cheaper, may be interrupted.")
    ] = True
    max_hours: Annotated[
        float, typer.Option(min=0.1, max=672, help="Time limit of a job in hours.")
    ] = 24.0
    region: Annotated[str | None, typer.Option(help="AWS region; by default AWS_REGION.")] = None
    profile: Annotated[str | None, typer.Option(help="Profile in ~/.aws/config.")] = None

    def job(self, name: str, options: dict[str, Any]) -> tuple["Aws", "TrainingJob"]:
        """Return the AWS client and the job to submit.

        Args:
            name: of the job.
            options: of ``fit``.

        Raises:
            BadRequest: a required option is missing.
            DataError: an option is invalid; checked here, before a job costs money.
        """
        for value, flag in ((self.role, "--role"), (self.data, "--data")):
            if not value:
                raise BadRequest(
                    f"{flag} is missing",
                    expected="--role (or SAGEMAKER_ROLE) and --data s3://BUCKET/FOLDER",
                    remedy="See docs/sagemaker.md.",
                )
        load_config(None, {**options, "out": IN_THE_JOB, "images": IN_THE_JOB})
        from augrank.aws.client import Aws
        from training.sagemaker.job import (
            JobSettings,
            TrainingJob,
            as_folder,
            content_digest,
            training_image,
        )

        aws, image = Aws(self.region, self.profile), self.image
        settings = JobSettings(
            name=name,
            role=self.role,
            data=as_folder(self.data),
            bucket=self.bucket or aws.default_bucket,
            instance_type=self.instance_type,
            image=training_image(aws.region, self.instance_type) if image == AWS_IMAGE else image,
            instances=self.instances,
            spot=self.spot,
            max_hours=self.max_hours,
            weights=as_folder(self.weights) if self.weights else None,
        )
        return aws, TrainingJob(settings, options, content_digest(aws, settings))


@dataclass(frozen=True)
class Study:
    """Options of a search: its space, its folder and its number of trials."""

    space: "Space"
    out: Path
    trials: int


def tune(
    out: Annotated[Path, typer.Option(help="Folder for trials.csv, trials.png and best.yaml.")],
    fit: FitOptions,
    job: JobOptions,
    manifest: Annotated[
        Path | None, typer.Option(help=FitConfig.model_fields["manifest"].description)
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help=FitConfig.model_fields["images"].description)
    ] = None,
    space: Annotated[
        str,
        typer.Option(
            help="Search space. seeds: rates, batch size, epochs, depth. grid: epochs x depth. "
            "Or a YAML file."
        ),
    ] = "seeds",
    trials: Annotated[
        int,
        typer.Option(min=1, help="Total number of trials, including earlier ones."),
    ] = 20,
    engine: Annotated[
        Literal["optuna", "sagemaker"],
        typer.Option(help="Search locally with Optuna, or as a SageMaker tuning job."),
    ] = "optuna",
    name: Annotated[str, typer.Option(help="Name of the tuning job.")] = "augrank",
    parallel: Annotated[int, typer.Option(min=1, help="Number of concurrent jobs.")] = 2,
    dry_run: DryRun = False,
) -> None:
    """Search for the options with the best validation accuracy; run it again to resume.

    Writes OUT/trials.csv, OUT/trials.png and OUT/best.yaml, which fit reads.

    Example: python -m training tune --manifest history.csv --set image_size=64 --out build/study
    """
    from training.tuning.space import load_space

    with command_reporter(resumable=True) as reporter:
        check_output_folder(out)
        options, study = fit.given(), Study(load_space(space), out, trials)
        if engine == "optuna":
            here = {"manifest": manifest, "images": images, "out": out}
            chosen = load_config(None, {**options, **{k: v for k, v in here.items() if v}})
            _tune_here(chosen, study, reporter)
        elif dry_run:
            _print_tuning_request(job.job(name, options)[1], study, parallel)
        else:
            aws, training_job = job.job(name, options)
            _tune_on_sagemaker(aws, training_job, study, parallel, reporter)


def submit(
    name: Annotated[str, typer.Argument(help="Name of the job.")],
    fit: FitOptions,
    job: JobOptions,
    out: Annotated[
        Path | None, typer.Option(help="Download the finished run to this folder, for export.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the job has ended.")] = True,
    dry_run: DryRun = False,
) -> None:
    """Train on SageMaker: the same as fit, on any instance type, all its GPUs and several machines.

    After an interrupt, run it again to follow the job; a failed job resumes from its checkpoints.

    Example: python -m training submit shop --data s3://BUCKET/shop --set epochs=20 --out runs/shop
    """
    with command_reporter(resumable=True) as reporter:
        if out is not None and out.exists():
            raise BadRequest(f"{out} exists", expected="a new folder in --out")
        aws, training_job = job.job(name, fit.given())
        from training.sagemaker import job as jobs

        if dry_run:
            print(json.dumps(jobs.dry_run_request(training_job), indent=2))
            return
        with reporter.status() as step:
            started = jobs.submit(aws, training_job, step)
            if not wait:
                reporter.say(f"{started} has started; follow it with the same command and --wait")
                return
            state = jobs.wait(aws, started, step)
        billed = state.get("BillableTimeInSeconds")
        reporter.say(f"{started} has finished" + (f", {billed} s billed" if billed else ""))
        if out is None:
            reporter.say(f"Run: {state['ModelArtifacts']['S3ModelArtifacts']}")
            return
        jobs.fetch(aws, state, out)
        reporter.say(f"Next: python -m export build {out} --images IMAGES --out dist --sagemaker")


def _tune_here(config: FitConfig, study: Study, reporter: Reporter) -> None:
    try:
        from training.tuning.study import tune
    except ImportError as error:
        raise BadRequest(
            f"cannot tune here: {error}", remedy="pip install 'augrank[train,tune]'"
        ) from error
    ctx = TrainContext(reporter)
    found = tune(config, study.space, study.out, trials=study.trials, ctx=ctx)
    _report(study, found, reporter)


def _print_tuning_request(job: "TrainingJob", study: Study, parallel: int) -> None:
    from training.sagemaker import job as jobs
    from training.sagemaker import tuner

    request = tuner.dry_run_request(job, tuner.Search(study.space, study.trials, parallel))
    print(json.dumps({**request, "TrainingJob": jobs.dry_run_request(job)}, indent=2))


def _tune_on_sagemaker(
    aws: "Aws", job: "TrainingJob", study: Study, parallel: int, reporter: Reporter
) -> None:
    from training.sagemaker import tuner
    from training.tuning.trials import write_results

    space, out = study.space, study.out
    config = load_config(None, {**job.options, "out": out, "images": IN_THE_JOB})
    space.check(config)
    search = tuner.Search(space, study.trials, parallel, config.seed)
    with reporter.status() as step:
        started = tuner.start(aws, job, search, step)
        tuner.wait(aws, started, step)
    found = tuner.results(aws, started, space)
    write_results(out, config.model_copy(update={"images": None}), space, found)
    _report(study, found, reporter)


def _report(study: Study, found: Sequence["Trial"], reporter: Reporter) -> None:
    from training.tuning.trials import results_table, summary, verdict

    reporter.table(results_table(study.space, found))
    if text := verdict(found):
        reporter.say(text)
    out, best = study.out, study.out / "best.yaml"
    reporter.say(f"{out}: trials.csv, trials.png" + (", best.yaml" if best.is_file() else ""))
    if best.is_file():
        reporter.say(f"Next: python -m training fit --config {best} --out RUN")
    print(json.dumps(summary(found)))
