"""Regression of today's bands on other dates: weighted, with gaps filled, linear and smooth terms, held-out errors.

A Gaussian process in weight space. Each reference date is a group of features whose prior variance is 1/e^2 of the
error e that a regression on this date alone makes on held-out blocks of today's clear ground, so that unlike dates
hardly count. The covariance is a linear kernel plus a Gaussian one on landmarks (Nystroem; Rasmussen and Williams 2006,
Gaussian Processes for Machine Learning, 8.1). Gaps of references are filled by their conditional mean under
probabilistic principal components (Tipping and Bishop 1999, J. R. Statist. Soc. B 61).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int16, Int64
from pydantic import Field
from torch import Tensor

from unclouded.settings import Settings

FOLDS = 5
"""Parts into which the blocks of clear ground are divided; each is predicted from the other four."""

FEWEST_PX = 40
"""Clear pixels below which nothing is fitted."""

FLAT = 1e-3
"""Least standard deviation of a feature, so that rounding errors of constant features are not scaled up."""

NO_REFERENCE = -2
"""Source of pixels that no used reference shows."""

ROBUST_ROUNDS = 3
"""Rounds of reweighting pixels by their residuals."""

CHUNK_PX = 8192
"""Pixels that are predicted at once, so that the kernel stays in the cache."""

RADAR_WEIGHT = 0.5
"""Prior variance of a radar feature, as a share of that of a band of the best reference."""

NOISE_FACTORS = (1.0, 8.0, 64.0, 512.0, 4096.0)
"""Factors to the noise that are compared on held-out blocks: neighbours are alike, so many pixels are less evidence."""


class ReferenceRegressionSettings(Settings):
    """Settings of the regression.

    Attributes:
        noise: Variance of the noise, as a share of the prior variance of the linear part.
        landmarks: Pixels whose neighbourhood in feature space has a smooth term of its own; 0 for a linear regression.
        components: Principal components of all dates by which gaps of references are filled.
        kernel_dimensions: Principal directions of the features that the smooth term depends on.
        kernel_width: Length scale of the smooth term, as a share of the root-mean-square norm of the features.
        outlier: Multiple of the median held-out error at which a clear pixel counts half, because its ground changed or
            a cloud was missed.
        weight_power: Power of the inverse error that is a date's prior variance.
        unrelated: A date is left out if its held-out error is more than this share of the error without it.
        most_dates: Dates that are used at most, those of smallest held-out error.
    """

    noise: float = Field(0.03, gt=0.0, le=100.0)
    landmarks: int = Field(256, ge=0, le=4096)
    components: int = Field(20, ge=1, le=200)
    kernel_dimensions: int = Field(16, ge=1, le=1000)
    kernel_width: float = Field(1.0, gt=0.0, le=100.0)
    outlier: float = Field(4.0, gt=0.0, le=1e6)
    weight_power: float = Field(2.0, ge=0.0, le=8.0)
    unrelated: float = Field(0.95, gt=0.0, le=10.0)
    most_dates: int = Field(12, ge=1, le=1000)


DEFAULT = ReferenceRegressionSettings()


@dataclass(frozen=True, eq=False)
class PixelSample:
    """Pixels of a scene in columns.

    Attributes:
        groups: Features of each reference, one group a date; NaN in all bands of a group where it has a gap.
        radar: Features of radar, as many as there are, or none; NaN where there are no data.
        values: Today's reflectance; NaN where today is cloudy. Pixels without it help to fill gaps.
        fold: Part of each pixel, 0 to :data:`FOLDS` - 1; the same for whole blocks.
        position: Row and column of each pixel in the scene.
    """

    groups: tuple[Float64[Tensor, "band pixel"], ...]
    radar: Float64[Tensor, "feature pixel"]
    values: Float64[Tensor, "band pixel"]
    fold: Int64[Tensor, " pixel"]
    position: Int64[Tensor, "2 pixel"]

    @property
    def is_clear(self) -> Bool[Tensor, " pixel"]:
        """Pixels with today's reflectance."""
        return self.values.isfinite().all(dim=0)

    @property
    def present(self) -> Bool[Tensor, "group pixel"]:
        """Which references, and radar (last), each pixel has."""
        there = [group[0].isfinite() for group in self.groups]
        radar = self.radar[0].isfinite() if len(self.radar) else torch.zeros_like(self.fold, dtype=torch.bool)
        return torch.stack([*there, radar])

    def at(self, where: Bool[Tensor, " pixel"] | Int64[Tensor, " chosen"]) -> "PixelSample":
        """Return some of the pixels."""
        groups = tuple(group[:, where] for group in self.groups)
        return PixelSample(
            groups, self.radar[:, where], self.values[:, where], self.fold[where], self.position[:, where]
        )


@dataclass(frozen=True, eq=False)
class DateError:
    """Held-out mean absolute error of a regression on one date.

    Attributes:
        error: Error of the regression on the date and radar; NaN if too little ground is clear on both dates.
        without: Error without the date, from radar and the mean of clear ground, on the same pixels.
        pixels: Pixels that are clear on both dates.
    """

    error: float
    without: float
    pixels: int

    @property
    def ratio(self) -> float:
        """Error relative to that without the date; NaN if unknown."""
        return self.error / self.without if self.without > 0 else math.nan


@dataclass(frozen=True, eq=False)
class Standard:
    """Centre and scale of features.

    Attributes:
        centre: Mean of each feature.
        scale: Standard deviation, at least :data:`FLAT`.
    """

    centre: Float64[Tensor, "feature 1"]
    scale: Float64[Tensor, "feature 1"]

    @classmethod
    def of(cls, features: Float64[Tensor, "feature pixel"]) -> "Standard":
        """Return those of features with NaN for gaps; (0, 1) of a feature without any value."""
        known = features.isfinite()
        count = known.sum(dim=1, keepdim=True)
        filled = torch.where(known, features, 0.0)
        centre = filled.sum(dim=1, keepdim=True) / count.clamp(min=1)
        square = torch.where(known, (features - centre).square(), 0.0).sum(dim=1, keepdim=True)
        scale = (square / count.clamp(min=1)).sqrt()
        return cls(centre, torch.where(count > 0, scale.clamp(min=FLAT), 1.0))

    def __call__(self, features: Float[Tensor, "feature pixel"]) -> Float[Tensor, "feature pixel"]:
        """Return standardised features of the type of the input."""
        return (features - self.centre.to(features.dtype)) / self.scale.to(features.dtype)


@dataclass(frozen=True, eq=False)
class GapFiller:
    """Conditional means of groups of features with gaps, by principal components.

    Attributes:
        loadings: Components, scaled by their standard deviations.
        noise: Variance of a feature that no component explains.
        group_of: Group of each feature.
    """

    loadings: Float64[Tensor, "feature component"]
    noise: float
    group_of: Int64[Tensor, " feature"]

    @classmethod
    def fit(
        cls,
        features: Float64[Tensor, "feature pixel"],
        present: Bool[Tensor, "group pixel"],
        group_of: Int64[Tensor, " feature"],
        components: int,
        rounds: int = 6,
    ) -> "GapFiller":
        """Alternate between components of the filled features and filling by components.

        Args:
            features: Standardised features; any value in gaps.
            present: Which groups each pixel has.
            group_of: Group of each feature.
            components: Number of components, at most half the features.
            rounds: Number of alternations.
        """
        known = present[group_of]
        filled = torch.where(known, features, 0.0)
        rank = max(1, min(components, len(features) // 2))
        filler = cls(torch.zeros(len(features), 0, dtype=features.dtype), 1.0, group_of)
        for _ in range(rounds):
            values, vectors = torch.linalg.eigh(filled @ filled.T / max(filled.shape[1], 1))
            noise = max(values[:-rank].clamp(min=0).mean().item(), 1e-3) if len(values) > rank else 1e-3
            scale = (values[-rank:] - noise).clamp(min=0).sqrt()
            filler = cls(vectors[:, -rank:] * scale, noise, group_of)
            if bool(known.all()):
                break
            filled = filler(filled, present)
        return filler

    def __call__(
        self, features: Float[Tensor, "feature pixel"], present: Bool[Tensor, "group pixel"]
    ) -> Float[Tensor, "feature pixel"]:
        """Return features whose gaps are filled, of the type of the input; values in gaps are not used."""
        filled = features.clone()
        for pattern, where in patterns(present):
            if not bool(pattern.all()):
                known = pattern[self.group_of]
                some = filled[:, where]
                some[~known] = self.operator(known).to(some.dtype) @ some[known]
                filled[:, where] = some
        return filled

    def operator(self, known: Bool[Tensor, " feature"]) -> Float64[Tensor, "missing known"]:
        """Return the matrix from known to missing features."""
        there = self.loadings[known]
        solved: Tensor = torch.linalg.solve(self._precision(there), there.T)
        return self.loadings[~known] @ solved

    def _precision(self, there: Float64[Tensor, "known component"]) -> Float64[Tensor, "component component"]:
        return there.T @ there + self.noise * torch.eye(there.shape[1], dtype=there.dtype)

    def variance(
        self, slopes: Float64[Tensor, "feature band"], pattern: Bool[Tensor, " group"]
    ) -> Float64[Tensor, " band"]:
        """Return the variance that filling the gaps of a pattern adds to a linear prediction.

        Args:
            slopes: Prediction by feature.
            pattern: Groups that are present.
        """
        known = pattern[self.group_of]
        effect = self.loadings[~known].T @ slopes[~known]
        solved: Tensor = torch.linalg.solve(self._precision(self.loadings[known]), effect)
        return self.noise * ((effect * solved).sum(dim=0) + slopes[~known].square().sum(dim=0))


def patterns(present: Bool[Tensor, "group pixel"]) -> Iterator[tuple[Bool[Tensor, " group"], Int64[Tensor, " some"]]]:
    """Yield every combination of groups that occurs, and the positions of its pixels."""
    if not len(present) and present.shape[1]:
        yield torch.zeros(0, dtype=torch.bool), torch.arange(present.shape[1])
    if not present.numel():
        return
    if len(present) < 62:
        codes = (present.long() << torch.arange(len(present))[:, None]).sum(dim=0)
        found, which, counts = torch.unique(codes, return_inverse=True, return_counts=True)
        unique = (found[None] >> torch.arange(len(present))[:, None]) & 1 == 1
    else:
        unique, which, counts = torch.unique(present, dim=1, return_inverse=True, return_counts=True)
    positions = which.argsort(stable=True).split(counts.tolist())
    yield from zip(unique.T, positions, strict=True)


@dataclass(frozen=True, eq=False)
class SmoothTerm:
    """Gaussian kernel between pixels and landmarks, on principal directions of the weighted features.

    Attributes:
        directions: Projections of standardised features: orthonormal directions of the weighted ones, and the weights.
        landmarks: Coordinates of the landmarks.
        width: Length scale.
    """

    directions: Float64[Tensor, "feature direction"]
    landmarks: Float64[Tensor, "direction landmark"]
    width: float

    def __call__(self, features: Float[Tensor, "feature pixel"]) -> Float[Tensor, "landmark pixel"]:
        """Return the kernel between the landmarks and pixels, of the type of the input."""
        return self.kernel(self.projection.T.to(features.dtype) @ features)

    @property
    def projection(self) -> Float64[Tensor, "feature direction"]:
        """Directions in units of the length scale."""
        return self.directions / self.width

    def kernel(self, at: Float[Tensor, "direction pixel"]) -> Float[Tensor, "landmark pixel"]:
        """Return the kernel between the landmarks and projected pixels, of the type of the input."""
        marks = (self.landmarks / self.width).to(at.dtype)
        exponent = torch.addmm(0.5 * marks.square().sum(dim=0)[:, None], marks.T, at, beta=-1.0)
        return exponent.sub_(0.5 * at.square().sum(dim=0)).clamp_(max=0.0).exp_()

    def whitening(self) -> Float64[Tensor, "landmark landmark"]:
        """Return the matrix by which kernel values become features of unit prior variance."""
        gram = torch.exp(-torch.cdist(self.landmarks.T, self.landmarks.T).square() / (2 * self.width**2))
        root = torch.linalg.cholesky(gram + 1e-6 * torch.eye(len(gram), dtype=gram.dtype))
        solved: Tensor = torch.linalg.solve_triangular(root, torch.eye(len(gram), dtype=gram.dtype), upper=False)
        return solved


@dataclass(frozen=True, eq=False)
class RegressedPixels:
    """Predictions of a :class:`ReferenceRegression`.

    Attributes:
        values: Reflectance; NaN where none was asked for.
        error: Expected mean absolute error over bands.
        source: Position of the best reference that a pixel has; :data:`NO_REFERENCE` if it has none.
    """

    values: Float[Tensor, "band pixel"]
    error: Float[Tensor, " pixel"]
    source: Int16[Tensor, " pixel"]


@dataclass(frozen=True, eq=False)
class ReferenceRegression:
    """Today's bands from other dates and radar.

    Attributes:
        used: Positions of the references that are used, by increasing held-out error.
        dates: Held-out errors of all references, each by itself.
        weights: Prior variance of the used references, relative to the best.
        has_radar: Whether radar is used.
        standard: Centre and scale of the features.
        filler: Fills gaps of references.
        level: Mean of today's clear ground, to which predictions shrink.
        slopes: Linear part, from standardised features.
        smooth: Smooth part; None if there is none.
        coefficients: Of the smooth part, by landmark.
        error: Held-out error by band, all references present.
        error_without: Held-out error by band from radar and the mean of clear ground.
        noise: Noise that held-out errors chose.
        pixels: Clear pixels that were fitted.
        without: Regression without references, on radar and the mean of clear ground; None if this is it.
    """

    used: tuple[int, ...]
    dates: tuple[DateError, ...]
    weights: tuple[float, ...]
    has_radar: bool
    standard: Standard
    filler: GapFiller
    level: Float64[Tensor, "band 1"]
    slopes: Float64[Tensor, "feature band"]
    smooth: SmoothTerm | None
    coefficients: Float64[Tensor, "landmark band"]
    error: Float64[Tensor, " band"]
    error_without: Float64[Tensor, " band"]
    noise: float
    pixels: int
    without: "ReferenceRegression | None" = None

    def __call__(
        self,
        groups: Sequence[Float[Tensor, "band pixel"]],
        radar: Float[Tensor, "feature pixel"],
        present: Bool[Tensor, "group pixel"],
        at: Int64[Tensor, " some"] | None = None,
    ) -> RegressedPixels:
        """Return predictions in the type of the input.

        Args:
            groups: Bands of all references, used or not; any values in gaps.
            radar: Features of radar; any values where there are no data.
            present: Which references, and radar (last), each pixel has.
            at: Pixels to predict; all if omitted.
        """
        chosen = [*(groups[i] for i in self.used), *([radar] if self.has_radar else [])]
        rows = [*self.used, *([len(groups)] if self.has_radar else [])]
        pixels, dtype = radar.shape[1], radar.dtype
        at = torch.arange(pixels) if at is None else at
        values = torch.full((len(self.level), pixels), math.nan, dtype=dtype)
        error, source = torch.full((pixels,), math.nan, dtype=dtype), torch.full((pixels,), NO_REFERENCE).short()
        for pattern, where in patterns(present[rows][:, at]):
            some, known = at[where], pattern.nonzero().flatten().tolist()
            matrix, constant = (each.to(dtype) for each in self._operator(pattern[self.filler.group_of]))
            for part in torch.split(some, CHUNK_PX):
                x = torch.cat([radar[:0, part], *(chosen[k].index_select(1, part) for k in known)])
                values.index_copy_(1, part, self._combined(torch.addmm(constant, matrix, x)))
            error[some] = float(self.expected_error(pattern).mean())
            best = next((self.used[k] for k in known if k < len(self.used)), NO_REFERENCE)
            source[some] = best
        return RegressedPixels(values, error, source)

    def _operator(
        self, known: Bool[Tensor, " feature"]
    ) -> tuple[Float64[Tensor, "output known"], Float64[Tensor, "output 1"]]:
        """Matrix and constant from known features, not standardised, to linear prediction and projected features."""
        outputs = self.slopes if self.smooth is None else torch.cat([self.slopes, self.smooth.projection], dim=1)
        folded = outputs[known]
        if not bool(known.all()):
            folded = folded + self.filler.operator(known).T @ outputs[~known]
        matrix = (folded / self.standard.scale[known]).T
        constant = -matrix @ self.standard.centre[known]
        constant[: len(self.level)] += self.level
        return matrix, constant

    def _combined(self, outputs: Float[Tensor, "output pixel"]) -> Float[Tensor, "band pixel"]:
        if self.smooth is None:
            return outputs
        bands = len(self.level)
        return torch.addmm(outputs[:bands], self.coefficients.T.to(outputs.dtype), self.smooth.kernel(outputs[bands:]))

    def expected_error(self, pattern: Bool[Tensor, " group"]) -> Float64[Tensor, " band"]:
        """Return the error by band where some of the used references, or radar, are missing.

        Between the held-out errors with all of them and without any, in proportion to the variance that the missing
        groups leave open.

        Args:
            pattern: Which used references, and radar last if used, are present.
        """
        if not self.used or bool(pattern.all()):
            return self.error
        none = pattern.clone()
        none[: len(self.used)] = False
        left_open, most = (self.filler.variance(self.slopes, each) for each in (pattern, none))
        open_share = left_open / most.clamp(min=1e-12)
        squares = self.error.square(), self.error_without.square()
        return (squares[0] + open_share.clamp(0.0, 1.0) * (squares[1] - squares[0]).clamp(min=0)).sqrt()


def fit_references(
    sample: PixelSample, settings: ReferenceRegressionSettings = DEFAULT, generator: torch.Generator | None = None
) -> ReferenceRegression | None:
    """Fit today's bands to the references and radar of a sample of pixels.

    Args:
        sample: Pixels, clear and cloudy.
        settings: Settings of the regression.
        generator: Chooses the landmarks; seed 0 if omitted.

    Returns:
        The regression; None if fewer than :data:`FEWEST_PX` pixels are clear today.
    """
    clear = sample.is_clear
    if int(clear.sum()) < FEWEST_PX:
        return None
    seen = sample.at(clear)
    has_radar = bool(seen.radar.isfinite().any()) and bool((Standard.of(seen.radar).scale > FLAT).any())
    dates = tuple(date_error(seen, k, has_radar, settings.outlier) for k in range(len(sample.groups)))
    order = sorted((k for k, one in enumerate(dates) if one.ratio < settings.unrelated), key=lambda k: dates[k].ratio)
    used = tuple(order[: settings.most_dates])
    best = dates[used[0]].ratio if used else 1.0
    weights = tuple((max(best, 1e-3) / max(dates[k].ratio, 1e-3)) ** settings.weight_power for k in used)
    without = _fitted(sample, (), (), dates, has_radar, settings, generator)
    return _fitted(sample, used, weights, dates, has_radar, settings, generator, without) if used else without


def date_error(seen: PixelSample, group: int, has_radar: bool, outlier: float) -> DateError:
    """Return the held-out error of a regression on one date and radar, and without the date.

    Args:
        seen: Clear pixels.
        group: Position of the date.
        has_radar: Whether radar is a feature too.
        outlier: Distance of outliers, see :func:`cauchy_weights`.
    """
    common = seen.groups[group].isfinite().all(dim=0)
    pixels = int(common.sum())
    if pixels < FEWEST_PX or _folds(seen.fold[common]) < 2:
        return DateError(math.nan, math.nan, pixels)
    there = seen.at(common)
    radar = [_without_gaps(there.radar)] if has_radar else []
    errors = [
        _ridge_error(torch.cat(parts) if parts else there.values[:0], there.values, there.fold, outlier)
        for parts in ([there.groups[group], *radar], radar)
    ]
    return DateError(errors[0], errors[1], pixels)


def _folds(fold: Int64[Tensor, " pixel"]) -> int:
    return int(torch.bincount(fold).count_nonzero())


def _without_gaps(features: Float64[Tensor, "feature pixel"]) -> Float64[Tensor, "feature pixel"]:
    return Standard.of(features)(features).nan_to_num(0.0)


def _ridge_error(
    features: Float64[Tensor, "feature pixel"],
    values: Float64[Tensor, "band pixel"],
    fold: Int64[Tensor, " pixel"],
    outlier: float,
    ridge: float = 3e-3,
) -> float:
    """Mean absolute error of held-out folds, from weighted moments of the others; outliers are limited."""
    joined = torch.cat([torch.ones_like(values[:1]), Standard.of(features)(features)])
    penalty = torch.full((len(joined),), ridge * values.shape[1], dtype=values.dtype)
    penalty[0] = 0.0
    weights = torch.ones_like(values[0])
    for _ in range(ROBUST_ROUNDS):
        slopes = torch.linalg.solve((joined * weights) @ joined.T + penalty.diag(), (joined * weights) @ values.T)
        weights = cauchy_weights(values - slopes.T @ joined, outlier)
    folds = [fold == k for k in range(FOLDS)]
    parts = [(joined[:, k], joined[:, k] * weights[k]) for k in folds]
    grams = [weighted @ part.T for part, weighted in parts]
    crosses = [weighted @ values[:, k].T for (_, weighted), k in zip(parts, folds, strict=True)]
    gram, cross = torch.stack(grams).sum(dim=0), torch.stack(crosses).sum(dim=0)
    errors = []
    for (part, _), k, own_gram, own_cross in zip(parts, folds, grams, crosses, strict=True):
        slopes = torch.linalg.solve(gram - own_gram + penalty.diag(), cross - own_cross)
        errors.append((values[:, k] - slopes.T @ part).abs().mean(dim=0))
    return limited(torch.cat(errors)[None], outlier).mean().item()


def _fitted(
    sample: PixelSample,
    used: tuple[int, ...],
    weights: tuple[float, ...],
    dates: tuple[DateError, ...],
    has_radar: bool,
    settings: ReferenceRegressionSettings,
    generator: torch.Generator | None,
    without: ReferenceRegression | None = None,
) -> ReferenceRegression:
    """Fit the references ``used`` and radar; ``without`` is the regression without references."""
    chosen = [*(sample.groups[k] for k in used), *([sample.radar] if has_radar else [])]
    features = torch.cat([*chosen, sample.values[:0]])
    sizes = torch.tensor([len(group) for group in chosen], dtype=torch.int64)
    group_of = torch.repeat_interleave(torch.arange(len(chosen)), sizes)
    clear = sample.is_clear
    standard = Standard.of(features[:, clear])
    z = standard(features)
    present = sample.present[[*used, *([len(sample.groups)] if has_radar else [])]]
    filler = GapFiller.fit(z, present, group_of, settings.components) if chosen else _NO_FILLER
    variance = torch.tensor([*weights, *([RADAR_WEIGHT] if has_radar else [])], dtype=z.dtype)[group_of]
    scale = (variance / variance.sum().clamp(min=1e-12)).sqrt()[:, None]
    x = filler(z[:, clear], present[:, clear])
    y, fold = sample.values[:, clear], sample.fold[clear]
    smooth = _smooth_term(x, scale, settings, generator) if used and settings.landmarks else None
    design, back = _design(x, scale, smooth)
    noise, left = _choose_noise(design, y, fold, settings.noise)
    trust = cauchy_weights(left, settings.outlier)
    for _ in range(1, ROBUST_ROUNDS):
        left = _held_out(design, y, fold, noise, trust)
        trust = cauchy_weights(left, settings.outlier)
    level, solved = _solve(design, y, noise, trust)
    solved = back @ solved
    error = limited(left.abs(), settings.outlier).mean(dim=1)
    return ReferenceRegression(
        used, dates, weights, has_radar, standard, filler, level, solved[: len(x)], smooth, solved[len(x) :], error,
        error if without is None else without.error, noise, x.shape[1], without,
    )  # fmt: skip


_NO_FILLER = GapFiller(torch.zeros(0, 0, dtype=torch.float64), 1.0, torch.zeros(0, dtype=torch.int64))


def _smooth_term(
    features: Float64[Tensor, "feature pixel"],
    scale: Float64[Tensor, "feature 1"],
    settings: ReferenceRegressionSettings,
    generator: torch.Generator | None,
) -> SmoothTerm:
    chooser = generator or torch.Generator().manual_seed(0)
    marks = torch.randperm(features.shape[1], generator=chooser)[: settings.landmarks].sort().values
    weighted = features * scale
    _, vectors = torch.linalg.eigh(weighted @ weighted.T)
    directions = vectors[:, -settings.kernel_dimensions :]
    return SmoothTerm(directions * scale, directions.T @ weighted[:, marks], settings.kernel_width)


def _design(
    features: Float64[Tensor, "feature pixel"], scale: Float64[Tensor, "feature 1"], smooth: SmoothTerm | None
) -> tuple[Float64[Tensor, "term pixel"], Float64[Tensor, "term term"]]:
    """Return terms of unit prior variance, and the matrix from their coefficients to those of features and kernels."""
    if smooth is None:
        return features * scale, scale.flatten().diag()
    whitening, first = smooth.whitening(), len(features)
    back = torch.zeros(first + len(whitening), first + len(whitening), dtype=features.dtype)
    back[:first, :first], back[first:, first:] = scale.flatten().diag(), whitening.T
    return torch.cat([features * scale, whitening @ smooth(features)]), back


def _solve(
    design: Float64[Tensor, "term pixel"],
    values: Float64[Tensor, "band pixel"],
    noise: float,
    trust: Float64[Tensor, " pixel"],
) -> tuple[Float64[Tensor, "band 1"], Float64[Tensor, "term band"]]:
    """Return level and coefficients of a weighted ridge regression."""
    total = trust.sum()
    level = (values * trust).sum(dim=1, keepdim=True) / total
    centre = (design * trust).sum(dim=1, keepdim=True) / total
    shifted = design - centre
    gram = (shifted * trust) @ shifted.T
    gram.diagonal().add_(noise)
    solved: Tensor = torch.linalg.solve(gram, (shifted * trust) @ (values - level).T)
    return level - solved.T @ centre, solved


def _choose_noise(
    design: Float64[Tensor, "term pixel"],
    values: Float64[Tensor, "band pixel"],
    fold: Int64[Tensor, " pixel"],
    noise: float,
) -> tuple[float, Float64[Tensor, "band pixel"]]:
    """Return the noise with the smallest held-out error, and the held-out residuals."""
    even = torch.ones_like(values[0])
    if len(design) == 0:
        return noise, _held_out(design, values, fold, noise, even)
    tried = {factor: _held_out(design, values, fold, noise * factor, even) for factor in NOISE_FACTORS}
    best = min(tried, key=lambda factor: tried[factor].abs().mean().item())
    return noise * best, tried[best]


def _held_out(
    design: Float64[Tensor, "term pixel"],
    values: Float64[Tensor, "band pixel"],
    fold: Int64[Tensor, " pixel"],
    noise: float,
    trust: Float64[Tensor, " pixel"],
) -> Float64[Tensor, "band pixel"]:
    """Return the residuals of each fold, predicted from the others; in-sample ones where there is one fold."""
    if _folds(fold) < 2:
        level, solved = _solve(design, values, noise, trust)
        return values - level - solved.T @ design
    left = torch.empty_like(values)
    for k in range(FOLDS):
        held = fold == k
        if bool(held.any()):
            level, solved = _solve(design[:, ~held], values[:, ~held], noise, trust[~held])
            left[:, held] = values[:, held] - level - solved.T @ design[:, held]
    return left


def limited(errors: Float64[Tensor, "band pixel"], outlier: float) -> Float64[Tensor, "band pixel"]:
    """Return absolute errors, limited to twice the distance of outliers, so that missed clouds do not rule means."""
    return torch.minimum(errors, 2 * outlier * errors.median(dim=1, keepdim=True).values)


def cauchy_weights(residuals: Float64[Tensor, "band pixel"], outlier: float) -> Float64[Tensor, " pixel"]:
    """Return weights of pixels by their residuals: Cauchy's, which are a half at the outlier's distance.

    Args:
        residuals: Observed minus predicted.
        outlier: Distance in medians of the residuals' norms.
    """
    size = (residuals / residuals.abs().median(dim=1, keepdim=True).values.clamp(min=1e-5)).square().mean(dim=0).sqrt()
    return 1 / (1 + (size / (outlier * size.median().clamp(min=1e-9))).square())
