"""A run that was interrupted, finished or started elsewhere, and the same command again."""

import csv
import errno
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pandas as pd
import pytest
import torch
from rich.console import Console

from augrank.cli.command import EXIT_INTERRUPT
from augrank.cli.reporter import RichReporter
from augrank.errors import DataError
from augrank.files import atomic_write
from tests.support import held_training
from tests.training.tasks.runs import IMAGES, fit
from training.backbone import checkpoint
from training.backbone import embed as embeddings
from training.backbone.model import Backbone
from training.data.embedding_cache import EmbeddingStore
from training.run.folder import RunFolder
from training.tasks.run import run_fit

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[3]


def test_a_finished_run_is_recognised_and_another_config_refused(history, tmp_path, quiet):
    out = tmp_path / "run"
    report = fit(history, out, quiet, baselines=False)
    stamp = (out / "backbone.pt").stat().st_mtime_ns
    assert fit(history, out, quiet, baselines=False, threads=2) == report
    assert (out / "backbone.pt").stat().st_mtime_ns == stamp
    with pytest.raises(DataError, match=r"epochs: 2 then, 3 now[\s\S]*--overwrite"):
        fit(history, out, quiet, baselines=False, epochs=3)
    frame = pd.read_csv(history)
    frame["open_rate"] = 1 - frame["open_rate"]
    frame.to_csv(history, index=False)
    with pytest.raises(DataError, match="the manifest or the images have changed"):
        fit(history, out, quiet, baselines=False)
    (embedded,) = (out / "cache").glob("embeddings-*/index")
    (out / "cache" / "embeddings-0123.npz").write_bytes(b"of an earlier version")
    fit(history, out, quiet, baselines=False, epochs=1, overwrite=True)
    assert not embedded.exists()
    assert [file.is_dir() for file in (out / "cache").glob("embeddings-*")] == [True, True]
    assert len(json.loads((out / "report.json").read_text())["history"]) == 1


def test_a_folder_with_other_files_is_not_touched(history, tmp_path, quiet):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match=r"contains other files.*thesis.tex"):
        fit(history, tmp_path / "run", quiet)


def test_a_full_disk_is_reported_and_completed_epochs_are_kept(catalogue, tmp_path, monkeypatch):
    manifest, out = catalogue(20), tmp_path / "run"
    options = {**IMAGES, "images": manifest.parent, "out": out}
    reporter, calls = RichReporter(Console(file=io.StringIO())), []

    def full(path):
        calls.append(path)
        if len(calls) == 4:  # the checkpoint of the second epoch
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return atomic_write(path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "atomic_write", full)
        with pytest.raises(DataError, match=r"cannot be written.*No space left.*Free space"):
            run_fit(None, options, reporter)
    assert run_fit(None, options, reporter)["history"]
    assert "Resuming after epoch" in reporter.console.file.getvalue()


def test_embedding_resumes_and_embeds_only_new_images(catalogue, tmp_path, quiet, monkeypatch):
    """A frozen backbone's embeddings are shared by all runs that use its weights."""
    manifest, weights, asked = catalogue(24), tmp_path / "weights.pt", []
    torch.save(Backbone("resnet18", 6, seed=3).plain_state(), weights)
    frozen = {"freeze": True, "weights": str(weights), "cache": tmp_path / "cache", "epochs": 1}
    options = {**IMAGES, "images": manifest.parent, "out": tmp_path / "run", **frozen}

    embed = embeddings.embed

    def counted(embedder, batches, keys, *more):
        asked.append(len(keys))
        return embed(embedder, batches, keys, *more)

    def interrupted(store, names, features):
        add(store, names, features)
        raise KeyboardInterrupt

    add = EmbeddingStore.add
    monkeypatch.setattr(embeddings, "embed", counted)
    monkeypatch.setattr(embeddings, "CHUNK", 20)
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingStore, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_fit(None, options, quiet)
    first = run_fit(None, options, quiet)
    test = first["rows"]["originals"]["test"] * 6
    assert asked == [test, test - 20]
    images = manifest.parent / "images"
    image = cv2.imread(str(next(images.glob("*.png"))))
    for number in range(2, 8):
        cv2.imwrite(str(images / f"new{number}.png"), 255 - image // number)
    more = run_fit(None, {**options, "out": tmp_path / "more"}, quiet)
    known = {row["sha256"] for row in held_out(tmp_path / "run")}
    new = [row for row in held_out(tmp_path / "more") if row["sha256"] not in known]
    assert more["rows"]["originals"]["test"] > len(new) > 0
    assert asked[2:] == [len(new) * 6]


def test_one_process_at_a_time_works_on_a_run(history, tmp_path, quiet):
    out = tmp_path / "run"
    with (
        RunFolder(out).lock(),
        pytest.raises(DataError, match="another process is working in") as refused,
    ):
        fit(history, out, quiet)
    assert "choose another --out" in str(refused.value)
    assert [path.name for path in out.iterdir()] == ["lock"]
    assert fit(history, out, quiet)["heads"]


def held_out(run: Path) -> list[dict[str, str]]:
    with (run / "catalogue.csv").open() as stream:
        return [row for row in csv.DictReader(stream) if row["split"] == "test"]


def test_ctrl_c_prints_the_command_that_resumes(catalogue, tmp_path):
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", held_training.MODULE, "fit", "--images", str(catalogue(20).parent),
        "--out", str(run), "--image-size", "32", "--epochs", "6", "--precision", "fp32",
        "--threads", "1",
    ]  # fmt: skip

    def heeds_ctrl_c() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it

    held = tmp_path / "held"
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=held_training.environment(held), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, preexec_fn=heeds_ctrl_c,
    ) as process:  # fmt: skip
        while not held.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=1800)
    assert process.returncode == EXIT_INTERRUPT
    said, again = stderr.strip().split(" Resume with: python ")
    assert said == "Interrupted. Completed work is kept."
    done = subprocess.run(
        [sys.executable, *shlex.split(again)], capture_output=True, text=True, timeout=1800,
        check=True,
    )  # fmt: skip
    assert "Resuming after epoch" in done.stdout
    history = json.loads((run / "report.json").read_text())["history"]
    assert [epoch["number"] for epoch in history] == [1, 2, 3, 4, 5, 6]
