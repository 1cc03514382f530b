"""A whole catalogue's answers as one Parquet file: resumable, bad pictures listed and skipped.

    folder or manifest ─ items ─ shards ─ workers ─ OUT.partial/00000.parquet ... ─ OUT

A shard is written whole or not at all. A job that was interrupted goes on with the shards that are
missing; one with another bundle, other pictures or other options is another job. Needs the extra
``bulk``.
"""

import csv
import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from augrank.alternates import PRODUCT_TYPE
from augrank.answer import Answer
from augrank.bundle import BundleSpec, load_bundle
from augrank.cores import usable_cores
from augrank.engines import Device
from augrank.errors import BadRequest, one_of
from augrank.pipeline import Recommender
from augrank.wire import Request

Engine = Literal["local", "ray"]
SHARD = 64  # pictures
BATCH = 8  # pictures that are prepared together
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
PATH = "relative_im_path"
_SCORE = [("probability", pa.float64()), ("difference", pa.float64()), ("lift", pa.float64())]
SCHEMA = pa.schema(
    [
        ("item", pa.int64()),  # its number in the folder or the manifest
        (PATH, pa.string()),
        ("target", pa.string()),
        ("direction", pa.string()),
        ("context", pa.string()),  # JSON
        ("probability", pa.float64()),
        ("best_candidate", pa.string()),
        ("best_probability", pa.float64()),
        ("candidates", pa.list_(pa.struct([("name", pa.string()), *_SCORE]))),
        ("alternates", pa.list_(pa.struct([("path", pa.string()), *_SCORE]))),
        ("verdict", pa.string()),
        ("sha256", pa.string()),
        ("bundle_version", pa.string()),
        ("error", pa.string()),  # in words, where there is no answer
    ]
)


@dataclass(frozen=True)
class Item:
    """A picture, and the campaign it is asked about."""

    number: int
    path: str  # relative to the images folder
    context: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """What is to be answered, and how."""

    bundle: Path
    images: Path
    targets: tuple[str, ...]
    candidates: tuple[str, ...] | None = None
    alternates: int = 0
    device: Device = "auto"


@dataclass(frozen=True)
class Outcome:
    """What a finished job gave."""

    answers: Path
    errors: Path | None  # a CSV of what could not be answered, if anything
    answered: int  # rows
    failed: int  # rows
    resumed: int  # shards that an earlier try had left


def items_of_folder(folder: Path, context: Mapping[str, Any]) -> list[Item]:
    """Every picture file below a folder, by name, all under one context.

    Raises:
        BadRequest: there is none.
    """
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not files:
        raise BadRequest(
            "there are no pictures", expected=f"files {', '.join(SUFFIXES)}", got=str(folder)
        )
    return [Item(number, path, context) for number, path in enumerate(files)]


def items_of_manifest(file: Path, spec: BundleSpec, context: Mapping[str, Any]) -> list[Item]:
    """The rows of a CSV or Parquet manifest; their context columns go before the given context.

    Raises:
        BadRequest: it cannot be read, or has no pictures' column.
    """
    try:
        if file.suffix == ".parquet":
            rows = pq.read_table(file).to_pylist()
        else:
            with file.open(newline="", encoding="utf-8-sig") as stream:
                rows = list(csv.DictReader(stream))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BadRequest(f"{file} cannot be read: {error}") from error
    if not rows or PATH not in rows[0]:
        raise BadRequest(
            "the manifest does not fit",
            expected=f"rows with a column {PATH}",
            got=", ".join(map(str, rows[0])) if rows else "no rows",
        )
    names = [*(column.name for column in spec.context), PRODUCT_TYPE]
    items = []
    for number, row in enumerate(rows):
        own = {name: row[name] for name in names if row.get(name) not in (None, "")}
        items.append(Item(number, str(row[PATH]), {**context, **own}))
    return items


class ShardScorer:
    """Answers shards of a job; one for each worker process, on one thread."""

    def __init__(self, job: Job, threads: int = 1) -> None:
        self._job = job
        self._recommender = Recommender.load(job.bundle, threads=threads, device=job.device)

    def __call__(self, shard: Sequence[Item]) -> list[dict[str, Any]]:
        """The rows of a shard, as SCHEMA has them."""
        rows = []
        for start in range(0, len(shard), BATCH):
            rows += self._answer(shard[start : start + BATCH])
        return rows

    def _answer(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        job = self._job
        asked: list[tuple[Item, str]] = []
        requests: list[Request] = []
        rows = []
        for item in items:
            try:
                picture = (job.images / item.path).read_bytes()
            except OSError as error:
                rows += [
                    _failed(item, target, f"the file cannot be read: {error.strerror}")
                    for target in job.targets
                ]
                continue
            for target in job.targets:
                asked.append((item, target))
                requests.append(
                    Request(picture, target, item.context, job.candidates, job.alternates)
                )
        answers = self._recommender.recommend_batch(requests)
        for (item, target), answer in zip(asked, answers, strict=True):
            if isinstance(answer, Answer):
                rows.append(_row(item, answer))
            else:
                rows.append(_failed(item, target, str(answer)))
        return sorted(rows, key=lambda row: row["item"])


def score(
    job: Job,
    items: Sequence[Item],
    out: Path,
    *,
    engine: Engine = "local",
    workers: int | None = None,
    done: Callable[[int, int], None] = lambda _done, _all: None,
) -> Outcome:
    """Answer every item for every target and write one Parquet file.

    Args:
        job: bundle, pictures, targets, options.
        items: what to answer.
        out: the Parquet file; ``OUT.errors.csv`` beside it lists what could not be answered.
        engine: ``local`` takes processes of this machine, ``ray`` the nodes of a Ray cluster, which
            must all see the bundle and the pictures under the same paths.
        workers: processes of one thread; by default one for each core (of the cluster).
        done: told after each shard how many items are done, and of how many.

    Raises:
        BadRequest: another process is at work on this file, or an engine is not installed.
        BundleError: the bundle does not fit.
    """
    partial = out.with_name(out.name + ".partial")
    shards = [items[start : start + SHARD] for start in range(0, len(items), SHARD)]
    with _own(partial):
        _begin(partial, fingerprint(job, items))
        missing = [n for n in range(len(shards)) if not _shard_file(partial, n).exists()]
        resumed = len(shards) - len(missing)
        finished = len(items) - sum(len(shards[n]) for n in missing)
        done(finished, len(items))
        for number, rows in _engine(engine)(job, {n: shards[n] for n in missing}, workers):
            _write_table(pa.Table.from_pylist(rows, SCHEMA), _shard_file(partial, number))
            finished += len(shards[number])
            done(finished, len(items))
        failed = _errors(partial, len(shards), out)
        answered = _merge(partial, len(shards), out)
        shutil.rmtree(partial)
    errors = out.with_name(out.name + ".errors.csv")
    return Outcome(out, errors if failed else None, answered - failed, failed, resumed)


def fingerprint(job: Job, items: Sequence[Item]) -> str:
    """Of all that decides the rows."""
    digest = hashlib.sha256(load_bundle(job.bundle).digest.encode())
    options = {**asdict(job), "bundle": "", "images": str(job.images.resolve()), "device": ""}
    digest.update(json.dumps(options, sort_keys=True).encode())
    for item in items:
        digest.update(json.dumps(asdict(item), sort_keys=True, default=str).encode())
    return digest.hexdigest()


# --- engines --------------------------------------------------------------------------------------

Scored = Iterator[tuple[int, list[dict[str, Any]]]]
_scorer: ShardScorer | None = None  # of a worker process


def _local(job: Job, shards: Mapping[int, Sequence[Item]], workers: int | None) -> Scored:
    """Processes of this machine."""
    if not shards:
        return
    count = min(workers or usable_cores(), len(shards))
    spawn = multiprocessing.get_context("spawn")  # onnxruntime's threads do not survive a fork
    with spawn.Pool(count, _load, (job,)) as pool:
        yield from pool.imap_unordered(_score_numbered, shards.items())


def _load(job: Job) -> None:
    global _scorer
    _scorer = ShardScorer(job)


def _score_numbered(numbered: tuple[int, Sequence[Item]]) -> tuple[int, list[dict[str, Any]]]:
    assert _scorer is not None
    number, shard = numbered
    return number, _scorer(shard)


class _RayScorer:
    """ShardScorer as Ray Data maps it."""

    def __init__(self, job: Job) -> None:
        self._score = ShardScorer(job)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        shard = [Item(**item) for item in json.loads(row["shard"])]
        return {"number": row["number"], "rows": json.dumps(self._score(shard))}


def _ray(job: Job, shards: Mapping[int, Sequence[Item]], workers: int | None) -> Scored:
    """Actors on a Ray cluster: the one that is connected to, or a new one on this machine."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BadRequest(
            f"Ray is not installed: {error}", remedy="pip install 'augrank[ray]'"
        ) from error
    if not shards:
        return
    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False)
    cores = int(ray.cluster_resources().get("CPU", 1))
    count = max(1, min(workers or cores, len(shards)))
    packed = [
        {"number": number, "shard": json.dumps([asdict(item) for item in shard])}
        for number, shard in shards.items()
    ]
    data = ray.data.from_items(packed, override_num_blocks=len(packed)).map(
        _RayScorer, fn_constructor_args=(job,), concurrency=count, num_cpus=1
    )
    for row in data.iter_rows():
        yield int(row["number"]), json.loads(row["rows"])


def _engine(name: Engine) -> Callable[..., Scored]:
    engines: dict[str, Callable[..., Scored]] = {"local": _local, "ray": _ray}
    if name not in engines:
        raise BadRequest("no such engine", expected=one_of(engines, name), got=name)
    return engines[name]


# --- files ----------------------------------------------------------------------------------------


def _row(item: Item, answer: Answer) -> dict[str, Any]:
    keep = ("probability", "difference", "lift")
    return {
        "item": item.number,
        PATH: item.path,
        "target": answer.target,
        "direction": answer.direction,
        "context": json.dumps(dict(item.context), default=str),
        "probability": answer.probability,
        "best_candidate": answer.best_candidate.name,
        "best_probability": answer.best_candidate.probability,
        "candidates": [
            {"name": c.name, **{key: getattr(c, key) for key in keep}} for c in answer.candidates
        ],
        "alternates": [
            {"path": a.path, **{key: getattr(a, key) for key in keep}} for a in answer.alternates
        ],
        "verdict": answer.verdict,
        "sha256": answer.picture.sha256,
        "bundle_version": answer.bundle_version,
        "error": None,
    }


def _failed(item: Item, target: str, message: str) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    context = json.dumps(dict(item.context), default=str)
    return {**empty, "item": item.number, PATH: item.path, "target": target,
            "context": context, "error": message}  # fmt: skip


@contextmanager
def _own(partial: Path) -> Iterator[None]:
    """Hold the job's folder for this process alone."""
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadRequest(
                f"another process is writing {partial}",
                remedy="Wait for it, or choose another --out.",
            ) from error
        yield


def _begin(partial: Path, wanted: str) -> None:
    """Go on with a job of this fingerprint; what is left of another one goes."""
    file = partial / "job.json"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError):
        known = None
    if known != wanted:
        for shard in partial.glob("*.parquet"):
            shard.unlink()
        _write_text(file, json.dumps({"fingerprint": wanted}))


def _shard_file(partial: Path, number: int) -> Path:
    return partial / f"{number:06d}.parquet"


def _write_table(table: pa.Table, file: Path) -> None:
    unfinished = file.with_suffix(".unfinished")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(file)


def _write_text(file: Path, text: str) -> None:
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)


def _merge(partial: Path, shards: int, out: Path) -> int:
    """All shards as one file, in order; how many rows."""
    unfinished = partial / "merged.unfinished"
    rows = 0
    with pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as writer:
        for number in range(shards):
            table = pq.read_table(_shard_file(partial, number), schema=SCHEMA)
            writer.write_table(table)
            rows += len(table)
    unfinished.replace(out)
    return rows


def _errors(partial: Path, shards: int, out: Path) -> int:
    """List what could not be answered; how many rows."""
    file = out.with_name(out.name + ".errors.csv")
    columns = [PATH, "target", "error"]
    found: list[dict[str, Any]] = []
    for number in range(shards):
        table = pq.read_table(_shard_file(partial, number), columns=columns)
        found += [row for row in table.to_pylist() if row["error"] is not None]
    if not found:
        file.unlink(missing_ok=True)
        return 0
    unfinished = partial / "errors.unfinished"
    with unfinished.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(found)
    unfinished.replace(file)
    return len(found)
