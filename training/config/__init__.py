"""The options of ``fit``: type, default, limits and help text of each, defined once.

The command line is generated from this model (``training/cli/options.py``). A YAML or TOML file may
give the same options, and the command line overrides it. fit.yaml::

    manifest: data/sneakers/history.csv
    images: data/sneakers
    out: runs/sneakers
    epochs: 8
"""

from training.config.fit_config import FitConfig, flag_of
from training.config.options import DeviceChoice, Precision
from training.config.reader import (
    load_config,
    named_options,
    read_options,
    read_value,
    split_names,
    with_defaults,
)

__all__ = [
    "DeviceChoice",
    "FitConfig",
    "Precision",
    "flag_of",
    "load_config",
    "named_options",
    "read_options",
    "read_value",
    "split_names",
    "with_defaults",
]
