"""How many sends a comparison takes."""

import math
from statistics import NormalDist

SIGNIFICANCE, POWER = 0.05, 0.8  # two-sided; the usual choice for tests of two versions


def sends_per_version(first: float, second: float, ratio: float = 1.0) -> int | None:
    """Return the sends of each of two versions that tell the second from a multiple of the first.

    The normal approximation of a two-sided test of two proportions, with SIGNIFICANCE and POWER
    (Fleiss, Levin and Paik, 2003, section 4.2; for a ratio, Farrington and Manning, 1990). Without
    a difference, the proportions have the ratio and their sum.

    Args:
        first: probability of the first version.
        second: probability of the second version.
        ratio: of the second to the first that is to be ruled out.

    Returns:
        The number, or None if a probability is not inside (0, 1) or there is no difference.
    """
    bar = ratio * first
    if not (0 < first < 1 and 0 < second < 1 and 0 < bar < 1) or second == bar:
        return None

    def spread(first: float, second: float) -> float:
        return math.sqrt(second * (1 - second) + ratio**2 * first * (1 - first))

    normal = NormalDist()
    equal = (first + second) / (1 + ratio)
    total = normal.inv_cdf(1 - SIGNIFICANCE / 2) * spread(equal, ratio * equal)
    total += normal.inv_cdf(POWER) * spread(first, second)
    return math.ceil((total / (second - bar)) ** 2)
