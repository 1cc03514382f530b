"""A run directory like that of `python -m training fit`, written without training in seconds.

The backbone is a ResNet-18 of random weights, whose batch statistics are set from the images so
that its features differ from image to image; the heads are real XGBoost models of a known rule.
"""

import csv
from pathlib import Path

import numpy as np
import torch
import torchvision
import xgboost
from PIL import Image, ImageDraw

from augrank.bundle.load import sha256_of
from augrank.contracts.manifest import PATH, PRODUCT_TYPE, SHA256, SPLIT
from augrank.contracts.recommend_run import RecommendGraphRecord, RecommendRun
from augrank.contracts.run import RUN_FILE
from augrank.images.augmentations import augmentation_set
from augrank.images.decode import decode
from augrank.images.preprocess import Normalizer
from augrank.models.backbone import Backbone
from augrank.models.context import CategoricalColumn, ContextEncoder
from augrank.models.head import HeadRows, HeadSpec, assemble
from augrank.models.targets import resolve_target
from augrank.models.tree_ensemble import TreeEnsemble, write_trees
from augrank.trust.posterior import FACTORS, Effects, ImageEffects, Posterior
from training.graphs.onnx_graphs import load_network, write_fp32, write_int8

SIZE = 48
MEAN, STD = (0.8, 0.79, 0.78), (0.25, 0.26, 0.27)
TARGETS = ("open_rate", "unsubscribe_rate")
CONTEXT = (
    CategoricalColumn(name="campaign_type", values=("Newsletter", "Promotional")),
    CategoricalColumn(name="industry", values=("Automotive", "Retail")),
)
FEATURE_STEP = 1 / 16
INPUTS = ("augmentation_probs", "features", "context")
METRICS = {
    "accuracy": 0.8,
    "accuracy_interval_95": [0.75, 0.85],
    "majority_accuracy": 0.6,
    "auc": 0.77,
    "decision": {"pairwise_accuracy": 0.9, "regret": None, "coverage": 0.88},
}
SPLITS = ("train", "train", "train", "validation", "test", "test")


def make_image(index: int, side: int = 96) -> Image.Image:
    """Return a coloured box with a wheel, different for every index."""
    rng = np.random.default_rng(index)
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    colour = tuple(int(value) for value in rng.integers(30, 200, 3))
    left, top = (int(value) for value in rng.integers(4, 14, 2))
    draw.rectangle((left, top + 20, side - left, side - 24), fill=colour)
    draw.ellipse((left + 8, side - 40, left + 32, side - 16), fill=(20, 20, 20))
    return image


def write_images(folder: Path, count: int) -> list[str]:
    """Write PNGs and return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"image_{index:03d}.png" for index in range(count)]
    for index, name in enumerate(names):
        make_image(index).save(folder / name)
    return names


def make_run(
    run: Path, images: Path, *, originals: int = 24, seed: int = 0, int8: bool = False
) -> Path:
    """Write a finished run directory and the images it was "trained" on."""
    names = write_images(images, originals)
    splits = [SPLITS[index % len(SPLITS)] for index in range(originals)]
    run.mkdir(parents=True)
    chosen = augmentation_set("seed")
    batches = _candidates(images, names, chosen)
    net, *embedded = _embed(batches, len(chosen.names), seed)
    torch.save(net.state_dict(), run / "backbone.pt")
    (run / "graphs").mkdir()
    fp32 = run / "graphs" / "fp32.onnx"
    write_fp32(load_network("resnet18", net.state_dict()), SIZE, fp32)
    embeddings = {"fp32": embedded}
    if int8:
        write_int8(fp32, fp32.with_name("int8.onnx"), iter(batches))
        engine = Backbone(fp32.with_name("int8.onnx"), threads=1, device="cpu")
        parts = [engine.embed(batch) for batch in batches]
        embeddings["int8"] = [
            np.stack([p.features for p in parts]), np.stack([p.logits for p in parts])
        ]  # fmt: skip
    kept = [index for index, split in enumerate(splits) if split != "test"]
    held_out = [index for index, split in enumerate(splits) if split == "test"]
    graphs = {}
    for precision, (features, logits) in embeddings.items():
        np.savez(
            run / f"reference-{precision}.npz",
            paths=np.array([names[index] for index in held_out]),
            features=features[held_out],
            logits=logits[held_out],
        )
        graphs[precision] = RecommendGraphRecord(
            file=f"graphs/{precision}.onnx",
            reference=f"reference-{precision}.npz",
            device="torch" if precision == "fp32" else "cpu",
            metrics={"test_accuracy": 0.5},
            heads=_heads(run, precision, features[kept], logits[kept], originals),
        )
    _write_catalogue(run / "catalogue.csv", images, names, splits)
    record = RecommendRun(
        backbone="resnet18",
        image_size=SIZE,
        mean=MEAN,
        std=STD,
        feature_width=512,
        augmentations=chosen,
        augmentation_hash=chosen.hash,
        context=CONTEXT,
        targets=[resolve_target(name) for name in TARGETS],
        graphs=graphs,
        images=images.resolve(),
        catalogue="catalogue.csv",
        weights_file="backbone.pt",
        backbone_metrics={"test_accuracy": 0.5},
        fingerprint="0" * 64,
        seed=seed,
    )
    (run / RUN_FILE).write_text(record.model_dump_json(indent=2))
    return run


def _candidates(images, names, chosen):
    normalizer = Normalizer(MEAN, STD)
    batches = []
    for name in names:
        pixels = decode((images / name).read_bytes(), SIZE).pixels
        batches.append(normalizer.batch([a.apply(pixels) for a in chosen.augmentations]))
    return batches


def _embed(batches, augmentations, seed):
    torch.manual_seed(seed)
    net = torchvision.models.resnet18(weights=None, num_classes=augmentations)
    flat = torch.from_numpy(np.stack(batches)).flatten(0, 1)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # a plain average over what follows
        net.train()(flat)
        net.eval()
        trunk = torch.nn.Sequential(*list(net.children())[:-1])
        features = trunk(flat).flatten(1)
        logits = net.fc(features)
    shape = (len(batches), augmentations, -1)
    return net, features.reshape(shape).numpy(), logits.reshape(shape).numpy()


def _heads(run: Path, precision, features, logits, originals: int) -> list[HeadSpec]:
    """Train heads of a known rule: brighter and rotate raise outcomes, a campaign shifts them."""
    folder = f"heads/{precision}"
    (run / folder).mkdir(parents=True)
    augmentations = logits.shape[1]
    encoder, rng = ContextEncoder(CONTEXT), np.random.default_rng(7)
    rows, labels = [], []
    for image in range(len(features)):
        for augmentation in range(augmentations):
            context = {c.name: str(rng.choice(c.values)) for c in CONTEXT}
            encoded = encoder.encode(context)
            rows.append(
                assemble(
                    INPUTS,
                    HeadRows(
                        augmentation=np.array([augmentation]),
                        logits=logits[image, augmentation][None],
                        features=features[image, augmentation][None],
                        context=encoded,
                    ),
                    FEATURE_STEP,
                )[0]
            )
            labels.append(float(augmentation in (1, 3)))
    specs = []
    for target in TARGETS:
        booster = xgboost.train(
            {"max_depth": 3, "eta": 0.3, "objective": "binary:logistic", "seed": 0, "nthread": 2},
            xgboost.DMatrix(np.stack(rows), label=np.array(labels)),
            num_boost_round=12,
        )
        file = f"{folder}/{target}.ubj"
        booster.save_model(run / file)
        trees = f"{folder}/{target}.trees.npz"
        write_trees(run / trees, TreeEnsemble.of(booster))
        posterior = f"{folder}/{target}.npz"
        drawn = make_posterior(augmentations, encoder.width, rng, catalogue=originals)
        for name in (posterior, f"{folder}/{target}.tested.npz"):
            drawn.save(run / name)
        specs.append(
            HeadSpec(
                target=resolve_target(target),
                inputs=INPUTS,
                width=len(rows[0]),
                feature_step=FEATURE_STEP,
                file=file,
                trees=trees,
                posterior=posterior,
                metrics=METRICS,
            )
        )
    return specs


def make_posterior(
    augmentations: int, width: int, rng, *, catalogue: int = 0, draws: int = 64
) -> Posterior:
    """Return a posterior that adds a little uncertainty to XGBoost's margins."""

    def effects(draws: int, deviation: float) -> Effects:
        shapes = ((draws,), (draws, augmentations), (draws, width), (draws, augmentations, width))
        return Effects(*(rng.normal(0, deviation, shape).astype(np.float32) for shape in shapes))

    one = np.ones(draws, np.float32)
    return Posterior(
        effects=effects(draws, 0.05),
        image_slope=one,
        version_slope=np.ones((draws, augmentations), np.float32),
        deviation=0.2 * one,
        version_deviation=np.zeros((draws, augmentations), np.float32),
        factors=np.zeros((draws, FACTORS), np.float32),
        projection=effects(1, 0.0),
        catalogue=ImageEffects.unknown(catalogue),
        center=np.zeros(width, np.float32),
        scale=np.ones(width, np.float32),
    )


def _write_catalogue(file: Path, images: Path, names: list[str], splits: list[str]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([PATH, SPLIT, SHA256, PRODUCT_TYPE])
        for index, (name, split) in enumerate(zip(names, splits, strict=True)):
            kind = "van" if index % 2 else "car"
            writer.writerow([name, split, sha256_of(images / name), kind])
