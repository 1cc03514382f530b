"""Room that advertisers share: whoever holds most makes room for the others."""

from collections.abc import Mapping


def over_share(held: Mapping[str, int], most: int) -> dict[str, int]:
    """Return how much each holder has to give, so that all together hold at most ``most``.

    Nobody gives anything as long as somebody else holds more: all who give keep the same.

    Args:
        held: by each, 0 or more.
        most: that there is room for.

    Returns:
        What is given, by those alone who give something.
    """
    left, level = most, 0
    by_size = sorted(held.values())
    for place, size in enumerate(by_size):
        level = left // (len(by_size) - place)  # if all from here give
        if size > level:
            break
        left -= size
    else:
        return {}
    return {holder: size - level for holder, size in held.items() if size > level}
