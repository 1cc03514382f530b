"""Distributed training: batches are sharded, one run is written, results equal one process's."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from augrank.errors import DataError
from augrank.images.augmentations import augmentation_set
from augrank.images.preprocess import Normalizer
from augrank.manifest.read import read_table
from simulation.engagement import SimulationOptions
from tests.support import held_training
from tests.support.ports import free_port
from tests.support.training import AUGMENTATIONS, PIXELS, SAME_MATHS, STEPS, losses_on_gpus, samples
from training.backbone.crops import RandomCrops
from training.backbone.loader import BatchLoader, ImageSet
from training.common.context import TrainContext
from training.data.image_cache.records import RECORD
from training.data.simulated_history import write_history
from training.distributed import world as distributed
from training.distributed.world import World

REPOSITORY = Path(__file__).parents[3]
PLAIN = Normalizer((0.8, 0.8, 0.8), (0.3, 0.3, 0.3))


def batches(world: World = World()) -> BatchLoader:
    return BatchLoader(
        ImageSet(PIXELS, AUGMENTATIONS, PLAIN),
        TrainContext(world=world),
        batch_size=16,
        threads=1,
    )


@pytest.mark.parametrize("size", [2, 3])
def test_every_batch_is_sharded_and_weighted_as_a_whole(size):
    train, crops = samples(range(9)), RandomCrops(0, flip=True)
    alone = list(batches().shuffled(train, crops, epoch=1))
    parts = [list(batches(World(rank, size)).shuffled(train, crops, 1)) for rank in range(size)]
    assert {len(part) for part in parts} == {len(alone)}
    for whole, *shares in zip(alone[:-1], *(part[:-1] for part in parts), strict=True):
        images, labels = (np.array_split(each, size) for each in (whole.images, whole.label))
        for share, image, label in zip(shares, images, labels, strict=True):
            np.testing.assert_array_equal(share.images, image)
            np.testing.assert_array_equal(share.label, label)
        mean = np.mean([share.weight * share.label.float().mean() for share in shares])
        assert mean == pytest.approx(float(whole.label.float().mean()))
    assert all(len(part[-1].label) >= 2 for part in parts)  # batch normalisation needs two
    assert alone[0].weight == 1.0


def test_shards_are_contiguous_and_complete():
    rows = [World(rank, 3).shard(10).tolist() for rank in range(3)]
    assert [len(part) for part in rows] == [4, 3, 3]
    assert [row for part in rows for row in part] == list(range(10))
    assert World().shard(4).tolist() == [0, 1, 2, 3]
    assert World(0, 4, 1, 2).threads(8) == 4
    assert World(0, 4, 1, 8).threads(2) == 1


@pytest.mark.slow
def test_a_job_of_two_processes_writes_one_run_like_that_of_one(catalogue, tmp_path):
    """Run a job's entry point, which restarts itself under torchrun, with one and two processes."""
    manifest = catalogue(20)
    history = manifest.parent / "history.csv"
    names = augmentation_set("seed").names
    write_history(
        read_table(manifest, {}), manifest.parent, history, names, SimulationOptions(sends=3)
    )
    manifest.unlink()
    options = {"image_size": 32, "epochs": 2, "batch_size": 32, "learning_rate": 0.02,
               "precision": "fp32", "device": "cpu", "baselines": False,
               "targets": ["open_rate"]}  # fmt: skip
    stdout: dict[str, str] = {}

    def job(gpus: int) -> dict:
        model, temporary = tmp_path / f"model{gpus}", tmp_path / f"tmp{gpus}"
        temporary.mkdir(exist_ok=True)
        environment = {
            **os.environ, "SM_HPS": json.dumps(options), "SM_NUM_GPUS": str(gpus),
            "SM_HOSTS": '["algo-1"]', "SM_CURRENT_HOST": "algo-1", "SM_MODEL_DIR": str(model),
            "SM_CHANNEL_TRAINING": str(manifest.parent), "SM_NETWORK_INTERFACE_NAME": "lo",
            "AUGRANK_CHECKPOINTS": str(tmp_path / f"checkpoints{gpus}"),
            "TMPDIR": str(temporary),
        }  # fmt: skip
        command = [sys.executable, "-m", "training.sagemaker.entry"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False,
                              env=environment)  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        stdout[f"{gpus}"] = done.stdout
        return json.loads((model / "report.json").read_text())

    alone, together = job(1), job(2)
    for said in stdout.values():  # only the leader prints
        assert said.count("starts from random weights") == 1
        assert said.count("[metric] validation:accuracy") == 2
    assert "2 processes" in stdout["2"]
    assert together["rows"] == alone["rows"]
    # Each process normalises its half of a batch by itself; all else is the same.
    first = [report["history"][0] for report in (alone, together)]
    assert first[1]["loss"] == pytest.approx(first[0]["loss"], rel=0.1)
    assert together["backbone"]["test_images"] == alone["backbone"]["test_images"]
    assert together["heads"]["open_rate"]["outcomes"] == alone["heads"]["open_rate"]["outcomes"]
    (store,) = (tmp_path / "tmp2" / "augrank-cache").glob("32px-*")  # decoded once a machine
    assert (store / "index").stat().st_size == 20 * RECORD.size


def torchrun(manifest: Path, run: Path, *options: str, epochs: int) -> list[str]:
    """Return the command of a training with --overwrite, under a fixed torchrun job id.

    It is held after an epoch, once.
    """
    return [
        sys.executable, "-m", "torch.distributed.run", "--rdzv-id=same", "--rdzv-backend=c10d",
        f"--rdzv-endpoint=127.0.0.1:{free_port()}", "--rdzv-conf=keep_alive_max_attempt=200",
        "--max-restarts=1", "--monitor-interval=0.1",
        *options, "-m", held_training.MODULE, "fit", "--manifest", str(manifest), "--out", str(run),
        "--image-size", "32", "--epochs", str(epochs), "--batch-size", "16", "--precision", "fp32",
        "--device", "cpu", "--threads", "1", "--average", "0.9", "--accumulate", "2", "--overwrite",
    ]  # fmt: skip


def started(*command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=REPOSITORY, env={**os.environ, **environment}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(file: Path, *processes: subprocess.Popen[str]) -> None:
    while not file.exists():
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def kill_second(*torchruns: subprocess.Popen[str]) -> None:
    workers = [w for run in torchruns for w in psutil.Process(run.pid).children(recursive=True)]
    (second,) = [worker for worker in workers if worker.environ().get("RANK") == "1"]
    second.kill()


def history(run: Path) -> list[dict[str, float]]:
    """Return the epochs of a finished run, without timings."""
    timed = {"samples_per_s", "seconds", "input_share"}
    epochs = json.loads((run / "report.json").read_text())["history"]
    return [{name: epoch[name] for name in epoch.keys() - timed} for epoch in epochs]


@pytest.mark.slow
def test_a_killed_process_costs_one_epoch_and_changes_no_result(catalogue, tmp_path):
    """A restart by torchrun resumes; the same command given again starts from the first epoch."""
    manifest, run = catalogue(20), tmp_path / "run"
    command = torchrun(manifest, run, "--nproc-per-node=2", epochs=3)
    held = tmp_path / "held"
    process = started(*command, **held_training.environment(held))
    wait_for(held, process)
    kill_second(process)
    stdout, stderr = process.communicate(timeout=1800)
    assert process.returncode == 0, stderr[-3000:]
    assert "Resuming after epoch" in stdout
    resumed = history(run)
    assert [epoch["number"] for epoch in resumed] == [1, 2, 3]

    again = started(*command, **held_training.environment(held))
    stdout, stderr = again.communicate(timeout=1800)
    assert again.returncode == 0, stderr[-3000:]
    assert stdout.count("Epoch   1/3") == 1
    assert "Resuming after" not in stdout
    assert resumed == history(run)
    assert len({epoch["loss"] for epoch in resumed}) == 3


@pytest.mark.slow
def test_a_restarted_machine_resumes_though_torchrun_counts_no_restart(catalogue, tmp_path):
    """The killed process's machine rejoins before the leader's machine notices the failure."""
    manifest, run = catalogue(20), tmp_path / "run"
    command = torchrun(manifest, run, "--nnodes=2", "--nproc-per-node=1", epochs=2)
    held = tmp_path / "held"
    machines = [started(*command, **held_training.environment(held)) for _ in range(2)]
    wait_for(held, *machines)
    kill_second(*machines)
    outputs = [machine.communicate(timeout=1800) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], outputs
    said = "".join(stdout for stdout, _ in outputs)
    assert said.count("Epoch   1/2") == 1
    assert "Resuming after epoch" in said
    assert [epoch["number"] for epoch in history(run)] == [1, 2]


# Train, but wait after each epoch until there is a file; then wait for others for 2 s.
IMPATIENT = """
import os, time
from datetime import timedelta
from pathlib import Path
import torch
from training.backbone.checkpoint import Checkpoints
from training.cli.app import main
from training.distributed.world import GRADIENT_TIMEOUT, World

join, save, gate, backends = World.gradient_group, Checkpoints.save, Path(os.environ["GATE"]), []

def joined(world):
    group = join(world)
    backends.append(group._get_backend(torch.device("cpu")))
    assert backends[-1].options._timeout == GRADIENT_TIMEOUT
    return group

def save_and_wait(*given):
    save(*given)
    while not gate.exists():
        time.sleep(0.05)
    backends[-1]._set_default_timeout(timedelta(seconds=2))

World.gradient_group, Checkpoints.save = joined, save_and_wait
main()
"""


@pytest.mark.slow
def test_a_stopped_process_is_waited_for_less_than_one_that_decodes(catalogue, tmp_path):
    run, gate, port = tmp_path / "run", tmp_path / "gate", free_port()
    ranks = [
        started(
            sys.executable, "-c", IMPATIENT, "fit", "--manifest", str(manifest), "--out", str(run),
            "--image-size", "32", "--epochs", "3", "--batch-size", "8", "--device", "cpu",
            "--threads", "1",
            RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GATE=str(gate),
        )
        for manifest in [catalogue(20)] for rank in range(2)
    ]  # fmt: skip
    wait_for(run / "checkpoints" / "last.pt", *ranks)
    ranks[1].send_signal(signal.SIGSTOP)
    gate.touch()
    try:
        _, stderr = ranks[0].communicate(timeout=1800)
    finally:
        ranks[1].kill()
        ranks[1].communicate()
    assert ranks[0].returncode == 2, stderr
    assert "Error: another process of this training run has ended, or does not answer" in stderr
    assert "Run the same command again to resume after the last complete epoch" in stderr
    assert "Traceback" not in stderr


def test_a_lost_connection_is_reported():
    lost = "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"
    assert distributed._is_lost_connection(RuntimeError(lost))
    assert not distributed._is_lost_connection(RuntimeError("mat1 and mat2 do not fit"))
    duplicate = torch.distributed.DistBackendError("NCCL error: invalid usage, Duplicate GPU")
    assert not distributed._is_lost_connection(duplicate)


def test_each_process_needs_a_gpu_of_its_own(monkeypatch):
    torchrun = dict.fromkeys(distributed.TORCHRUN_VARIABLES, "1")
    for name, value in {**torchrun, "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DataError, match=r"at most 2 on this machine.*Give --nproc-per-node 2"):
        next(distributed.process_group("auto").gen)


def test_a_number_of_processes_without_torchrun_is_refused():
    torchrun = dict.fromkeys(distributed.TORCHRUN_VARIABLES, "0")
    assert distributed._world_size({}) == distributed._world_size({"WORLD_SIZE": "1"}) == 1
    assert distributed._world_size({**torchrun, "WORLD_SIZE": "2"}) == 2
    for environment in ({"WORLD_SIZE": "2"}, {**torchrun, "WORLD_SIZE": "two"}):
        with pytest.raises(DataError, match=r"WORLD_SIZE is .* without torchrun.*Unset WORLD_SIZE"):
            distributed._world_size(environment)


@pytest.mark.slow
def test_processes_with_different_images_are_refused_before_training(catalogue, tmp_path):
    """One of two machines lacks an image."""
    manifests = catalogue(20), tmp_path / "second" / "manifest.csv"
    shutil.copytree(manifests[0].parent, manifests[1].parent)
    next(manifests[1].parent.rglob("*.png")).unlink()
    port = free_port()
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "training", "fit", "--manifest", str(manifest), "--out",
             str(tmp_path / "run"), "--cache", str(tmp_path / f"cache{rank}"), "--image-size", "32",
             "--skip-bad-rows", "--device", "cpu"],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0",
                 "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank, manifest in enumerate(manifests)
    ]  # fmt: skip
    for rank in ranks:
        _, stderr = rank.communicate(timeout=1800)
        assert rank.returncode == 2, stderr
        assert "do not have the same options and data" in stderr
        assert "in process 1. Compare their machines" in stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


ON_TWO_GPUS = """
import json, torch
from tests.support.training import losses_on_gpus
from training.distributed.world import process_group
torch.backends.cudnn.allow_tf32 = False
with process_group("cuda") as ours:
    seen = losses_on_gpus(ours)
    if ours.is_main:
        print(json.dumps(seen))
"""


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs")
def test_two_gpus_that_normalise_together_learn_as_one(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # float32 in full
    port = free_port()
    ranks = [
        started(
            sys.executable, "-c", ON_TWO_GPUS, RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank),
            LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [rank.communicate(timeout=1800) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    together, alone = json.loads(outputs[0][0].splitlines()[-1]), losses_on_gpus(World())
    assert len(together) == len(alone) == STEPS + 1
    np.testing.assert_allclose(together[:STEPS], alone[:STEPS], rtol=SAME_MATHS)
