"""Ask a loaded bundle its own smoke request: is what answers what was exported?"""

import json
from collections.abc import Callable

from augrank.bundle.recommend_spec import RecommendBundle
from augrank.bundle.smoke import OTHER_TOLERANCE, TOLERANCE, SmokeRequest
from augrank.bundle.spec import SMOKE_FILE
from augrank.errors import AugrankError, BundleError
from augrank.tasks.base import RequestBody
from augrank.tasks.recommend.request import Request, parse_request
from augrank.tasks.recommend.response import Answer


def smoke_difference(
    bundle: RecommendBundle,
    answered: Callable[[Request], Answer | AugrankError],
    *,
    same_engine: bool,
) -> float | None:
    """Compare the answer to the smoke request with that at export.

    Args:
        bundle: names the request and the answer.
        answered: answers a request.
        same_engine: whether the graph and the device are those of the recorded answer.

    Returns:
        The largest difference of a probability; None if the bundle has no such request.

    Raises:
        BundleError: the answer is another one.
    """
    if SMOKE_FILE not in bundle.spec.files:
        return None
    smoke = SmokeRequest.load(bundle.directory)
    options = {name: value for name, value in smoke.content.items() if name != "image"}
    answer = answered(parse_request(RequestBody(smoke.image, {}, options)))
    if isinstance(answer, AugrankError):
        raise answer
    got = {score.name: score.probability for score in answer.candidates}
    difference = smoke.difference(got)
    if difference <= (TOLERANCE if same_engine else OTHER_TOLERANCE):
        return difference
    made_with = ", ".join(f"{name}=={v}" for name, v in bundle.spec.library_versions.items())
    raise BundleError(
        "the bundle does not answer its smoke request as it did at export",
        expected=json.dumps(dict(smoke.probabilities)),
        got=json.dumps(got),
        remedy=f"Install what it was made with ({made_with}), or export the run again.",
    )
