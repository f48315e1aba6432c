"""Residuals of a regression on clear ground: carried under clouds, and as gain and offset that vary over a scene."""

from dataclasses import dataclass

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor
from torch.nn import functional as F

# Gain and offset of each band that vary over a scene, on a coarse grid of nodes.


@dataclass(frozen=True, eq=False)
class LocalGains:
    """Departure of a scene's places from its regression: a gain and an offset of each band, bilinear between nodes.

    Attributes:
        step_px: Distance between nodes.
        level: Mean prediction of each band, about which gains turn.
        offset: Offset by node, reflectance.
        gain: Gain minus 1 by node.
    """

    step_px: int
    level: Float64[Tensor, " band"]
    offset: Float64[Tensor, "band node_y node_x"]
    gain: Float64[Tensor, "band node_y node_x"]

    @classmethod
    def fit(
        cls,
        predicted: Float64[Tensor, "band pixel"],
        residual: Float64[Tensor, "band pixel"],
        trust: Float64[Tensor, " pixel"],
        position: Int64[Tensor, "2 pixel"],
        step_px: int,
        tie: float,
    ) -> "LocalGains | None":
        """Fit gain and offset at each node to the residuals around, shrunk to none.

        Args:
            predicted: Prediction on clear ground.
            residual: Observed minus predicted.
            trust: Weights of pixels.
            position: Row and column of each pixel in the scene.
            step_px: Distance between nodes.
            tie: Votes for no departure, as a share of a node's mean number of pixels.

        Returns:
            The departure; None if the pixels lie within one cell.
        """
        nodes = (position.amax(dim=1) // step_px + 2).tolist()
        if max(nodes) <= 2:
            return None
        level = (predicted * trust).sum(dim=1) / trust.sum()
        slope = predicted - level[:, None]
        spread = (slope.square() * trust).sum(dim=1) / trust.sum()
        terms = torch.cat([torch.ones_like(slope[:1]), slope, slope.square(), residual, residual * slope]) * trust
        sums = torch.zeros(len(terms), nodes[0] * nodes[1], dtype=terms.dtype)
        at = position.double() / step_px
        first = at.floor()
        for down in (0, 1):
            for across in (0, 1):
                corner = first + torch.tensor([[down], [across]])
                weight = (1 - (at - corner).abs()).clamp(min=0).prod(dim=0)
                sums.index_add_(1, (corner[0] * nodes[1] + corner[1]).long(), terms * weight)
        votes = tie * trust.sum() / len(sums[0])
        count, x, xx, r, rx = torch.split(sums, [1, *[len(level)] * 4])
        xx, count = xx + votes * spread[:, None].clamp(min=1e-12), count + votes
        determinant = count * xx - x.square()
        shape = (len(level), *nodes)
        return cls(
            step_px,
            level,
            ((xx * r - x * rx) / determinant).view(shape),
            ((count * rx - x * r) / determinant).view(shape),
        )

    def __call__(
        self, predicted: Float32[Tensor, "band h w"], origin_px: tuple[int, int]
    ) -> Float32[Tensor, "band h w"]:
        """Return what to add to the prediction of a window whose upper left pixel has this row and column."""
        down, across = (
            self._weights(first, length, count)
            for first, length, count in zip(origin_px, predicted.shape[1:], self.offset.shape[1:], strict=True)
        )
        offset, gain = (down @ each.float() @ across.T for each in (self.offset, self.gain))
        return gain.mul_(predicted - self.level.float()[:, None, None]).add_(offset)

    def _weights(self, first: int, length: int, nodes: int) -> Float32[Tensor, "length node"]:
        at = (torch.arange(first, first + length, dtype=torch.float64) / self.step_px).clamp(max=nodes - 1)
        return (1 - (at[:, None] - torch.arange(nodes)).abs()).clamp(min=0).float()


# Residuals of clear ground, carried under clouds from coarse to fine.


def carried_reach_px(levels: int) -> int:
    """Return how far away a residual can change what is carried to a pixel."""
    return sum(4 << level for level in range(levels))


def carried(
    residual: Float32[Tensor, "band h w"],
    origin_px: tuple[int, int],
    error: Float32[Tensor, "1 h w"],
    levels: int,
    noise: float,
    outlier: float,
) -> Float32[Tensor, "band h w"]:
    """Return the residual of clear ground, continued under clouds and fading out; 0 far from clear ground.

    A pyramid of cells that are aligned to the scene: at each level the weighted mean of the
    residual around, shrunk where little of the surroundings is clear, then the same of what is left.

    Args:
        residual: Observed minus predicted on clear ground, NaN elsewhere.
        origin_px: Row and column of the upper left pixel in the scene.
        error: Expected error; residuals much larger are outliers and count less.
        levels: Number of levels, of cells of 1, 2, 4 ... px.
        noise: Weight, as a share of clear ground, at which a residual shrinks to half.
        outlier: Multiple of the expected error at which a residual counts half.
    """
    known = residual.sum(dim=0, keepdim=True).isfinite()
    left = torch.where(known, residual, 0.0)
    outlying = left.abs().mean(dim=0, keepdim=True) / (outlier * error.clamp(min=1e-4))
    weight = known / (1 + outlying.square())
    cells = [torch.cat([left * weight, weight])[None]]
    height, width = residual.shape[1:]
    largest = 1 << (levels - 1)
    above, before = (first % largest for first in origin_px)
    below, after = -(above + height) % largest, -(before + width) % largest
    cells[0] = F.pad(cells[0], (before, after, above, below))
    for _ in range(1, levels):
        cells.append(F.avg_pool2d(cells[-1], 2))
    total = torch.zeros_like(cells[-1][:, :-1])
    for level in reversed(range(levels)):
        if total.shape[-1] < cells[level].shape[-1]:
            total = F.interpolate(total, scale_factor=2, mode="bilinear")
        weighted, share = cells[level][:, :-1], cells[level][:, -1:]
        around = _binomial(torch.cat([weighted - share * total, share], dim=1))
        total = total.addcdiv_(around[:, :-1], around[:, -1:] + noise)
    return total[0, :, above : above + height, before : before + width]


def _binomial(image: Float32[Tensor, "1 channel h w"]) -> Float32[Tensor, "1 channel h w"]:
    """Mean over 5 x 5 cells with binomial weights, a standard deviation of 1 cell; zeros outside."""
    for axis in (-2, -1):
        padded = F.pad(image, (2, 2) if axis == -1 else (0, 0, 2, 2))
        image = torch.zeros_like(image)
        for shift, weight in enumerate((1, 4, 6, 4, 1)):
            image.add_(padded.narrow(axis, shift, image.shape[axis]), alpha=weight / 16)
    return image
