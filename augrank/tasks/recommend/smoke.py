"""Ask a loaded bundle its own smoke request: is what answers what was exported?"""

import json
from collections.abc import Callable

from augrank.arrays import Float32Array
from augrank.bundle.graphs import Way
from augrank.bundle.recommend_spec import RecommendBundle
from augrank.bundle.smoke import (
    OTHER_TOLERANCE,
    TOLERANCE,
    SmokeRequest,
    differs,
)
from augrank.bundle.spec import SMOKE_FILE
from augrank.errors import AugrankError
from augrank.tasks.base import RequestBody
from augrank.tasks.recommend.request import Request, parse_request
from augrank.tasks.recommend.response import Answer


def check_smoke_request(
    bundle: RecommendBundle,
    way: Way,
    *,
    answered: Callable[[Request], Answer | AugrankError],
    embedded: Callable[[bytes], Float32Array],
) -> float | None:
    """Compare the answer to the smoke request, and its image's features, with those at export.

    Args:
        bundle: names the request and the answers of its graphs.
        way: the graph that answers, and its device.
        answered: answers a request.
        embedded: embeds an image file; returns its features, (F,).

    Returns:
        The largest difference of a probability; None if the bundle has no such request.

    Raises:
        BundleError: the answer is another one.
    """
    if SMOKE_FILE not in bundle.spec.files:
        return None
    smoke = SmokeRequest.load(bundle.directory)
    known = smoke.answers[way.precision]
    same_device = known.device == way.device
    features = embedded(smoke.image)
    if not known.resembles(features, way.device):
        apart, expected = known.features_difference(features), "its image's features"
        raise differs(bundle.spec, expected=expected, got=f"features {apart:.0%} apart from them")
    options = {name: value for name, value in smoke.content.items() if name != "image"}
    answer = answered(parse_request(RequestBody(smoke.image, {}, options)))
    if isinstance(answer, AugrankError):
        raise answer
    got = {score.name: score.probability for score in answer.candidates}
    difference = known.difference(got)
    if not difference <= (TOLERANCE if same_device else OTHER_TOLERANCE):
        raise differs(
            bundle.spec, expected=json.dumps(dict(known.probabilities)), got=json.dumps(got)
        )
    best = answer.best_candidate.name
    if same_device and known.best_candidate not in (None, best):
        raise differs(bundle.spec, expected=f"the choice {known.best_candidate}", got=best)
    return difference
