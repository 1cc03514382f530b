"""Processes that train together: each batch shared out, one run written, the same as alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from augrank.augmentations import augmentation_set
from augrank.preprocess import Normalizer
from tests.training.test_recognise import AUGMENTATIONS, PIXELS, samples
from training.distributed import Team
from training.history import write_history
from training.samples import Batches, Jitter
from training.table import read_table

PLAIN = Normalizer((0.8, 0.8, 0.8), (0.3, 0.3, 0.3))


def batches(team: Team = Team()) -> Batches:
    return Batches(PIXELS, AUGMENTATIONS, PLAIN, batch_size=16, threads=1, team=team)


@pytest.mark.parametrize("size", [2, 3])
def test_every_batch_is_shared_out_and_weighs_as_a_whole(size):
    train, jitter = samples(range(9)), Jitter(0, flip=True)
    alone = list(batches().shuffled(train, jitter, epoch=1))
    parts = [list(batches(Team(rank, size)).shuffled(train, jitter, 1)) for rank in range(size)]
    assert {len(part) for part in parts} == {len(alone)}
    for whole, *shares in zip(alone[:-1], *(part[:-1] for part in parts), strict=True):
        for rank, share in enumerate(shares):
            np.testing.assert_array_equal(share.pictures, whole.pictures[rank::size])
            np.testing.assert_array_equal(share.label, whole.label[rank::size])
        mean = np.mean([share.weight * np.mean(share.label) for share in shares])
        assert mean == pytest.approx(np.mean(whole.label))
    assert all(len(part[-1].label) >= 2 for part in parts)  # batch normalisation needs two
    assert alone[0].weight == 1.0


def test_shares_are_contiguous_and_whole():
    rows = [Team(rank, 3).share(10).tolist() for rank in range(3)]
    assert [len(part) for part in rows] == [4, 3, 3]
    assert [row for part in rows for row in part] == list(range(10))
    assert Team().share(4).tolist() == [0, 1, 2, 3]
    assert Team(0, 4, 1, 2).threads(8) == 4
    assert Team(0, 4, 1, 8).threads(2) == 1


@pytest.mark.slow
def test_two_processes_under_torchrun_write_one_run_like_that_of_one(catalogue, tmp_path):
    manifest = catalogue(20)
    history = manifest.parent / "history.csv"
    names = augmentation_set("seed").names
    write_history(read_table(manifest, {}), manifest.parent, history, names, sends=3)
    options = ["fit", "--manifest", str(history), "--image-size", "32", "--epochs", "2",
               "--batch-size", "32", "--learning-rate", "0.02", "--precision", "fp32",
               "--device", "cpu", "--no-baselines", "--targets", "open_rate"]  # fmt: skip

    def fit(out: Path, *launcher: str) -> dict:
        command = [sys.executable, *launcher, "-m", "training", *options, "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("starts from random weights") == 1  # the leader alone speaks
        return json.loads((out / "report.json").read_text())

    alone = fit(tmp_path / "alone")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    together = fit(tmp_path / "together", *torchrun)
    assert together["rows"] == alone["rows"]
    # Each process normalises its half of a batch by itself; all else is the same.
    first = [report["history"][0] for report in (alone, together)]
    assert first[1]["loss"] == pytest.approx(first[0]["loss"], rel=0.1)
    assert together["backbone"]["test_pictures"] == alone["backbone"]["test_pictures"]
    assert together["heads"]["open_rate"]["outcomes"] == alone["heads"]["open_rate"]["outcomes"]
    command = [sys.executable, *torchrun, "-m", "training", *options]
    again = subprocess.run(
        [*command, "--out", str(tmp_path / "together")],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr[-3000:]
    assert "already complete" in again.stdout
