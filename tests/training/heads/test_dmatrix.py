"""The matrices that heads are fitted on, in memory and on disk."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from shutil import disk_usage

import numpy as np
import pytest
import xgboost

from augrank.errors import DataError
from tests.training.heads.histories import TARGET, WIDTH, fit, make_inputs, make_parts, seed_rule
from training.heads import dataset
from training.heads import dmatrix as matrices_module
from training.heads.dataset import TrainingRows
from training.heads.dmatrix import Matrices
from training.heads.fit import fit_head, input_sets

pytestmark = pytest.mark.usefixtures("short_chains")


def test_heads_are_deterministic_and_matrices_are_reused_rightly():
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    matrices = Matrices(inputs, 2, Path("unused"))
    parts = [make_parts(seed_rule, 1, seed=seed) for seed in (1, 2)]
    shared = [fit_head(TARGET, p, inputs, matrices=matrices, seed=0, threads=2) for p in parts]
    alone = [fit(p, inputs) for p in parts]
    for one, other in zip(shared, alone, strict=True):
        assert one.booster.save_raw("ubj") == other.booster.save_raw("ubj")
        assert one.spec == other.spec


@pytest.mark.parametrize("limits", [{}, {"memory_bytes": 0}])
def test_a_lone_target_keeps_what_it_needs_and_gets_the_same_head(tmp_path, limits):
    inputs, parts = make_inputs(np.zeros((1, 0), np.float32)), make_parts(seed_rule, 1)
    heads, kept = [], []
    for shared in (True, False):
        with Matrices(inputs, 2, tmp_path / "heads", **limits) as matrices:
            matrices.shared = shared
            heads.append(fit_head(TARGET, parts, inputs, matrices=matrices, seed=0, threads=2))
            kept.append({names for names, _ in matrices._cache})
    assert heads[0].booster.save_raw("ubj") == heads[1].booster.save_raw("ubj")
    assert heads[0].spec == heads[1].spec
    assert len(kept[0]) == len(input_sets(inputs)) > 1
    assert kept[1] == {heads[1].spec.inputs}


def test_rows_come_in_chunks_of_bounded_size(monkeypatch):
    monkeypatch.setattr(dataset, "CHUNK_CELLS", 100)
    rows = make_parts(seed_rule, 1)["validation"]
    chunks = list(rows.chunks(WIDTH))
    assert {chunk.stop - chunk.start for chunk in chunks[:-1]} == {100 // WIDTH}
    assert [index for chunk in chunks for index in range(chunk.start, chunk.stop)] == list(
        range(len(rows))
    )
    assert next(rows.chunks(101)) == slice(0, 1)


def test_rows_on_disk_give_the_same_heads(tmp_path: Path, monkeypatch):
    """Heads are equal byte for byte, with many chunks and new labels on reused matrices."""
    monkeypatch.setattr(dataset, "CHUNK_CELLS", 2000)
    inputs = make_inputs(np.eye(2, dtype=np.float32))
    weight = np.random.default_rng(0).integers(1, 5, 10_000).astype(float)
    parts = []
    for seed in (1, 2, 3):
        made = make_parts(seed_rule, 2, seed=seed)
        for split, rows in made.items():
            context = rows.context if seed == 3 else np.zeros_like(rows.context)
            weights = weight[seed : seed + len(rows)]
            made[split] = replace(rows, context=context, weight=weights)
        parts.append(made)
    folder = tmp_path / "cache" / "heads"
    in_memory = [fit(made, inputs, 2) for made in parts]
    with Matrices(inputs, 2, folder, memory_bytes=0) as matrices:
        on_disk = []
        for made in parts:
            on_disk.append(fit_head(TARGET, made, inputs, matrices=matrices, seed=0, threads=2))
            pages = [path.name for path in folder.iterdir()]
            assert len(pages) == 2 * 4  # training and validation, by inputs; of this target alone
            assert all(name.endswith(".gradient_index.page") for name in pages)
    assert not folder.exists()
    for one, other in zip(in_memory, on_disk, strict=True):
        assert one.booster.save_raw("ubj") == other.booster.save_raw("ubj")
        assert one.spec == other.spec
        assert one.validation_log_loss == other.validation_log_loss


def test_pages_on_disk_are_removed_after_an_error_or_a_kill(tmp_path: Path):
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    parts = make_parts(seed_rule, 1)
    training = TrainingRows.of(parts)
    rows = replace(training.rows, embedding=training.rows.embedding + 10_000)
    broken = replace(training, rows=rows)
    folder = tmp_path / "heads"
    folder.mkdir()
    (folder / "rows-0x1.gradient_index.page").write_bytes(b"left")
    with Matrices(inputs, 1, folder, memory_bytes=0) as matrices:
        assert not folder.exists()
        matrices.get(("features",), TrainingRows.of(parts))
        assert len(list(folder.iterdir())) == 2
    assert not folder.exists()
    with pytest.raises(IndexError), Matrices(inputs, 1, folder, memory_bytes=0) as matrices:
        matrices.get(("augmentation_probs",), broken)
    assert not folder.exists()


def test_rows_go_to_disk_if_half_of_the_free_memory_is_too_little(tmp_path, monkeypatch):
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    parts = make_parts(seed_rule, 1)
    train, validation = (len(parts[name].distinct().first) for name in ("train", "validation"))
    needed = (train + 2 * validation) * (2 * WIDTH + 8)
    for free, kind in ((2 * needed, xgboost.QuantileDMatrix),
                       (2 * needed - 2, xgboost.ExtMemQuantileDMatrix)):  # fmt: skip
        monkeypatch.setattr(matrices_module, "available_memory", lambda free=free: free)
        with Matrices(inputs, 1, tmp_path / "heads") as matrices:
            pair = matrices.get(("features",), TrainingRows.of(parts))
            assert (type(pair.all.matrix), type(pair.validation.matrix)) == (kind, kind)
            del pair  # while its pages exist: XGBoost warns of missing ones
    usage = disk_usage(tmp_path)._replace(free=needed)
    monkeypatch.setattr(matrices_module.shutil, "disk_usage", lambda path: usage)
    with (
        Matrices(inputs, 1, tmp_path / "heads") as matrices,
        pytest.raises(DataError, match=r"neither memory nor disk .* GB free on disk"),
    ):
        matrices.get(("features",), TrainingRows.of(parts))


MEMORY_SCRIPT = """
import sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import xgboost
from training.heads import dataset
from training.heads.dmatrix import Matrices
from training.heads.dataset import Inputs, OutcomeRows, TrainingRows

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

def make_rows(count):
    embedding, zeros = rng.integers(1000, size=count), np.zeros(count, np.int64)
    label = (embedding % 2).astype(float)
    context = np.arange(count)  # no two rows are alike
    return OutcomeRows(embedding, zeros, context, zeros, label, zeros + 1.0, None)

dataset.CHUNK_CELLS = 2**17  # pages of 2**19
folder, count, width = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
features, logits = rng.normal(size=(1000, width)).astype("f4"), np.zeros((1000, 6), "f4")
inputs = Inputs(SimpleNamespace(features=features, logits=logits), np.zeros((count, 0), "f4"))
training = TrainingRows.of({"train": make_rows(count), "validation": make_rows(10_000)})
before = resident("VmRSS")
for limit in (0, 2**40):  # the peak never falls: what takes less comes first
    with Matrices(inputs, 1, folder, memory_bytes=limit) as matrices:
        pair = matrices.get(("features",), training)
        parameters = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1}
        evals = [(pair.validation.matrix, "validation")]
        xgboost.train(parameters, pair.all.matrix, 2, evals=evals, verbose_eval=False)
        del pair, evals
    print(resident("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_stays_bounded_with_rows_on_disk(tmp_path: Path):
    rows, width = 700_000, 40
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(tmp_path / "heads"), str(rows), str(width)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    on_disk, in_memory = map(int, done.stdout.split())
    matrix = rows * (2 * width + 8)
    assert in_memory > 1.3 * matrix  # with what training takes for each row
    assert on_disk < matrix  # that, and XGBoost's sketch: a megabyte for each column


def test_a_head_has_the_same_figures_in_many_chunks(monkeypatch):
    inputs = make_inputs(np.eye(2, dtype=np.float32))
    parts = make_parts(seed_rule, 2, seed=1)
    whole = fit(parts, inputs, 2)
    monkeypatch.setattr(dataset, "CHUNK_CELLS", 12_000)  # seven rows of draws
    chunked = fit(parts, inputs, 2)
    assert chunked.spec.metrics == whole.spec.metrics
    assert np.array_equal(chunked.test_probability, whole.test_probability)
