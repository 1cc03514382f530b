"""Entry point of a training job, in AWS's container or any other with the same environment.

``training.sagemaker.env`` lists the variables that it reads. On more than one GPU or machine the
job starts itself again under torchrun. The run directory is in the folder that SageMaker keeps as
checkpoints, so that an interrupted job resumes.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from augrank.errors import AugrankError, DataError
from augrank.reporting import LogReporter, Reporter
from training.run.folder import RunFolder
from training.sagemaker.env import (
    CHANNEL_TRAINING,
    CHANNEL_WEIGHTS,
    CHECKPOINTS,
    CURRENT_HOST,
    HOSTS,
    HYPERPARAMETERS,
    MODEL_DIR,
    NETWORK_INTERFACE,
    NUM_GPUS,
    TOOLKIT_PREFIXES,
)
from training.tasks.run import run_fit

MASTER_PORT = 7777
RESTARTS = 3  # of the processes of one machine, after one of them has died
NOT_DELIVERED = ("cache", "checkpoints", "fit.json", "lock")
EXIT_ERROR, EXIT_INTERRUPT = 2, 130


def main() -> None:
    """Train as configured; a user error ends the job with a message and exit code 2."""
    environment = os.environ
    if "WORLD_SIZE" not in environment and (command := torchrun_command(environment)):
        os.execve(command[0], command, {**environment, **torchrun_environment(environment)})
    try:
        train(environment, LogReporter())
    except AugrankError as error:
        if environment.get("LOCAL_RANK", "0") == "0":  # one message per machine
            print(f"Error: {error}", file=sys.stderr, flush=True)
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPT)


def train(environment: Mapping[str, str], reporter: Reporter) -> None:
    """Fit, print the metrics, and copy the run to where SageMaker collects it.

    Args:
        environment: variables, as SageMaker sets them.
        reporter: prints progress.

    Raises:
        AugrankError: the options or the data cannot be used.
    """
    from training.sagemaker.metrics import epoch_printer, print_report

    options = hyperparameters(environment)
    out = run_folder(environment, options)
    # The processes of a machine share one cache, so that every image is decoded once.
    cache = Path(tempfile.gettempdir()) / "augrank-cache"
    paths = {"out": out, "cache": cache, **channels(environment, options)}
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "hyperparameters.yaml"
        config.write_text(yaml.safe_dump(options), encoding="utf-8")
        report = run_fit(config, paths, reporter, on_epoch=epoch_printer())
    if report:
        deliver(RunFolder(out), Path(environment[MODEL_DIR]))
        print_report(report)


def torchrun_command(environment: Mapping[str, str]) -> list[str]:
    """Return the command that starts a process per GPU and machine; empty for a single process."""
    hosts = json.loads(environment.get(HOSTS, "[]"))
    processes = max(1, int(environment.get(NUM_GPUS) or 0))
    if processes == 1 and len(hosts) < 2:
        return []
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    if len(hosts) < 2:
        command += ["--standalone", f"--max-restarts={RESTARTS}"]
    else:
        hosts = sorted(hosts)
        command += [
            f"--nnodes={len(hosts)}",
            f"--node-rank={hosts.index(environment[CURRENT_HOST])}",
            f"--master-addr={hosts[0]}",
            f"--master-port={MASTER_PORT}",
        ]
    return [*command, "-m", "training.sagemaker.entry"]


def run_folder(environment: Mapping[str, str], options: Mapping[str, Any]) -> Path:
    """Return the run directory: beside the checkpoints, one for each set of options."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:12]
    parent = environment.get(CHECKPOINTS) or str(Path(tempfile.gettempdir()) / "augrank-runs")
    return Path(parent) / digest / "run"


def torchrun_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that torchrun's processes need beside the job's own."""
    source = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (source, environment.get("PYTHONPATH"))))
    variables = {"PYTHONPATH": path}
    if interface := environment.get(NETWORK_INTERFACE):
        variables |= {"NCCL_SOCKET_IFNAME": interface, "GLOO_SOCKET_IFNAME": interface}
    return variables


def hyperparameters(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of ``fit``, without the hyperparameters that the toolkits add."""
    content: dict[str, Any] = json.loads(environment.get(HYPERPARAMETERS) or "{}")
    return {
        name: _parse_value(value) if isinstance(value, str) else value
        for name, value in content.items()
        if not name.startswith(TOOLKIT_PREFIXES)
    }


def channels(environment: Mapping[str, str], options: dict[str, Any]) -> dict[str, Any]:
    """Return the paths of manifest, images and weights.

    Raises:
        DataError: the job has no channel of training data, or it has several tables.
    """
    folder = environment.get(CHANNEL_TRAINING)
    if not folder:
        raise DataError(
            "the job has no training data",
            expected="a channel named training",
            remedy="Give it with: python -m training submit --data s3://BUCKET/FOLDER",
        )
    training = Path(folder)
    paths: dict[str, Any] = {"images": training / options.get("images", ".")}
    if "manifest" in options:
        paths["manifest"] = training / options["manifest"]
    else:
        tables = sorted([*training.glob("*.csv"), *training.glob("*.parquet")])
        if len(tables) > 1:
            raise DataError(
                "it is not clear which file is the manifest",
                expected="one CSV or Parquet file, or the option manifest",
                got=", ".join(table.name for table in tables),
            )
        if tables:
            paths["manifest"] = tables[0]
    weights = environment.get(CHANNEL_WEIGHTS)
    if weights and "weights" in options:
        paths["weights"] = str(Path(weights) / options["weights"])
    return paths


def deliver(run: RunFolder, model: Path) -> None:
    """Copy the files that export reads to the folder that SageMaker packs as model.tar.gz."""
    shutil.copytree(
        run.root, model, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*NOT_DELIVERED)
    )


def _parse_value(text: str) -> Any:
    """Parse a hyperparameter of a tuning job, which are all strings: JSON, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
