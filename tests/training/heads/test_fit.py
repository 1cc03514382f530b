import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from shutil import disk_usage

import numpy as np
import pytest
import xgboost

from augrank.errors import DataError
from augrank.models.context import CategoricalColumn
from augrank.models.targets import Target
from augrank.trust.estimator import Estimator
from training.backbone.embed import EmbeddingTable
from training.heads import dataset
from training.heads import dmatrix as matrices_module
from training.heads.baselines import fit_baselines
from training.heads.dataset import Inputs, OutcomeRows, TrainingRows
from training.heads.dmatrix import Matrices
from training.heads.fit import InputFit, fit_head, input_sets, select_inputs
from training.heads.posterior import gibbs, mixed_effects
from training.heads.scores import BoosterOptions
from training.run.report import LOGISTIC, MAJORITY, SKLEARN_BOOSTING

TARGET = Target(name="open_rate", direction="maximize")
AUGMENTATIONS, ORIGINALS, WIDTH = 6, 150, 16


@pytest.fixture(autouse=True)
def _short_chains(request, monkeypatch):
    """Sample posteriors briefly, except in tests of what they say."""
    if "recovered" not in request.node.name:
        monkeypatch.setattr(gibbs, "ROUNDS", 2)
        monkeypatch.setattr(mixed_effects, "DRAWS", 40)


def make_inputs(contexts: np.ndarray) -> Inputs:
    """Return embeddings whose logits identify the augmentation and whose features are noise."""
    rng = np.random.default_rng(0)
    label = np.tile(np.arange(AUGMENTATIONS), ORIGINALS)
    logits = (np.eye(AUGMENTATIONS)[label] * 6 + rng.normal(size=(len(label), 6))).astype("f4")
    features = rng.normal(size=(len(label), WIDTH)).astype("f4")
    values = tuple(str(number) for number in range(contexts.shape[1]))
    columns = (CategoricalColumn(name="campaign", values=values),) if values else ()
    table = EmbeddingTable(features, logits, np.arange(len(label)))
    return Inputs(table, contexts, columns, unchanged=AUGMENTATIONS * np.arange(ORIGINALS))


def make_parts(probability, contexts: int, seed: int = 1, sends: int = 3):
    """Draw the outcomes of each split with ``probability(augmentation, context)``."""
    rng = np.random.default_rng(seed)
    parts = {}
    for split, (low, high) in {
        "train": (0, 90),
        "validation": (90, 115),
        "test": (115, 150),
    }.items():
        embedding = np.repeat(np.arange(low * AUGMENTATIONS, high * AUGMENTATIONS), sends)
        context = rng.integers(contexts, size=len(embedding))
        truth = probability(embedding % AUGMENTATIONS, context).astype(float)
        label = (rng.random(len(truth)) < truth).astype(float)
        original = embedding // AUGMENTATIONS
        parts[split] = OutcomeRows(
            embedding,
            embedding % AUGMENTATIONS,
            context,
            original,
            label,
            np.ones(len(label)),
            truth,
        )
    return parts


def fit(parts, inputs, threads: int = 1, **options):
    matrices = Matrices(inputs, threads, Path("unused"), **options)
    return fit_head(TARGET, parts, inputs, matrices=matrices, seed=0, threads=threads)


def seed_rule(augmentation, context):
    return np.where(np.isin(augmentation, [1, 3]), 0.8, 0.2)


def test_a_known_rule_is_recovered_to_its_ceiling():
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    parts = make_parts(seed_rule, 1)
    head = fit(parts, inputs)
    figures = head.spec.metrics
    assert head.spec.inputs == ("augmentation",)  # the features are noise: the simplest is enough
    assert figures["accuracy"] == pytest.approx(figures["ceiling"]["accuracy"], abs=0.015)
    assert figures["leak"] is False
    assert figures["majority_accuracy"] == pytest.approx(0.6, abs=0.05)
    assert figures["ece"] < 0.06
    low, high = figures["debiased_ece_interval_90"]
    assert low <= figures["debiased_ece"] <= high
    assert low < 0.02
    assert np.abs(head.test_probability - parts["test"].truth).mean() < 0.03
    assert figures["decision"]["regret"] < 0.01
    assert figures["decision"]["coverage"] > 0.85
    assert figures["decision"]["false_claims"] < 0.05
    assert set(head.validation_log_loss) == {
        "augmentation",
        "augmentation_probs",
        "augmentation+features",
        "augmentation+augmentation_probs+features",
    }
    assert set(head.calibration_log_loss) == {"none", "platt", "beta", "venn_abers"}


def test_without_the_augmentation_it_is_recognised():
    inputs = replace(make_inputs(np.zeros((1, 0), np.float32)), augmentation_known=False)
    parts = {
        split: replace(rows, augmentation=np.zeros_like(rows.augmentation))
        for split, rows in make_parts(seed_rule, 1).items()
    }
    head = fit(parts, inputs)
    assert not head.spec.augmentation_known
    assert "augmentation" not in head.spec.inputs
    assert set(head.validation_log_loss) == {
        "augmentation_probs",
        "features",
        "augmentation_probs+features",
    }
    figures = head.spec.metrics
    assert figures["accuracy"] == pytest.approx(figures["ceiling"]["accuracy"], abs=0.015)


def test_context_is_used_where_it_matters():
    contexts = np.eye(4, dtype=np.float32)
    inputs = make_inputs(contexts)
    parts = make_parts(lambda a, c: np.where(a == c, 0.9, 0.1), 4, sends=6)
    head = fit(parts, inputs)
    assert "context" in head.spec.inputs
    assert head.spec.width == 6 + 4
    figures = head.spec.metrics
    assert figures["accuracy"] == pytest.approx(figures["ceiling"]["accuracy"], abs=0.015)


def test_a_planted_leak_is_flagged():
    inputs = make_inputs(np.eye(2, dtype=np.float32))
    parts = make_parts(seed_rule, 2)
    leaking = {
        split: replace(rows, context=rows.label.astype(np.int64)) for split, rows in parts.items()
    }
    assert fit(leaking, inputs).spec.metrics["leak"] is True


def test_many_outcomes_of_few_images_do_not_choose_richer_inputs():
    """An effect on one of four originals is one observation, however many outcomes it has."""
    original = np.repeat(np.arange(4), 500)
    zeros = np.zeros(len(original))
    rows = OutcomeRows(original, original, original, original, zeros, zeros + 1, None)
    simple = InputFit(BoosterOptions(("augmentation",), {}, 1), zeros.astype("f4"), 0.0)
    gain = np.choose(original, [-1.0, 0.2, 0.0, 0.0])  # lower margin, lower loss: label 0
    rich = InputFit(BoosterOptions(("features",), {}, 1), gain.astype("f4"), -1.0)
    assert select_inputs([simple, rich], rows) is simple
    everywhere = replace(rich, margin=(gain * 0 - 1).astype("f4"))
    assert select_inputs([simple, everywhere], rows) is everywhere
    independent = replace(rows, original=np.arange(len(original)))
    assert select_inputs([simple, rich], independent) is rich


def test_the_saved_head_predicts_the_same_and_fits_the_runtime(tmp_path: Path):
    inputs = make_inputs(np.eye(3, dtype=np.float32))
    parts = make_parts(lambda a, c: np.where(a == c, 0.9, 0.1), 3)
    head = fit(parts, inputs)
    (tmp_path / "heads").mkdir()
    head.booster.save_model(tmp_path / head.spec.file)
    head.tested_posterior.save(tmp_path / head.spec.posterior)
    loaded = Estimator.load(head.spec, tmp_path)
    test = parts["test"]
    image_score = loaded.score(inputs.rows(inputs.unchanged_rows(test)))
    drawn = loaded.history(inputs.rows(test), test.original, test.embedding, image_score)
    probability = drawn.mean(axis=0)
    np.testing.assert_allclose(probability, head.test_probability, atol=1e-3)  # float16 on disk


def test_the_outcomes_of_the_test_split_reach_the_final_posterior_alone():
    inputs = make_inputs(np.eye(2, dtype=np.float32))
    parts = make_parts(seed_rule, 2)
    flipped = {**parts, "test": replace(parts["test"], label=1 - parts["test"].label)}
    one, other = fit(parts, inputs), fit(flipped, inputs)
    assert one.booster.save_raw("ubj") == other.booster.save_raw("ubj")
    assert one.spec.calibration == other.spec.calibration
    assert one.validation_log_loss == other.validation_log_loss
    assert one.calibration_log_loss == other.calibration_log_loss
    np.testing.assert_array_equal(one.test_probability, other.test_probability)
    for name in ("deviation", "image_slope", "factors"):
        tested = [getattr(head.tested_posterior, name) for head in (one, other)]
        np.testing.assert_array_equal(*tested)
    for head in (one, other):
        known = np.isfinite(head.tested_posterior.catalogue.deviation)
        assert known.tolist() == [True] * 115 + [False] * 35
        assert np.isfinite(head.posterior.catalogue.deviation).all()
        assert not head.posterior.catalogue.correction[115:].any()
    gains = [head.posterior.effects.augmentation.mean(axis=0)[1] for head in (one, other)]
    assert gains[0] > gains[1] + 0.3


def test_heads_are_deterministic_and_matrices_are_reused_rightly():
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    matrices = Matrices(inputs, 2, Path("unused"))
    parts = [make_parts(seed_rule, 1, seed=seed) for seed in (1, 2)]
    shared = [fit_head(TARGET, p, inputs, matrices=matrices, seed=0, threads=2) for p in parts]
    alone = [fit(p, inputs) for p in parts]
    for one, other in zip(shared, alone, strict=True):
        assert one.booster.save_raw("ubj") == other.booster.save_raw("ubj")
        assert one.spec == other.spec


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
    needed = (len(parts["train"]) + 2 * len(parts["validation"])) * (2 * WIDTH + 8)
    for free, kind in ((2 * needed, xgboost.QuantileDMatrix),
                       (2 * needed - 2, xgboost.ExtMemQuantileDMatrix)):  # fmt: skip
        monkeypatch.setattr(matrices_module, "available_memory", lambda free=free: free)
        with Matrices(inputs, 1, tmp_path / "heads") as matrices:
            pair = matrices.get(("features",), TrainingRows.of(parts))
            assert (type(pair.all), type(pair.validation)) == (kind, kind)
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
    return OutcomeRows(embedding, zeros, zeros, zeros, label, zeros + 1.0, None)

dataset.CHUNK_CELLS = 2**19
folder, count, width = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
features, logits = rng.normal(size=(1000, width)).astype("f4"), np.zeros((1000, 6), "f4")
inputs = Inputs(SimpleNamespace(features=features, logits=logits), np.zeros((1, 0), "f4"))
training = TrainingRows.of({"train": make_rows(count), "validation": make_rows(10_000)})
before = resident("VmRSS")
for limit in (0, 2**40):  # the peak never falls: what takes less comes first
    with Matrices(inputs, 1, folder, memory_bytes=limit) as matrices:
        pair = matrices.get(("features",), training)
        parameters = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1}
        evals = [(pair.validation, "validation")]
        xgboost.train(parameters, pair.all, 2, evals=evals, verbose_eval=False)
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


@pytest.mark.filterwarnings("ignore:.*GPU")  # there is none
def test_heads_are_fitted_on_a_gpu_and_saved_for_the_cpu(tmp_path, monkeypatch):
    asked = []

    def train(parameters, *args, **kwargs):
        asked.append(parameters["device"])
        return real(parameters, *args, **kwargs)

    real = xgboost.train
    monkeypatch.setattr(xgboost, "train", train)
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    parts = make_parts(seed_rule, 1)
    gpu = {"device": "cuda", "gpu_memory_bytes": 2**40}
    on_gpu, on_cpu = fit(parts, inputs, **gpu), fit(parts, inputs)
    fits = 4 + 5 + 1  # the sets of inputs, the folds, the final one
    assert asked == ["cuda"] * fits + ["cpu"] * fits
    settings = json.loads(on_gpu.booster.save_config())["learner"]["generic_param"]
    assert settings["device"] == "cpu"
    accuracy = on_cpu.spec.metrics["accuracy"]
    assert on_gpu.spec.metrics["accuracy"] == pytest.approx(accuracy, abs=0.02)
    # XGBoost's GPU reads no pages of host arrays; and it may be too small.
    for limits in ({"memory_bytes": 0}, {"gpu_memory_bytes": 0}):
        with Matrices(inputs, 1, tmp_path / "heads", **(gpu | limits)) as matrices:
            head = fit_head(TARGET, parts, inputs, matrices=matrices, seed=0, threads=1)
        assert head.booster.save_raw("ubj") == on_cpu.booster.save_raw("ubj")
        assert matrices.on_disk == ("memory_bytes" in limits)
        assert matrices.exceeded_gpu == ("memory_bytes" not in limits)
    assert asked[2 * fits :] == ["cpu"] * 2 * fits


def test_pairs_give_the_model_of_their_single_outcomes():
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    single = make_parts(seed_rule, 1)
    pairs = {}
    for split, rows in single.items():
        keys, weight = np.unique(np.stack([rows.embedding, rows.label]), axis=1, return_counts=True)
        embedding = keys[0].astype(np.int64)
        context, truth = np.zeros(len(embedding), np.int64), seed_rule(embedding % 6, None)
        original = embedding // AUGMENTATIONS
        pairs[split] = OutcomeRows(
            embedding,
            embedding % AUGMENTATIONS,
            context,
            original,
            keys[1],
            weight.astype(float),
            truth,
        )
    one, other = fit(single, inputs).spec.metrics, fit(pairs, inputs).spec.metrics
    assert one["outcomes"] == other["outcomes"]
    assert one["share_of_ones"] == pytest.approx(other["share_of_ones"])
    assert one["ceiling"]["brier"] == pytest.approx(other["ceiling"]["brier"])
    assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.02)


def test_without_context_no_input_set_names_it():
    bare = make_inputs(np.zeros((1, 0), np.float32))
    assert input_sets(bare) == (
        ("augmentation",),
        ("augmentation_probs",),
        ("augmentation", "features"),
        ("augmentation", "augmentation_probs", "features"),
    )
    assert all("context" in names for names in input_sets(make_inputs(np.eye(3, dtype="f4"))))


def test_baselines_are_scored_on_the_same_rows():
    inputs = make_inputs(np.zeros((1, 0), np.float32))
    parts = make_parts(seed_rule, 1)
    rows = fit_baselines(
        ("augmentation_probs",), parts["train"], parts["test"], inputs, seed=0, threads=1
    )
    share = parts["train"].share_of_ones
    assert rows[MAJORITY]["accuracy"] == pytest.approx(1 - parts["test"].share_of_ones)
    assert rows[MAJORITY]["brier"] == pytest.approx(np.mean((parts["test"].label - share) ** 2))
    for name in (LOGISTIC, SKLEARN_BOOSTING):
        assert rows[name]["accuracy"] > 0.74
        assert rows[name]["fit_seconds"] > 0
