"""``python -m training tune|submit``: search for good options, here or on SageMaker; train."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from augrank.cli.options import pairs
from augrank.errors import BadRequest
from augrank.reporting import Reporter
from training.common.context import TrainContext
from training.config import FitConfig, load_config, named_options, read_options, read_value

if TYPE_CHECKING:
    from augrank.aws.client import Aws
    from training.sagemaker.job import TrainingJob
    from training.tuning.space import Space
    from training.tuning.trials import Trial

AWS_IMAGE = "aws"
IN_THE_JOB = Path("in-the-job")  # stands for paths that only the job knows

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be asked of AWS.")]


@dataclass(frozen=True)
class FitOptions:
    """Options of ``fit``, wherever it runs."""

    config: Annotated[Path | None, typer.Option(help="YAML or TOML file of options of fit.")] = None
    options: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of fit: image_size=96, epochs=8. Repeatable."),
    ] = None

    def given(self) -> dict[str, Any]:
        """Those of the file, and those of the command line, each value as YAML reads it.

        Raises:
            DataError: one is not known.
        """
        named = pairs(self.options, "--set")
        own = named_options({n: read_value(n, v) for n, v in named.items()}, "--set")
        return {**read_options(self.config), **own}


@dataclass(frozen=True)
class JobOptions:
    """Where and how a job runs on SageMaker."""

    data: Annotated[str, typer.Option(help="s3://BUCKET/FOLDER of a job: manifest and images.")] = (
        ""
    )
    weights: Annotated[
        str | None,
        typer.Option(help="s3://BUCKET/FOLDER of the file that --set weights=FILE names."),
    ] = None
    instance_type: Annotated[
        str, typer.Option(help="Of a job: ml.g4dn.xlarge, ml.c5.2xlarge, ...")
    ] = "ml.g4dn.xlarge"
    instances: Annotated[int, typer.Option(min=1, help="Machines of a job.")] = 1
    role: Annotated[
        str, typer.Option(envvar="SAGEMAKER_ROLE", help="ARN of the role that a job runs under.")
    ] = ""
    bucket: Annotated[
        str | None,
        typer.Option(help="For source and results (default: sagemaker-REGION-ACCOUNT)."),
    ] = None
    image: Annotated[
        str,
        typer.Option(help="Container image in ECR; `aws` for AWS's that fits the instance type."),
    ] = AWS_IMAGE
    spot: Annotated[
        bool, typer.Option(help="Spare capacity: up to 70 % cheaper, may be interrupted.")
    ] = True
    max_hours: Annotated[
        float, typer.Option(min=0.1, max=672, help="A job is stopped after these.")
    ] = 24.0
    region: Annotated[str | None, typer.Option(help="AWS region (default: AWS_REGION).")] = None
    profile: Annotated[str | None, typer.Option(help="Profile of ~/.aws/config.")] = None

    def job(self, name: str, options: dict[str, Any]) -> tuple["Aws", "TrainingJob"]:
        """The services, and what is to be asked of them.

        Args:
            name: of the job.
            options: of ``fit``.

        Raises:
            BadRequest: something is missing.
            DataError: an option does not fit: refused here, before a job is paid for.
        """
        for value, flag in ((self.role, "--role"), (self.data, "--data")):
            if not value:
                raise BadRequest(
                    f"{flag} is missing",
                    expected="--role (or SAGEMAKER_ROLE) and --data s3://BUCKET/FOLDER",
                    remedy="docs/sagemaker.md goes through all of it.",
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


def tune(
    out: Annotated[Path, typer.Option(help="Folder of the study: table, plot, best.yaml.")],
    fit: FitOptions,
    job: JobOptions,
    manifest: Annotated[
        Path | None, typer.Option(help="CSV or Parquet, one row per shown image.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the images.")] = None,
    space: Annotated[
        str,
        typer.Option(
            help="seeds: rates, batch size, epochs, depth. grid: epochs x depth. Or a YAML file."
        ),
    ] = "seeds",
    trials: Annotated[
        int, typer.Option(min=1, help="In all, earlier calls included; a grid has its own.")
    ] = 20,
    engine: Annotated[
        Literal["optuna", "sagemaker"], typer.Option(help="Here, or as a tuning job on AWS.")
    ] = "optuna",
    name: Annotated[str, typer.Option(help="Of the tuning job.")] = "augrank",
    parallel: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 2,
    dry_run: DryRun = False,
) -> None:
    """Search for the options that learn best; the same command again goes on.

    Writes OUT/trials.csv, OUT/trials.png and OUT/best.yaml, which fit reads.

    Example: python -m training tune --manifest history.csv --set image_size=64 --out build/study
    """
    from training.cli.app import kind_errors
    from training.tuning.space import load_space

    with kind_errors(resumable=True) as reporter:
        options, searched = fit.given(), load_space(space)
        if engine == "optuna":
            here = {"manifest": manifest, "images": images, "out": out}
            chosen = load_config(None, {**options, **{k: v for k, v in here.items() if v}})
            _tune_here(chosen, searched, out, trials, reporter)
        else:
            aws, asked = job.job(name, options)
            _tune_there(aws, asked, searched, out, trials, parallel, reporter, dry_run=dry_run)


def submit(
    name: Annotated[str, typer.Argument(help="Of the job.")],
    fit: FitOptions,
    job: JobOptions,
    out: Annotated[
        Path | None, typer.Option(help="Bring the finished run here, for export.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Until the job has ended.")] = True,
    dry_run: DryRun = False,
) -> None:
    """Train on SageMaker: the same as fit, on any instance type, all its GPUs and several machines.

    Run it again after an interrupt: it finds the job; after a failure, it goes on from checkpoints.

    Example: python -m training submit shop --data s3://BUCKET/shop --set epochs=20 --out runs/shop
    """
    from training.cli.app import kind_errors

    with kind_errors(resumable=True) as reporter:
        if out is not None and out.exists():
            raise BadRequest(f"{out} exists", expected="a new folder in --out")
        aws, asked = job.job(name, fit.given())
        from training.sagemaker import job as jobs

        if dry_run:
            print(json.dumps(jobs.dry_run_request(asked), indent=2))
            return
        with reporter.status() as step:
            started = jobs.submit(aws, asked, step)
            if not wait:
                reporter.say(f"{started} is on its way; the same command with --wait follows it")
                return
            state = jobs.wait(aws, started, step)
        billed = state.get("BillableTimeInSeconds")
        reporter.say(f"{started} is done" + (f", {billed} s billed" if billed else ""))
        if out is None:
            reporter.say(f"The run: {state['ModelArtifacts']['S3ModelArtifacts']}")
            return
        jobs.fetch(aws, state, out)
        reporter.say(f"Next: python -m export build {out} --images IMAGES --out dist --sagemaker")


def _tune_here(
    config: FitConfig, space: "Space", out: Path, trials: int, reporter: Reporter
) -> None:
    try:
        from training.tuning.study import tune
    except ImportError as error:
        raise BadRequest(
            f"cannot search here: {error}", remedy="pip install 'augrank[train,tune]'"
        ) from error
    _tell(space, tune(config, space, out, trials=trials, ctx=TrainContext(reporter)), out, reporter)


def _tune_there(
    aws: "Aws",
    job: "TrainingJob",
    space: "Space",
    out: Path,
    trials: int,
    parallel: int,
    reporter: Reporter,
    *,
    dry_run: bool,
) -> None:
    from training.sagemaker import job as jobs
    from training.sagemaker import tuner

    if dry_run:
        asked = tuner.dry_run_request(job, tuner.Search(space, trials, parallel))
        print(json.dumps({**asked, "TrainingJob": jobs.dry_run_request(job)}, indent=2))
        return
    from training.tuning.trials import write_results

    config = load_config(None, {**job.options, "out": out, "images": IN_THE_JOB})
    space.check(config)
    with reporter.status() as step:
        started = tuner.start(aws, job, tuner.Search(space, trials, parallel, config.seed), step)
        tuner.wait(aws, started, step)
    found = tuner.results(aws, started, space)
    write_results(out, config.model_copy(update={"images": None}), space, found)
    _tell(space, found, out, reporter)


def _tell(space: "Space", found: Sequence["Trial"], out: Path, reporter: Reporter) -> None:
    from training.tuning.trials import results_table, summary

    reporter.table(results_table(space, found))
    best = out / "best.yaml"
    reporter.say(f"{out}: trials.csv, trials.png" + (", best.yaml" if best.is_file() else ""))
    if best.is_file():
        reporter.say(f"Next: python -m training fit --config {best} --out RUN")
    print(json.dumps(summary(found)))
