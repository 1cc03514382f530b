"""Check that the parts of a bundle have the widths stated in its bundle.json."""

from collections.abc import Collection

from augrank.bundle.recommend_spec import RecommendSpec
from augrank.bundle.spec import BUNDLE_FILE
from augrank.errors import BundleError
from augrank.models.backbone import Backbone
from augrank.models.context import ContextEncoder
from augrank.tasks.recommend.alternates import Alternates
from augrank.trust.estimator import Estimator

Widths = tuple[int, ...]


def check_widths(
    spec: RecommendSpec,
    backbone: Backbone,
    context: ContextEncoder,
    alternates: Alternates | None,
    estimators: Collection[Estimator],
) -> None:
    """Compare the widths of graph, heads and alternates with those that the spec implies.

    Raises:
        BundleError: a part has another width.
    """
    features, logits = spec.feature_width, len(spec.augmentations.names)
    parts = {
        "augmentation": logits,
        "augmentation_probs": logits,
        "features": features,
        "context": context.width,
    }
    found: dict[str, tuple[Widths, Widths]] = {
        "graph": ((backbone.feature_width, backbone.augmentation_count), (features, logits)),
        "graph's image": ((backbone.image_size,), (spec.image_size,)),
    }
    for estimator in estimators:
        head = estimator.spec
        found[head.file] = ((head.width,), (sum(parts[name] for name in head.inputs),))
    if alternates is not None:
        index = alternates.embedding
        found["alternates"] = (
            (index.features.shape[1], index.logits.shape[1]),
            (features, logits),
        )
        for estimator in estimators:
            found[estimator.spec.posterior] = (
                (len(estimator.catalogue),),
                (len(alternates.images),),
            )
    for name, (got, expected) in found.items():
        if got != expected:
            raise BundleError(
                f"the {name} does not fit {BUNDLE_FILE}",
                expected=f"widths {expected}",
                got=str(got),
                remedy="Export the run again.",
            )
