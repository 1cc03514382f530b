"""An XGBoost model as flat arrays, for the few rows of a request.

XGBoost's own prediction sets up a matrix, a context and threads for every call, which takes several
times longer than walking the trees for six rows. This module walks all rows down all trees
together, one level at a time. For many rows XGBoost itself is faster.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array

if TYPE_CHECKING:
    import xgboost


@dataclass(frozen=True)
class TreeEnsemble:
    """T trees with concatenated nodes; arrays are (nodes,) unless stated otherwise.

    A leaf is its own child on both sides, so that a walk may continue past it.
    """

    roots: NDArray[np.int32]  # (T,)
    feature: NDArray[np.int32]  # the column that a node splits on
    threshold: Float32Array  # left if the feature is smaller
    children: NDArray[np.int32]  # (2 nodes,): left and right of each in turn
    weight: Float32Array  # a leaf's part of the margin
    depth: int
    base_margin: float

    @classmethod
    def of(cls, booster: "xgboost.Booster") -> "TreeEnsemble | None":
        """Return the booster's trees; None if this class cannot evaluate them.

        It evaluates no categorical splits, several outputs, weighted trees or objectives other
        than logistic regression.
        """
        learner = _learner(booster)
        trees = _plain_trees(learner, "binary:logistic")
        return cls._of_trees(trees, _base_margin(learner)) if trees else None

    @classmethod
    def by_output(cls, booster: "xgboost.Booster") -> "tuple[TreeEnsemble, ...] | None":
        """Return the trees of each class of a softmax model, or those of a ranking model.

        None if these are not plain trees.
        """
        learner = _learner(booster)
        trees = _plain_trees(learner, "multi:softprob") or _plain_trees(learner, "rank:pairwise")
        if not trees:
            return None
        owner = learner["gradient_booster"]["model"]["tree_info"]  # the class of each tree
        bases = _base_scores(learner)
        groups = []
        for number in range(max(owner) + 1):
            own = [tree for tree, group in zip(trees, owner, strict=True) if group == number]
            groups.append(cls._of_trees(own, bases[number % len(bases)]))
        return tuple(groups)

    @classmethod
    def _of_trees(cls, trees: list[dict[str, Any]], base_margin: float) -> "TreeEnsemble":
        starts = np.cumsum([0, *(len(tree["left_children"]) for tree in trees)])
        lefts, rights, weights = [], [], []
        for start, tree in zip(starts, trees, strict=False):
            nodes = np.arange(len(tree["left_children"]))
            left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
            leaf = left < 0
            lefts.append(np.where(leaf, nodes, left) + start)
            rights.append(np.where(leaf, nodes, right) + start)
            weights.append(np.where(leaf, np.array(tree["split_conditions"], np.float32), 0))
        return cls(
            roots=starts[:-1].astype(np.int32),
            feature=np.concatenate([tree["split_indices"] for tree in trees]).astype(np.int32),
            threshold=np.concatenate([tree["split_conditions"] for tree in trees]).astype("f4"),
            children=np.stack([np.concatenate(side) for side in (lefts, rights)], axis=1)
            .astype(np.int32)
            .ravel(),
            weight=np.concatenate(weights).astype(np.float32),
            depth=max(_depth(tree) for tree in trees),
            base_margin=base_margin,
        )

    def margin(self, rows: Float32Array) -> Float32Array:
        """Return the log odds of rows, before calibration.

        Args:
            rows: float32 (N, width), no NaN.

        Returns:
            float32 (N,).
        """
        count, width = rows.shape
        values = rows.ravel()
        first = np.arange(0, count * width, width, dtype=np.int32)[:, None]  # of each row
        node = np.repeat(self.roots[None], count, axis=0)  # (N, T)
        for _ in range(self.depth):
            value = values.take(first + self.feature.take(node))
            goes_right = value >= self.threshold.take(node)
            node = self.children.take(2 * node + goes_right)
        sums: Float32Array = self.weight.take(node).sum(axis=1) + np.float32(self.base_margin)
        return sums


def _learner(booster: "xgboost.Booster") -> dict[str, Any]:
    learner: dict[str, Any] = json.loads(booster.save_raw("json").decode())["learner"]
    return learner


def _plain_trees(learner: dict[str, Any], objective: str) -> list[dict[str, Any]]:
    """Return the trees of a model of this objective; none if this module cannot evaluate them."""
    trees: list[dict[str, Any]] = learner["gradient_booster"].get("model", {}).get("trees", [])
    plain = (
        learner["objective"]["name"] == objective
        and learner["gradient_booster"]["name"] == "gbtree"
        and not any(tree["categories"] or any(tree["split_type"]) for tree in trees)
        and all(tree["tree_param"]["size_leaf_vector"] in ("0", "1") for tree in trees)
    )
    return trees if plain else []


def _base_margin(learner: dict[str, Any]) -> float:
    """Return the intercept as log odds."""
    (share,) = _base_scores(learner)
    return float(np.log(share / (1 - share)))


def _base_scores(learner: dict[str, Any]) -> list[float]:
    """Return the intercepts; XGBoost 3 writes a list."""
    value = json.loads(learner["learner_model_param"]["base_score"])
    return [float(each) for each in (value if isinstance(value, list) else [value])]


def _depth(tree: dict[str, Any]) -> int:
    """Return the number of splits on the longest path; parents precede their children."""
    depth = [0] * len(tree["left_children"])
    for parent, children in enumerate(
        zip(tree["left_children"], tree["right_children"], strict=True)
    ):
        for child in children:
            if child >= 0:
                depth[child] = depth[parent] + 1
    return max(depth)
