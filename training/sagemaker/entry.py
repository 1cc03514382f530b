"""What a training job runs, in AWS's container or any other with the same environment.

SageMaker tells a job where things are by ``SM_*`` variables; two toolkits set them (the training
toolkit, which tuning jobs use, and the driver of SDK v3) and agree on those read here:

| variable | is |
|---|---|
| SM_HPS | hyperparameters, JSON: options of ``fit`` |
| SM_CHANNEL_TRAINING | the manifest and its images |
| SM_CHANNEL_WEIGHTS | a file of weights, if the option ``weights`` names one |
| SM_MODEL_DIR | what becomes model.tar.gz: the run |
| SM_NUM_GPUS, SM_HOSTS, SM_CURRENT_HOST | the machines |

On more than one GPU or machine the job starts itself again under torchrun. The run directory lies
where SageMaker keeps checkpoints, so that a job that was interrupted goes on.
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

from augrank.errors import DataError
from training.cli.app import kind_errors
from training.run.folder import RunFolder
from training.tasks.run import run_fit

CHECKPOINTS = "AUGRANK_CHECKPOINTS"  # a folder that outlives an interrupt
MASTER_PORT = 7777
RESTARTS = 3  # of the processes of one machine, after one of them has died
TOOLKITS_OWN = ("sagemaker_", "_tuning_objective_metric")
NOT_DELIVERED = ("cache", "checkpoints", "fit.json", "lock")


def main() -> None:
    """Train as the environment says; errors of the user end the job with a message."""
    environment = os.environ
    if "WORLD_SIZE" not in environment and (command := torchrun_command(environment)):
        os.execve(command[0], command, {**environment, **torchrun_environment(environment)})
    from training.sagemaker.metrics import epoch_printer, print_report

    with kind_errors() as reporter, tempfile.TemporaryDirectory() as own:
        config = Path(own) / "hyperparameters.yaml"
        options = hyperparameters(environment)
        config.write_text(yaml.safe_dump(options), encoding="utf-8")
        out = run_folder(environment, options)
        # The processes of a machine decode once, into one place.
        cache = Path(tempfile.gettempdir()) / "augrank-cache"
        places = {"out": out, "cache": cache, **channels(environment, options)}
        report = run_fit(config, places, reporter, on_epoch=epoch_printer())
        if report:
            print_report(report)
            deliver(RunFolder(out), Path(environment["SM_MODEL_DIR"]))


def torchrun_command(environment: Mapping[str, str]) -> list[str]:
    """The command that starts a process for each GPU of each machine; none for a single one."""
    hosts = json.loads(environment.get("SM_HOSTS", "[]"))
    processes = max(1, int(environment.get("SM_NUM_GPUS") or 0))
    if processes == 1 and len(hosts) < 2:
        return []
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    if len(hosts) < 2:
        command += ["--standalone", f"--max-restarts={RESTARTS}"]
    else:
        hosts = sorted(hosts)
        command += [
            f"--nnodes={len(hosts)}",
            f"--node-rank={hosts.index(environment['SM_CURRENT_HOST'])}",
            f"--master-addr={hosts[0]}",
            f"--master-port={MASTER_PORT}",
        ]
    return [*command, "-m", "training.sagemaker.entry"]


def run_folder(environment: Mapping[str, str], options: Mapping[str, Any]) -> Path:
    """Where the run is made: among the checkpoints, apart from tries with other options."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:12]
    kept = environment.get(CHECKPOINTS) or str(Path(tempfile.gettempdir()) / "augrank-runs")
    return Path(kept) / digest / "run"


def torchrun_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the processes need beside the job's own environment."""
    source = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (source, environment.get("PYTHONPATH"))))
    interface = environment.get("SM_NETWORK_INTERFACE_NAME")
    if not interface:
        return {"PYTHONPATH": path}
    return {
        "PYTHONPATH": path, "NCCL_SOCKET_IFNAME": interface, "GLOO_SOCKET_IFNAME": interface,
    }  # fmt: skip


def hyperparameters(environment: Mapping[str, str]) -> dict[str, Any]:
    """Options of ``fit``, without what the toolkits add for themselves."""
    content: dict[str, Any] = json.loads(environment.get("SM_HPS") or "{}")
    return {
        name: _number(value) if isinstance(value, str) else value
        for name, value in content.items()
        if not name.startswith(TOOLKITS_OWN)
    }


def channels(environment: Mapping[str, str], options: dict[str, Any]) -> dict[str, Any]:
    """Where manifest, images and weights are.

    Raises:
        DataError: the job has no channel of training data, or it has several tables.
    """
    folder = environment.get("SM_CHANNEL_TRAINING")
    if not folder:
        raise DataError(
            "the job has no training data", expected="a channel named training",
            remedy="Give it with: python -m training submit --data s3://BUCKET/FOLDER",
        )  # fmt: skip
    training = Path(folder)
    places: dict[str, Any] = {"images": training / options.get("images", ".")}
    if "manifest" in options:
        places["manifest"] = training / options["manifest"]
    else:
        tables = sorted([*training.glob("*.csv"), *training.glob("*.parquet")])
        if len(tables) > 1:
            raise DataError(
                "it is not clear which file is the manifest",
                expected="one CSV or Parquet file, or the option manifest",
                got=", ".join(table.name for table in tables),
            )
        if tables:
            places["manifest"] = tables[0]
    weights = environment.get("SM_CHANNEL_WEIGHTS")
    if weights and "weights" in options:
        places["weights"] = str(Path(weights) / options["weights"])
    return places


def deliver(run: RunFolder, model: Path) -> None:
    """Copy what export reads to where SageMaker takes it from."""
    shutil.copytree(
        run.root, model, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*NOT_DELIVERED)
    )


def _number(text: str) -> Any:
    """A tuning job's parameters are texts."""
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
