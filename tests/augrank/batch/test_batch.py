"""Batch scoring: answers equal those of single requests, jobs resume, bad images are listed."""

import contextlib
import csv
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import onnxruntime
import psutil
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from augrank.batch import job as jobs
from augrank.batch import run as scoring
from augrank.batch.columns import RECOMMEND_COLUMNS
from augrank.batch.executors import EXECUTORS
from augrank.batch.job import fingerprint
from augrank.batch.recommend_scorer import RecommendScorer
from augrank.batch.shards import Partial, parquet_file
from augrank.cli.app import app
from augrank.errors import BadRequest, DataError, ServerError
from augrank.models.engines import CUDA
from tests.support import forked
from tests.support.patience import PATIENCE_S

ENDLESS = "endless.png"
REPOSITORY = Path(__file__).parents[3]
CONTEXT = {"campaign_type": "Newsletter", "industry": "Retail"}
GIVEN = [word for name, value in CONTEXT.items() for word in ("--context", f"{name}={value}")]


@pytest.fixture
def folder(tiny_run, tmp_path):
    """Two folders of images, one of which is damaged."""
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    for number, file in enumerate(sorted(tiny_run.images.glob("*.png"))[:6]):
        shutil.copyfile(file, images / ("deep" if number % 2 else ".") / file.name)
    (images / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    (images / "notes.txt").write_text("no image, and not asked")
    return images


def job(export, images, **changes) -> jobs.RecommendJob:
    targets = tuple(head.target.name for head in export.spec.heads)
    return jobs.RecommendJob(bundle=export.bundle, images=images, targets=targets, **changes)


def test_a_folder_is_answered_as_one_by_one(tiny_export, folder, recommender, tmp_path):
    out = tmp_path / "answers.parquet"
    result = CliRunner().invoke(
        app, ["score", str(tiny_export.bundle), str(folder), "--out", str(out), "--alternates", "2",
              "--workers", "1", *GIVEN],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = pq.read_table(out).to_pylist()
    targets = [head.target.name for head in tiny_export.spec.heads]
    assert len(rows) == 7 * len(targets)
    assert [row["item"] for row in rows] == sorted(row["item"] for row in rows)
    for row in rows:
        if row["relative_im_path"] == "broken.jpg":
            assert row["probability"] is None
            continue
        want = recommender.recommend(
            folder / row["relative_im_path"], row["target"], CONTEXT, alternates=2
        )
        assert (row["probability"], row["low"], row["high"]) == (want.probability, *want.interval)
        assert row["verdict"] == want.verdict.model_dump()
        assert row["alternate_verdict"] == want.alternate_verdict.model_dump()
        for got, score in zip(row["candidates"], want.candidates, strict=True):
            assert (got["low"], got["high"]) == score.interval
            assert (got["difference_low"], got["difference_high"]) == score.difference_interval
            assert got["better"] == score.better
        assert row["best_candidate"] == want.best_candidate.name
        assert [c["name"] for c in row["candidates"]] == [c.name for c in want.candidates]
        assert [a["path"] for a in row["alternates"]] == [a.path for a in want.alternates]
        assert (row["sha256"], row["bundle_version"]) == (want.image.sha256, want.bundle_version)
        assert row["engine"] == want.engine
    with (tmp_path / "answers.parquet.errors.csv").open() as stream:
        errors = list(csv.DictReader(stream))
    assert {row["relative_im_path"] for row in errors} == {"broken.jpg"}
    assert len(errors) == len(targets)
    assert f"{len(targets)} could not be answered" in result.output
    assert not (tmp_path / "answers.parquet.partial").exists()


def test_a_manifests_context_overrides_the_given_one(tiny_export, folder, tmp_path):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        "relative_im_path,campaign_type,open_rate\n"
        "broken.jpg,Promotional,1\nmissing.png,,0\n", encoding="utf-8"
    )  # fmt: skip
    items = jobs.items_of_manifest(manifest, folder, tiny_export.spec, CONTEXT).items
    assert [item.context["campaign_type"] for item in items] == ["Promotional", "Newsletter"]
    outcome = scoring.score(job(tiny_export, folder), items, tmp_path / "a.parquet", workers=1)
    rows = pq.read_table(outcome.answers).to_pylist()
    assert (outcome.answered, outcome.failed) == (0, len(rows))
    assert rows[-1]["error"].startswith("line 3: there is no file 'missing.png' in ")
    assert outcome.first_error == rows[0]["error"]
    manifest.write_text("image\nbroken.jpg\n", encoding="utf-8")
    with pytest.raises(DataError, match="relative_im_path"):
        jobs.items_of_manifest(manifest, folder, tiny_export.spec, CONTEXT)


def test_a_file_that_was_made_with_an_augmentation_is_scored_as_such(tiny_export, tmp_path):
    manifest = tmp_path / "history.csv"
    manifest.write_text(
        "relative_im_path,augmentation,original\n"
        "made.png,sketch,image.png\n"  # a file of its own
        "image.png,sketch,image.png\n"  # training applies the sketch itself
        "image.png,,\n",
        encoding="utf-8",
    )
    items = jobs.items_of_manifest(manifest, tmp_path, tiny_export.spec, CONTEXT).items
    assert [item.augmentation for item in items] == ["sketch", "original", "original"]


def test_shards_of_an_earlier_try_are_kept_and_those_of_another_job_are_not(
    tiny_export, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(scoring, "MOST_SHARD", 2)
    scored: list[int] = []

    def interrupted(job, shards, workers):
        scorer = RecommendScorer(job)
        for number, shard in shards.items():
            if len(scored) == 2:
                raise KeyboardInterrupt
            scored.append(number)
            yield number, parquet_file(scorer(shard), RECOMMEND_COLUMNS)

    monkeypatch.setitem(EXECUTORS, "local", interrupted)
    items = jobs.items_of_folder(folder, CONTEXT).items
    out = tmp_path / "answers.parquet"
    with pytest.raises(KeyboardInterrupt):
        scoring.score(job(tiny_export, folder), items, out)
    assert not out.exists()
    monkeypatch.undo()
    monkeypatch.setattr(scoring, "MOST_SHARD", 2)
    outcome = scoring.score(job(tiny_export, folder), items, out, workers=1)
    assert outcome.resumed == 2
    whole = pq.read_table(out).to_pylist()
    again = scoring.score(job(tiny_export, folder), items, tmp_path / "again.parquet", workers=1)
    assert pq.read_table(again.answers).to_pylist() == whole
    (tmp_path / "again.parquet.partial").mkdir()
    other = scoring.score(
        job(tiny_export, folder, candidates=("brighter",)), items, tmp_path / "again.parquet",
        workers=1,
    )  # fmt: skip
    assert other.resumed == 0
    asked = job(tiny_export, folder), items  # another size of shards numbers them otherwise
    assert fingerprint(*asked, 2) == fingerprint(*asked, 2) != fingerprint(*asked, 3)


def test_two_jobs_do_not_write_one_file(tiny_export, folder, tmp_path):
    items = jobs.items_of_folder(folder, CONTEXT).items
    out = tmp_path / "answers.parquet"
    with (
        Partial(out, RECOMMEND_COLUMNS).lock(),
        pytest.raises(BadRequest, match="another process"),
    ):
        scoring.score(job(tiny_export, folder), items, out)


def with_a_pipe(folder: Path) -> tuple[Path, list[jobs.Item]]:
    """Return a pipe that nobody writes to, and the items of a folder after it.

    A worker waits for the pipe's end, so that the job does not end before it is looked at.
    """
    os.mkfifo(endless := folder / ENDLESS)
    paths = [ENDLESS, *(item.path for item in jobs.items_of_folder(folder, CONTEXT).items)]
    return endless, [jobs.Item(number, path, CONTEXT) for number, path in enumerate(paths)]


def test_a_killed_worker_is_reported_and_the_next_call_resumes(
    tiny_export, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(scoring, "MOST_SHARD", 1)
    endless, items = with_a_pipe(folder)
    asked, out = (job(tiny_export, folder), items, tmp_path / "answers.parquet"), []

    def kill_one(finished: int, _all: int) -> None:
        if finished == 1:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        out.append(finished)

    with pytest.raises(ServerError, match="fewer --workers"):
        scoring.score(*asked, workers=2, done=kill_one)
    assert not multiprocessing.active_children()
    endless.unlink()
    shutil.copyfile(folder / items[-1].path, endless)
    outcome = scoring.score(*asked, workers=2)
    assert outcome.resumed == max(out) >= 1
    assert [row["item"] for row in pq.read_table(outcome.answers).to_pylist()] == [
        item.number for item in items for _ in tiny_export.spec.heads
    ]


def test_ctrl_c_ends_the_workers_at_once(tiny_export, folder, tmp_path, monkeypatch):
    """Workers end even while blocked: one of them reads a pipe that nobody writes to."""
    monkeypatch.setattr(scoring, "MOST_SHARD", 1)
    endless, items = with_a_pipe(folder)
    given_up = threading.Timer(PATIENCE_S, lambda: endless.open("wb").close())

    def interrupt(finished: int, _all: int) -> None:
        if finished:
            given_up.start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scoring.score(job(tiny_export, folder), items, tmp_path / "a.parquet", workers=2,
                   done=interrupt)  # fmt: skip
    assert given_up.is_alive()
    given_up.cancel()
    given_up.join()
    assert not multiprocessing.active_children()


ENDLESS_JOB = f"""
from dataclasses import replace
from augrank.batch import job, run
from augrank.cli.app import app
run.MOST_SHARD = 1
image_files = job.image_files
def with_a_pipe(folder):
    found = image_files(folder)
    return replace(found, files=[{ENDLESS!r}, *found.files])
job.image_files = with_a_pipe
app()
"""


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(tiny_export, folder, tmp_path):
    os.mkfifo(folder / ENDLESS)
    out = tmp_path / "answers.parquet"
    words = [sys.executable, "-c", ENDLESS_JOB, "score", str(tiny_export.bundle), str(folder),
             "--out", str(out), "--workers", "2", "--alternates", "2", *GIVEN]  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial = tmp_path / "answers.parquet.partial"
    while process.poll() is None and not list(partial.glob("*.parquet")):
        time.sleep(0.01)  # until a worker has answered
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert len(workers) >= 2
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_S)
    assert not alive


def score_quickly() -> None:
    """Fork the workers instead of spawning them, which is faster."""
    fork = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda _: fork
    scoring.MOST_SHARD = 4


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_loses_and_doubles_nothing(tiny_export, tiny_run, tmp_path):
    images, count, rng = tmp_path / "images", 160, random.Random(0)
    images.mkdir()
    files = sorted(tiny_run.images.glob("*.png"))
    for number in range(count):
        shutil.copyfile(files[number % len(files)], images / f"{number:03d}.png")
    out, partial = tmp_path / "answers.parquet", tmp_path / "answers.parquet.partial"
    words = ["score", str(tiny_export.bundle), str(images), "--out", str(out), "--workers", "2",
             *GIVEN]  # fmt: skip

    def start():
        return forked.start("augrank.cli.app", words, score_quickly)

    def shards() -> int:
        with contextlib.suppress(FileNotFoundError):
            return sum(file.suffix == ".parquet" for file in partial.iterdir())
        return 0

    def is_whole() -> bool:
        rows = pq.read_table(out).to_pylist()
        asked = [n for n in range(count) for _ in tiny_export.spec.heads]
        return [row["item"] for row in rows] == asked and not any(row["error"] for row in rows)

    left = []
    for number in range(10):
        before, process = shards(), start()
        while number % 2 and process.is_alive() and shards() == before:
            time.sleep(0.01)  # half of them are killed while they answer, or later
        process.join(rng.uniform(0, 1))
        forked.kill(process)
        left.append(shards())
        assert not out.exists() or is_whole(), left
    assert any(0 < shown < count / 4 for shown in left), left
    last = start()
    last.join(PATIENCE_S)
    assert last.exitcode == 0
    assert is_whole()
    assert not partial.exists()


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="has CUDA")
def test_a_device_that_is_not_there_is_one_message(tiny_export, folder, tmp_path):
    result = CliRunner().invoke(
        app, ["score", str(tiny_export.bundle), str(folder), "--out", str(tmp_path / "a.parquet"),
              "--device", "cuda", "--workers", "2", *GIVEN],
    )  # fmt: skip
    assert result.exit_code == 2
    assert "cuda" in result.output.lower()
    assert "use the CPU" in result.output
    assert result.output.lower().count("error: ") == 1
    assert not multiprocessing.active_children()


RAY = """
import json, os, sys, threading
from pathlib import Path
from augrank.batch import job as jobs
from augrank.batch.columns import RECOMMEND_COLUMNS
from augrank.batch import run as scoring
import ray
from tests.support.ray_cluster import Cluster

given = json.loads(sys.argv[1])
bundle, images, out = (Path(given[name]) for name in ("bundle", "images", "out"))
items = jobs.items_of_folder(images, given["context"]).items
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
try:
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    assert len(ray.nodes()) == 2
    job = jobs.RecommendJob(bundle=bundle, images=images, targets=tuple(given["targets"]))
    scoring.score(job, items, out, executor="ray", workers=2)
    assert "data-usage-metrics-poller" not in [each.name for each in threading.enumerate()]
finally:
    ray.shutdown()
    cluster.shutdown()
"""


@pytest.mark.slow
def test_a_ray_cluster_of_two_nodes_gives_the_same(tiny_export, folder, tmp_path):
    """Drive Ray from a separate process, because it leaves threads behind."""
    pytest.importorskip("ray")
    asked, out = job(tiny_export, folder), tmp_path / "ray.parquet"
    given = {"bundle": str(asked.bundle), "images": str(folder), "out": str(out),
             "context": CONTEXT, "targets": asked.targets}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", RAY, json.dumps(given)], cwd=REPOSITORY, capture_output=True,
        text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    items = jobs.items_of_folder(folder, CONTEXT).items
    local = scoring.score(asked, items, tmp_path / "local.parquet", workers=1)
    assert pq.read_table(out).to_pylist() == pq.read_table(local.answers).to_pylist()


def test_ray_reports_nothing_unless_it_is_told_to():
    """Importing augrank sets what Ray reads; a user's own choice is kept."""
    code = "import augrank, os; print([os.environ[name] for name in %r])" % [
        "RAY_USAGE_STATS_ENABLED",
        "RAY_DATA_USAGE_DISABLED",
    ]
    for given, wanted in (({}, "['0', '1']"), ({"RAY_USAGE_STATS_ENABLED": "1"}, "['1', '1']")):
        environment = {n: v for n, v in os.environ.items() if not n.startswith("RAY_")} | given
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == wanted


def test_a_missing_ray_is_a_message(tiny_export, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    items = jobs.items_of_folder(folder, CONTEXT).items
    with pytest.raises(BadRequest, match="Ray is not installed"):
        scoring.score(job(tiny_export, folder), items, tmp_path / "a.parquet", executor="ray")
