"""Overlapping tiles for networks whose result depends on the extent of their input.

Group norms, squeeze-and-excitation and attention grids use the whole image. Such a network gets tiles of the size of
its training, at fixed places of the scene, and their results are blended with weights that fall to the edges. The
result at a pixel depends on the tiles that contain it, wherever the window around it begins.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

TILE_PX = 256
"""Side of a tile: the patches of SEN12MS-CR, on which the networks were trained."""
STEP_PX = 128
"""Distance of neighbouring tiles; every pixel inside a scene lies in two tiles a direction."""
MARGIN_PX = TILE_PX
"""Pixels around a window that affect its result."""


def blend_tiles(
    predict: Callable[[slice, slice], Float[Tensor, "batch channel y x"]],
    needed: Bool[Tensor, "batch 1 h w"],
) -> Float[Tensor, "batch channel h w"]:
    """Return the blended results of all tiles with a needed pixel; NaN where no such tile lies.

    Args:
        predict: Result for the tile of some rows and columns.
        needed: Pixels whose result is used. Its corner must lie at a multiple of :data:`STEP_PX` in the scene.
    """
    height, width = needed.shape[-2:]
    total: Tensor | None = None
    weights = torch.zeros(1, 1, height, width, dtype=torch.float32, device=needed.device)
    for rows in _tiles(height):
        for columns in _tiles(width):
            if not needed[..., rows, columns].any():
                continue
            result = predict(rows, columns)
            if total is None:
                total = result.new_zeros(*result.shape[:2], height, width)
            weight = _ramp(rows, weights)[:, None] * _ramp(columns, weights)
            total[..., rows, columns] += weight.to(result.dtype) * result
            weights[..., rows, columns] += weight
    if total is None:
        raise ValueError("expected at least one needed pixel, found none")
    return total / torch.where(weights > 0, weights, torch.nan).to(total.dtype)


def _tiles(length: int) -> Iterator[slice]:
    """Yield the tiles along one axis; the last one ends with the image."""
    last = max(length - TILE_PX, 0)
    for start in [*range(0, last, STEP_PX), last]:
        yield slice(start, min(start + TILE_PX, length))


def _ramp(part: slice, like: Tensor) -> Float[Tensor, " length"]:
    """Return weights that fall linearly from the middle of a tile to its edges and are nowhere 0."""
    position = torch.arange(part.stop - part.start, dtype=like.dtype, device=like.device) + 0.5
    return torch.minimum(position, position.flip(0))
