"""Whole runs at tiny scale."""

from pathlib import Path

from augrank.images.augmentations import augmentation_set
from augrank.reporting import Reporter
from training.tasks.run import run_fit

NAMES = augmentation_set("seed").names
OPTIONS = {"image_size": 32, "epochs": 2, "batch_size": 32, "precision": "fp32", "threads": 1,
           "graphs": ("fp32",),
           "targets": ("open_rate", "bounce_rate")}  # fmt: skip
IMAGES = {"image_size": 32, "epochs": 3, "batch_size": 32, "precision": "fp32", "threads": 1}


def fit(history: Path, out: Path, quiet: Reporter, overwrite: bool = False, **options):
    merged = {**OPTIONS, "manifest": history, "out": out, **options}
    return run_fit(None, merged, quiet, overwrite=overwrite)
