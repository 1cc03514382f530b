"""Windows on a batch of images, where the network is: ``crops.look``, byte for byte."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from augrank.images.decode import WHITE

RESIZE_BITS = 11  # of OpenCV's fixed point: the share of a pixel in a resized one


def look(images: Tensor, windows: Tensor, size: int) -> Tensor:
    """``crops.look``, byte for byte: white beyond, then as ``cv2.resize`` does it.

    Args:
        images: uint8 (B, S, S, 3).
        windows: float32 (B, 5): left, top, width, height in whole pixels; 1 where mirrored.
        size: side of the outcome.

    Returns:
        uint8 (B, size, size, 3).
    """
    near, share = _neighbours(windows, images.shape[1], size)
    rest = (1 << RESIZE_BITS) - share
    padded = pad(images, (0, 0, 1, 1, 1, 1), value=WHITE)
    number = torch.arange(len(padded), device=padded.device)[:, None]
    line = torch.arange(padded.shape[1], device=padded.device)[:, None]

    left, right = (padded[number[..., None], line, column[:, 0, None]] for column in near)
    across = left * rest[:, 0, None, :, None] + right * share[:, 0, None, :, None]
    across >>= 4  # OpenCV goes on with 16 bits
    upper, lower = (across[number, row[:, 1]] for row in near)
    for part, weight in (upper, rest), (lower, share):
        part.mul_(weight[:, 1, :, None, None]).bitwise_right_shift_(16)
    return ((upper + lower + 2) >> 2).to(torch.uint8)


def _neighbours(windows: Tensor, side: int, size: int) -> tuple[Tensor, Tensor]:
    """Which two pixels each column and each row of the outcome lies between.

    Returns:
        The first and the second in padded images, int64 (2, B, 2, size), and the share of the
        second in 2 ** -11, int32 (B, 2, size); columns before rows.
    """
    windows = windows.double()[..., None]
    corner, extent, mirrored = windows[:, 0:2], windows[:, 2:4], windows[:, 4:5]
    place = torch.arange(size, dtype=torch.float64, device=windows.device)
    columns = place + mirrored * (size - 1 - 2 * place)
    place = torch.cat([columns, place.expand_as(columns)], dim=1)
    # Pixel centres lie at halves. OpenCV, too, computes this in float64 and goes on in float32.
    exact = ((place + 0.5) * (extent / size) - 0.5).float()
    first = exact.floor()
    share = ((exact - first) * (1 << RESIZE_BITS)).round_().int()
    # A window ends with its own last pixel; what of it lies beyond the image is the padding.
    inside = torch.stack([first, first + 1]).clamp_(min=0).minimum(extent - 1)
    return ((corner + inside).clamp_(-1, side) + 1).long(), share


def whole(images: Tensor) -> Tensor:
    """Windows, float32 (B, 5), that show images, (B, S, S, 3), as they are."""
    windows = torch.zeros(len(images), 5, device=images.device)
    windows[:, 2:4] = images.shape[1]
    return windows
