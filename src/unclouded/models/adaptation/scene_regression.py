"""Ridge regression on the clear pixels of a scene, with local departures on a coarse grid of nodes."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from unclouded.jit import compiled
from unclouded.models.adaptation.gaussian import in_rows

FEWEST_PX = 10
"""Smallest number of clear pixels for a fit; with fewer the prior is used."""

MAINLY = 0.5
"""Share of a pixel from which its features widen the range of a kind of ground."""

FLAT_DB = 0.1
"""Smallest standard deviation of a feature that is used for scaling, so that rounding errors are not amplified."""


# Sums over the clear pixels of a scene, by node of a coarse grid: all that a regression needs, window after window.


Node = tuple[int, int]


@dataclass(frozen=True)
class NodeGrid:
    """Nodes ``step_px`` apart; each pixel contributes to the four around it, by bilinear weights that sum to 1.

    Attributes:
        step_px: Distance between nodes; None for a single node.
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


@dataclass(frozen=True, eq=False)
class SceneRegression:
    """Values of a pixel from its features, as a departure from a prior.

    Attributes:
        grid: Nodes of the local departures.
        centre: Mean of each feature over the clear pixels.
        scale: Standard deviation of each.
        low: Least value of each, standardised; features stay within the range they had where it was fitted.
        high: Greatest value.
        coefficients: Intercept, then slopes, of the whole scene.
        local: Node to the difference from them there.
    """

    grid: NodeGrid
    centre: Float64[Tensor, " feature"]
    scale: Float64[Tensor, " feature"]
    low: Float64[Tensor, " feature"]
    high: Float64[Tensor, " feature"]
    coefficients: Float64[Tensor, "one_and_feature band"]
    local: Mapping[Node, Float64[Tensor, "one_and_feature band"]]

    def departure(
        self, features: Float32[Tensor, "feature h w"], origin_px: tuple[int, int]
    ) -> tuple[Float32[Tensor, "band h w"], Float32[Tensor, "1 h w"]]:
        """Return the departure from the prior in a window, and the distance of radar from its range.

        Args:
            features: NaN where there are no data, and so are both answers.
            origin_px: Row and column of its upper left pixel in the scene.
        """
        height, width = features.shape[1:]
        x, bands = features.contiguous().numpy(), self.coefficients.shape[1]
        total, outside = np.empty((bands, height, width), np.float32), np.empty((1, height, width), np.float32)
        standard = torch.stack([self.centre, 1 / self.scale, self.low, self.high]).float().numpy()
        corner, nodes = self._nodes_around(origin_px, (height, width))
        step = self.grid.step_px or 0
        in_rows(
            lambda top, bottom: _depart(x, standard, nodes, corner, origin_px, step, top, bottom, total, outside[0]),
            (height, width),
            2 * bands * (1 + len(x)),
        )
        return torch.from_numpy(total), torch.from_numpy(outside)

    def _nodes_around(
        self, origin_px: tuple[int, int], size_px: tuple[int, int]
    ) -> tuple[tuple[int, int], Float64[np.ndarray, "rows columns band one_and_feature"]]:
        """Return the first node above and left of a window, and the coefficients of all nodes around it."""
        whole = self.coefficients.T.contiguous().numpy()
        if (step := self.grid.step_px) is None:
            return (0, 0), whole[None, None]
        (top, left) = first = origin_px[0] // step, origin_px[1] // step
        bottom, right = ((o + n - 1) // step + 1 for o, n in zip(origin_px, size_px, strict=True))
        nodes = np.empty((bottom + 1 - top, right + 1 - left, *whole.shape))
        for i, j in np.ndindex(*nodes.shape[:2]):
            local = self.local.get((top + i, left + j))
            nodes[i, j] = whole if local is None else whole + local.T.numpy()
        return first, nodes


@compiled
@no_type_check
def _depart(features, standard, nodes, corner, origin, step, top, bottom, total, outside):
    """Fill rows with the departures and the distances from the range of the features."""
    known, width = features.shape[0], features.shape[2]
    z, right_of = np.empty((known, width), np.float32), np.empty(width, np.float32)
    row = np.empty(nodes.shape[1:], np.float32)  # the coefficients at the nodes left and right of its pixels
    for y in range(top, bottom):
        _standardise(features, y, standard, z, outside[y])
        below, share = 0, 0.0
        if step:
            below = (origin[0] + y) // step - corner[0]
            share = (origin[0] + y) / step - (below + corner[0])
        for j in range(nodes.shape[1]):
            for band in range(nodes.shape[2]):
                for k in range(nodes.shape[3]):
                    row[j, band, k] = nodes[below, j, band, k]
                    if share > 0:
                        ends = (1 - share) * nodes[below, j, band, k] + share * nodes[below + 1, j, band, k]
                        row[j, band, k] = ends
        left = 0
        while left < width:
            j = (origin[1] + left) // step - corner[1] if step else 0
            right = min(width, (j + corner[1] + 1) * step - origin[1]) if step else width
            for band in range(total.shape[0]):
                out = total[band, y, left:right]
                _product(row[j, band], z, left, right, out)
                if step:
                    _product(row[j + 1, band], z, left, right, right_of)
                    first = origin[1] + left - (j + corner[1]) * step
                    for x in range(right - left):
                        across = np.float32((first + x) / step)
                        out[x] = out[x] + across * (right_of[x] - out[x])
            left = right


@compiled
@no_type_check
def _standardise(features, y, standard, z, outside):
    known, width = z.shape
    outside[:] = 0
    for f in range(known):
        centre, inverse, low, high = standard[0, f], standard[1, f], standard[2, f], standard[3, f]
        feature, clipped = features[f, y], z[f]
        for x in range(width):
            value = (feature[x] - centre) * inverse
            inside = low if value < low else high if value > high else value  # NaN remains
            clipped[x] = inside
            outside[x] = outside[x] + (value - inside) * (value - inside)
    for x in range(width):
        outside[x] = np.sqrt(outside[x] / np.float32(max(known, 1)))


@compiled
@no_type_check
def _product(coefficients, z, left, right, out):
    """Multiply the intercept and slopes of a band with the features of some pixels, four at once."""
    known, width = len(z), right - left
    for x in range(width):
        out[x] = coefficients[0]
    fours = known - known % 4
    for k in range(0, fours, 4):
        c0, c1, c2, c3 = coefficients[k + 1], coefficients[k + 2], coefficients[k + 3], coefficients[k + 4]
        z0, z1, z2, z3 = z[k, left:right], z[k + 1, left:right], z[k + 2, left:right], z[k + 3, left:right]
        for x in range(width):
            out[x] = out[x] + ((c0 * z0[x] + c1 * z1[x]) + (c2 * z2[x] + c3 * z3[x]))
    for k in range(fours, known):
        for x in range(width):
            out[x] = out[x] + coefficients[k + 1] * z[k, left + x]


@dataclass
class SceneMoments:
    """Weighted sums of products of all pairs of [1, features, values] over clear pixels.

    Attributes:
        grid: Where the nodes are.
        products: Node to its sums; symmetric.
        area_px: Node to the sum of weights of all pixels with data, clear or cloudy.
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
        features: Float[Tensor, "feature h w"],
        values: Float[Tensor, "band h w"],
        clear: Bool[Tensor, "h w"],
        has_data: Bool[Tensor, "h w"],
        share: Float[Tensor, "h w"] | None = None,
    ) -> None:
        """Add a window.

        Args:
            origin_px: Row and column of its upper left pixel in the scene.
            features: Radar features; finite where clear.
            values: Departures from the prior; finite where clear.
            clear: Pixels to fit to.
            has_data: Pixels that count for the area.
            share: Share of each pixel that is of the fitted kind of ground, where it has data; all of it if omitted.
        """
        for top in range(0, len(clear), STRIP_PX):
            strip = slice(top, top + STRIP_PX)
            used, counted = clear[strip].flatten().nonzero()[:, 0], has_data[strip].double()
            x, y = (image[:, strip].flatten(1)[:, used].double() for image in (features, values))
            of_kind = counted if share is None else torch.where(has_data[strip], share[strip].double(), 0.0)
            self._widen(x if share is None else x[:, of_kind.flatten()[used] >= MAINLY])
            joined = torch.cat([torch.ones(1, x.shape[1], dtype=x.dtype), x, y])
            for node, weight in self.grid.weights((origin_px[0] + top, origin_px[1]), (len(counted), counted.shape[1])):
                weight = weight * of_kind
                sums = (joined * weight.flatten()[used]) @ joined.T
                self.products[node] = self.products[node] + sums if node in self.products else sums
                self.area_px[node] = self.area_px.get(node, 0.0) + weight.sum().item()

    def _widen(self, features: Float64[Tensor, "feature pixel"]) -> None:
        if features.shape[1]:
            low, high = features.amin(dim=1), features.amax(dim=1)
            self.low = low if self.low is None else torch.minimum(self.low, low)
            self.high = high if self.high is None else torch.maximum(self.high, high)


def fit(
    moments: SceneMoments, bands: int, ridge_share: float, prior_share: Float64[Tensor, " band"], tie_share: float
) -> SceneRegression:
    """Solve for the whole scene, then for what is left at each node.

    Every penalty is a share of the pixels of the scene, or of a node's surroundings: neighbouring pixels are
    correlated, so that twice the pixels are not twice the information.

    Args:
        moments: Sums over [1, features, departures from the prior].
        bands: Number of departures.
        ridge_share: Weight of the penalty on slopes.
        prior_share: Weight of the penalty on the intercept, that is, of the prior, by band.
        tie_share: Weight at each node of the coefficients of the whole scene.
    """
    sums = torch.stack([*moments.products.values()]).sum(dim=0)
    features, count, area = len(sums) - 1 - bands, sums[0, 0].item(), sum(moments.area_px.values())
    if count < FEWEST_PX or moments.low is None or moments.high is None:
        return _prior_alone(moments.grid, features, bands)
    share, standard = count / area, Standard.of(sums, features)
    slopes = _slopes(sums, standard, ridge_share / share)
    intercept = standard.level * share / (share + prior_share)
    return SceneRegression(
        moments.grid,
        standard.centre,
        standard.scale,
        (moments.low - standard.centre) / standard.scale,
        (moments.high - standard.centre) / standard.scale,
        torch.cat([intercept[None], slopes]),
        _departures_of_nodes(moments, standard.errors_map(slopes), 1 + features, tie_share),
    )


@dataclass(frozen=True, eq=False)
class Standard:
    """Means and spreads over the clear pixels.

    Attributes:
        centre: Mean of each feature.
        scale: Standard deviation of each, at least :data:`FLAT_DB`.
        level: Mean of each departure.
    """

    centre: Float64[Tensor, " feature"]
    scale: Float64[Tensor, " feature"]
    level: Float64[Tensor, " band"]

    @classmethod
    def of(cls, sums: Float64[Tensor, "one one"], features: int) -> "Standard":
        """Compute them from the sums over [1, features, departures]."""
        mean = sums[0] / sums[0, 0]
        variance = (sums.diagonal() / sums[0, 0] - mean.square())[1 : 1 + features]
        scale = variance.clamp(min=0).sqrt().clamp(min=FLAT_DB)
        return cls(mean[1 : 1 + features], scale, mean[1 + features :])

    def errors_map(self, slopes: Float64[Tensor, "feature band"]) -> Float64[Tensor, "one one"]:
        """The linear map from [1, features, departures] to [1, standardised features, errors of a free intercept]."""
        features, bands = slopes.shape
        change = torch.eye(1 + features + bands, dtype=slopes.dtype)
        standardised = change[1 : 1 + features]
        standardised[:, 1 : 1 + features] /= self.scale[:, None]
        standardised[:, 0] = -self.centre / self.scale
        change[1 + features :, 0] = -self.level
        change[1 + features :] -= slopes.T @ standardised
        return change


def _slopes(sums: Float64[Tensor, "one one"], standard: Standard, ridge: float) -> Float64[Tensor, "feature band"]:
    """Ridge regression on standardised features; the penalty is relative to the number of clear pixels."""
    features = len(standard.scale)
    mean = sums[0] / sums[0, 0]
    spread = (sums / sums[0, 0] - torch.outer(mean, mean))[1 : 1 + features, 1:] / standard.scale[:, None]
    gram = spread[:, :features] / standard.scale + ridge * torch.eye(features, dtype=sums.dtype)
    solved: Tensor = torch.linalg.solve(gram, spread[:, features:])
    return solved


def _departures_of_nodes(
    moments: SceneMoments, to_errors: Float64[Tensor, "one one"], known: int, tie_share: float
) -> dict[Node, Tensor]:
    """Return the departure of each node from the coefficients of the whole scene; empty for a single node."""
    if moments.grid.step_px is None:
        return {}
    nodes = {node: area for node, area in moments.area_px.items() if area > 0}
    return {
        node: _solved(to_errors @ moments.products[node] @ to_errors.T / area, known, tie_share)
        for node, area in nodes.items()
    }


def _solved(means: Float64[Tensor, "one one"], known: int, tie_share: float) -> Float64[Tensor, "one_and_feature band"]:
    gram = means[:known, :known] + tie_share * torch.eye(known, dtype=means.dtype)
    solved: Tensor = torch.linalg.solve(gram, means[:known, known:])
    return solved


def _prior_alone(grid: NodeGrid, features: int, bands: int) -> SceneRegression:
    zeros, ones = torch.zeros(features, dtype=torch.float64), torch.ones(features, dtype=torch.float64)
    nothing = torch.zeros(1 + features, bands, dtype=torch.float64)
    return SceneRegression(grid, zeros, ones, zeros, zeros, nothing, {})


STRIP_PX = 128
"""Number of rows that are processed at once."""
