"""An XGBoost model as flat arrays, which are walked without XGBoost.

XGBoost's own prediction sets up a matrix, a context and threads for every call, which takes several
times longer than walking the trees for six rows. This module walks all rows down all trees
together, one level at a time. Training writes the arrays beside XGBoost's model, and export holds
both against each other, so that a server needs no XGBoost, which is some hundred megabytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array, read_arrays
from augrank.errors import BundleError, reason
from augrank.files import atomic_write

if TYPE_CHECKING:
    import xgboost

OBJECTIVES = ("binary:logistic", "multi:softprob", "rank:pairwise")
MOST_NODES = 100_000  # at once, rows times trees, which fit the cache of a core
WHOLE = ("roots", "output", "feature", "children", "width")
FIELDS = (*WHOLE, "threshold", "weight", "base_margin")


@dataclass(frozen=True, eq=False)
class TreeEnsemble:
    """T trees of K outputs with concatenated nodes; arrays are (nodes,) unless stated otherwise.

    A leaf is its own child on both sides, so that a walk may continue past it; other nodes precede
    their children.
    """

    roots: NDArray[np.int32]  # (T,) ordered by output
    output: NDArray[np.int32]  # (T,) ascending; each of the K outputs has a tree
    feature: NDArray[np.int32]  # the column that a node splits on
    threshold: Float32Array  # left if the feature is smaller
    children: NDArray[np.int32]  # (2 nodes,): left and right of each in turn
    weight: Float32Array  # a leaf's part of the margin
    base_margin: Float32Array  # (K,)
    width: int  # columns of a row
    depth: int  # splits on the longest path

    @classmethod
    def of(cls, booster: "xgboost.Booster") -> "TreeEnsemble":
        """Return a booster's trees.

        Args:
            booster: of plain trees, of one of the ``OBJECTIVES``.

        Raises:
            ValueError: it has categorical splits, vectors in leaves, weighted trees, or another
                objective.
        """
        learner: dict[str, Any] = json.loads(booster.save_raw("json").decode())["learner"]
        objective = learner["objective"]["name"]
        model = learner["gradient_booster"].get("model", {})
        trees: list[dict[str, Any]] = model.get("trees", [])
        plain = (
            objective in OBJECTIVES
            and learner["gradient_booster"]["name"] == "gbtree"
            and not any(tree["categories"] or any(tree["split_type"]) for tree in trees)
            and all(tree["tree_param"]["size_leaf_vector"] in ("0", "1") for tree in trees)
        )
        if not plain or not trees:
            raise ValueError(f"not plain trees of {', '.join(OBJECTIVES)}: {objective}")
        owner = np.array(model["tree_info"], np.int32)  # the output of each tree
        order = np.argsort(owner, kind="stable")
        bases = np.array(_base_scores(learner), np.float64)
        if objective == "binary:logistic":
            bases = np.log(bases / (1 - bases))
        arrays = _concatenated([trees[number] for number in order])
        arrays["output"] = owner[order]
        arrays["base_margin"] = np.broadcast_to(bases, owner.max() + 1).astype(np.float32)
        arrays["width"] = np.array(booster.num_features())
        return cls.from_arrays(arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "TreeEnsemble":
        """Return the trees that ``arrays`` gave.

        Args:
            arrays: by the ``FIELDS``; others are left out.

        Raises:
            KeyError: one is missing.
            ValueError: they are no trees: a walk would leave them, or never end.
        """
        given = {name: np.asarray(arrays[name]) for name in FIELDS}
        _check(given)
        width, depth = int(given.pop("width")), _depth(given["roots"], given["children"])
        numbers: dict[str, Any] = {
            name: each.astype(np.int32 if name in WHOLE else np.float32)
            for name, each in given.items()
        }
        return cls(**numbers, width=width, depth=depth)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what ``from_arrays`` takes."""
        return {name: np.asarray(getattr(self, name)) for name in FIELDS}

    def margin(self, rows: Float32Array) -> Float32Array:
        """Return the margins of rows as XGBoost gives them: log odds, before calibration.

        Args:
            rows: float32 (N, width), C-contiguous, no NaN.

        Returns:
            float32 (N, K).

        Raises:
            ValueError: rows of another width.
        """
        if rows.shape[1] != self.width:
            raise ValueError(f"trees of {self.width} columns, rows of {rows.shape[1]}")
        sums = np.empty((len(rows), len(self.base_margin)), np.float32)
        step = max(1, MOST_NODES // len(self.roots))
        for start in range(0, len(rows), step):
            sums[start : start + step] = self._walk(rows[start : start + step])
        return sums

    def _walk(self, rows: Float32Array) -> Float32Array:
        count, width = rows.shape
        values = rows.ravel()
        first = np.arange(0, count * width, width, dtype=np.int32)[:, None]  # of each row
        node = np.repeat(self.roots[None], count, axis=0)  # (N, T)
        for _ in range(self.depth):
            value = values.take(first + self.feature.take(node))
            goes_right = value >= self.threshold.take(node)
            node = self.children.take(2 * node + goes_right)
        starts = np.searchsorted(self.output, np.arange(len(self.base_margin)))
        sums: Float32Array = np.add.reduceat(self.weight.take(node), starts, axis=1)
        return sums + self.base_margin


def write_trees(file: Path, trees: TreeEnsemble) -> None:
    """Write trees as arrays (.npz): complete under a temporary name, then renamed."""
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        arrays: dict[str, Any] = trees.arrays()
        np.savez(stream, **arrays)


def read_trees(file: Path) -> TreeEnsemble:
    """Read what ``write_trees`` wrote. No pickle.

    Raises:
        BundleError: it cannot be read, or is damaged.
    """
    try:
        return TreeEnsemble.from_arrays(read_arrays(file))
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(
            f"{file} is damaged",
            expected="the trees of a head",
            got=reason(error),
            remedy="Restore it, or train and export again.",
        ) from error


def _concatenated(trees: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of trees, whose nodes are numbered through."""
    starts = np.cumsum([0, *(len(tree["left_children"]) for tree in trees)])
    children, weights = [], []
    for start, tree in zip(starts, trees, strict=False):
        nodes = np.arange(len(tree["left_children"]))
        sides = np.array([tree["left_children"], tree["right_children"]])
        leaf = sides[0] < 0
        children.append(np.where(leaf, nodes, sides).T + start)
        weights.append(np.where(leaf, np.array(tree["split_conditions"], np.float32), 0))
    return {
        "roots": starts[:-1],
        "feature": np.concatenate([tree["split_indices"] for tree in trees]),
        "threshold": np.concatenate([tree["split_conditions"] for tree in trees]),
        "children": np.concatenate(children).ravel(),
        "weight": np.concatenate(weights),
    }


def _base_scores(learner: dict[str, Any]) -> list[float]:
    """Return the intercepts; XGBoost 3 writes a list."""
    value = json.loads(learner["learner_model_param"]["base_score"])
    return [float(each) for each in (value if isinstance(value, list) else [value])]


def _check(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse arrays that are no trees."""
    if not all(arrays[name].ndim == (name != "width") for name in FIELDS):
        raise ValueError("arrays of trees have other dimensions")
    if not all(arrays[name].dtype.kind in "iu" for name in WHOLE):
        raise ValueError("arrays of trees are not of whole numbers")
    roots, output, feature = arrays["roots"], arrays["output"], arrays["feature"]
    node = np.arange(len(feature))
    if not (
        len(roots) == len(output)
        and len(node) == len(arrays["threshold"]) == len(arrays["weight"])
        and len(arrays["children"]) == 2 * len(node)
        and np.array_equal(np.unique(output), np.arange(len(arrays["base_margin"])))
        and (np.diff(output) >= 0).all()
    ):
        raise ValueError("arrays of trees do not fit each other")
    pairs, split = arrays["children"].reshape(-1, 2), _splits(arrays["children"])
    if not (
        _within(roots, len(node))
        and _within(feature, arrays["width"])
        and _within(pairs, len(node))
        and (pairs[split] > node[split, None]).all()
    ):
        raise ValueError("arrays of trees lead nowhere")


def _within(indices: NDArray[Any], size: int | NDArray[Any]) -> bool:
    return bool(((indices >= 0) & (indices < size)).all())


def _splits(children: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which nodes are no leaves, (nodes,)."""
    pairs = children.reshape(-1, 2)
    split: NDArray[np.bool_] = (pairs != np.arange(len(pairs))[:, None]).any(axis=1)
    return split


def _depth(roots: NDArray[Any], children: NDArray[Any]) -> int:
    """Return the number of splits on the longest path."""
    split, pairs = _splits(children), children.reshape(-1, 2)
    depth, nodes = 0, roots
    while len(nodes := nodes[split[nodes]]):
        depth, nodes = depth + 1, np.unique(pairs[nodes])
    return depth
