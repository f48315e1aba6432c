"""A ridge regression on a whole scene's clear pixels, and how it departs from itself from place to place."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from unclouded.models.scene_moments import Node, NodeGrid, SceneMoments

FEWEST_PX = 10
"""With fewer clear pixels a scene says nothing."""

FLAT_DB = 0.1
"""A feature that varies less than this says nothing; its rounding errors are not blown up to a signal."""


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
        local: Node to what is added to them there.
        clear_share: Clear pixels by pixels with data, of the whole scene.
        local_share: The same by node.
    """

    grid: NodeGrid
    centre: Float64[Tensor, " feature"]
    scale: Float64[Tensor, " feature"]
    low: Float64[Tensor, " feature"]
    high: Float64[Tensor, " feature"]
    coefficients: Float64[Tensor, "one_and_feature band"]
    local: Mapping[Node, Float64[Tensor, "one_and_feature band"]]
    clear_share: float
    local_share: Mapping[Node, float]

    def departure(
        self, features: Float64[Tensor, "feature h w"], origin_px: tuple[int, int]
    ) -> tuple[Float64[Tensor, "band h w"], Float64[Tensor, "1 h w"], Float64[Tensor, "1 h w"]]:
        """Return, for a window, what to add to the prior, how far radar is out of range, and the clear share around.

        Args:
            features: NaN where there are no data, and so are all three answers.
            origin_px: Row and column of its upper left pixel in the scene.
        """
        height, width = features.shape[1:]
        z = (features.flatten(1) - self.centre[:, None]) / self.scale[:, None]
        inside = torch.minimum(torch.maximum(z, self.low[:, None]), self.high[:, None])
        strangeness = (z - inside).square().mean(dim=0).sqrt()
        x = torch.cat([torch.ones_like(inside[:1]), inside])
        total, share = self.coefficients.T @ x, torch.zeros_like(inside[:1])
        for node, weight in self.grid.weights(origin_px, (height, width)):
            at = weight.flatten()
            share += self.local_share.get(node, self.clear_share) * at
            if node in self.local:
                total += (self.local[node].T @ x) * at
        return total.view(-1, height, width), strangeness.view(1, height, width), share.view(1, height, width)


def fit(
    moments: SceneMoments, bands: int, ridge_share: float, prior_share: Float64[Tensor, " band"], tie_share: float
) -> SceneRegression:
    """Solve for the whole scene, then for what is left at each node.

    Every strength is a share of the scene, or of a node's surroundings, whose pixels vote for nothing at all:
    neighbours are alike, so that a scene of twice the pixels does not know twice as much.

    Args:
        moments: Sums over [1, features, departures from the prior].
        bands: How many departures there are.
        ridge_share: Votes for no slope.
        prior_share: Votes for no intercept, that is, for the prior, by band.
        tie_share: Votes at each node for the coefficients of the whole scene.
    """
    products, area = sum(moments.products.values()), sum(moments.area_px.values())
    if not isinstance(products, Tensor) or products[0, 0] < FEWEST_PX or moments.low is None or moments.high is None:
        return _prior_alone(moments.grid, len(products) - 1 - bands if isinstance(products, Tensor) else 0, bands)
    features = len(products) - 1 - bands
    count = products[0, 0]
    share = (count / area).item()
    mean, level = products[0, 1 : 1 + features] / count, products[0, 1 + features :] / count
    spread = products[1 : 1 + features, 1:] / count - torch.outer(mean, products[0, 1:] / count)
    scale = spread.diagonal().clamp(min=0).sqrt().clamp(min=FLAT_DB)
    penalty = ridge_share / share * torch.eye(features, dtype=products.dtype)
    gram = spread[:, :features] / torch.outer(scale, scale)
    slopes = torch.linalg.solve(gram + penalty, spread[:, features:] / scale[:, None])
    to_errors = _errors_map(mean, scale, level, slopes)
    shares = {node: sums[0, 0].item() / max(moments.area_px[node], 1e-9) for node, sums in moments.products.items()}
    local = {
        node: _local(to_errors @ sums @ to_errors.T, moments.area_px[node], 1 + features, tie_share)
        for node, sums in moments.products.items()
        if len(moments.products) > 1 and moments.area_px[node] > 0
    }
    return SceneRegression(
        moments.grid,
        mean,
        scale,
        (moments.low - mean) / scale,
        (moments.high - mean) / scale,
        torch.cat([(level * share / (share + prior_share))[None], slopes]),
        local,
        share,
        shares,
    )


def _prior_alone(grid: NodeGrid, features: int, bands: int) -> SceneRegression:
    zeros, ones = torch.zeros(features, dtype=torch.float64), torch.ones(features, dtype=torch.float64)
    nothing = torch.zeros(1 + features, bands, dtype=torch.float64)
    return SceneRegression(grid, zeros, ones, zeros, zeros, nothing, {}, 0.0, {})


def _errors_map(
    mean: Float64[Tensor, " feature"],
    scale: Float64[Tensor, " feature"],
    level: Float64[Tensor, " band"],
    slopes: Float64[Tensor, "feature band"],
) -> Float64[Tensor, "one one"]:
    """The linear map from [1, features, departures] to [1, standardised features, errors of the whole scene's fit]."""
    features, bands = slopes.shape
    map_ = torch.eye(1 + features + bands, dtype=mean.dtype)
    standard = map_[1 : 1 + features]
    standard[:, 1 : 1 + features] /= scale[:, None]
    standard[:, 0] = -mean / scale
    map_[1 + features :, 0] = -level
    map_[1 + features :] -= slopes.T @ standard
    return map_


def _local(
    products: Float64[Tensor, "one one"], area_px: float, known: int, tie_share: float
) -> Float64[Tensor, "one_and_feature band"]:
    gram = products[:known, :known] / area_px + tie_share * torch.eye(known, dtype=products.dtype)
    solved: Tensor = torch.linalg.solve(gram, products[:known, known:] / area_px)
    return solved
