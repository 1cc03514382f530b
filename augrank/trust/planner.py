"""How many sends a comparison takes."""

import math
from statistics import NormalDist

SIGNIFICANCE, POWER = 0.05, 0.8  # two-sided; the usual choice for tests of two versions


def sends_per_version(first: float, second: float) -> int | None:
    """Return the sends of each of two versions that tell their probabilities apart.

    The normal approximation of a two-sided test of two proportions, with SIGNIFICANCE and POWER
    (Fleiss, Levin and Paik, 2003, section 4.2).

    Args:
        first: probability of the first version.
        second: probability of the second version.

    Returns:
        The number, or None if a probability is not inside (0, 1) or they are equal.
    """
    if not (0 < first < 1 and 0 < second < 1) or first == second:
        return None
    normal = NormalDist()
    pooled = (first + second) / 2
    under_null = normal.inv_cdf(1 - SIGNIFICANCE / 2) * math.sqrt(2 * pooled * (1 - pooled))
    spread = math.sqrt(first * (1 - first) + second * (1 - second))
    total = under_null + normal.inv_cdf(POWER) * spread
    return math.ceil((total / (first - second)) ** 2)
