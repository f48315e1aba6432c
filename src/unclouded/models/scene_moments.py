"""Sums over the clear pixels of a scene, by node of a coarse grid: all that a regression needs, window after window."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

Node = tuple[int, int]

STRIP_PX = 128
"""Rows that are worked on at once."""


@dataclass(frozen=True)
class NodeGrid:
    """Nodes ``step_px`` apart; each pixel belongs to the four around it, by bilinear weights that sum to 1.

    Attributes:
        step_px: Distance between nodes; None for one node that everything belongs to.
    """

    step_px: int | None

    def weights(self, origin_px: tuple[int, int], size_px: tuple[int, int]) -> Iterator[tuple[Node, Tensor]]:
        """Yield the nodes that a window touches, each with the weights of the window's pixels, (h, w)."""
        if self.step_px is None:
            yield (0, 0), torch.ones(size_px, dtype=torch.float64)
            return
        rows, columns = (list(self._along(*extent)) for extent in zip(origin_px, size_px, strict=True))
        for i, down in rows:
            for j, across in columns:
                yield (i, j), down[:, None] * across

    def _along(self, first: int, count: int) -> Iterator[tuple[int, Float64[Tensor, " count"]]]:
        assert self.step_px is not None
        at = torch.arange(first, first + count, dtype=torch.float64) / self.step_px
        for node in range(math.floor(at[0].item()), math.ceil(at[-1].item()) + 1):
            if (weight := (1 - (at - node).abs()).clamp(min=0)).any():
                yield node, weight


@dataclass
class SceneMoments:
    """Weighted sums of products of all pairs of [1, features, values] over clear pixels.

    Attributes:
        grid: Where the nodes are.
        products: Node to its sums; symmetric.
        area_px: Node to the weights of all pixels with data, clear or cloudy.
        low: Least value of each feature over clear pixels.
        high: Greatest value.
    """

    grid: NodeGrid
    products: dict[Node, Float64[Tensor, "one one"]] = field(default_factory=dict)
    area_px: dict[Node, float] = field(default_factory=dict)
    low: Float64[Tensor, " feature"] | None = None
    high: Float64[Tensor, " feature"] | None = None

    def add(
        self,
        origin_px: tuple[int, int],
        features: Float64[Tensor, "feature h w"],
        values: Float64[Tensor, "band h w"],
        clear: Bool[Tensor, "h w"],
        has_data: Bool[Tensor, "h w"],
    ) -> None:
        """Add a window.

        Args:
            origin_px: Row and column of its upper left pixel in the scene.
            features: What is known of each pixel; finite where clear.
            values: What is to be predicted from them; finite where clear.
            clear: Pixels to learn from.
            has_data: Pixels that count for the area.
        """
        for top in range(0, len(clear), STRIP_PX):
            strip = slice(top, top + STRIP_PX)
            learnt, counted = clear[strip], has_data[strip]
            x, y = features[:, strip][:, learnt], values[:, strip][:, learnt]
            self._widen(x)
            joined = torch.cat([torch.ones(1, x.shape[1], dtype=x.dtype), x, y])
            for node, weight in self.grid.weights((origin_px[0] + top, origin_px[1]), (len(learnt), learnt.shape[1])):
                sums = (joined * weight[learnt]) @ joined.T
                self.products[node] = self.products[node] + sums if node in self.products else sums
                self.area_px[node] = self.area_px.get(node, 0.0) + weight[counted].sum().item()

    def _widen(self, features: Float64[Tensor, "feature pixel"]) -> None:
        if features.shape[1]:
            low, high = features.amin(dim=1), features.amax(dim=1)
            self.low = low if self.low is None else torch.minimum(self.low, low)
            self.high = high if self.high is None else torch.maximum(self.high, high)
