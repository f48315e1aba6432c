"""Default remover: of the removers without training data, the one with the smallest expected error on the scene.

:func:`expected_error` covers clear ground of the scene with clouds, removes them with every candidate and compares the
result with the ground. :class:`AutoRemover` selects the candidate by this error for each scene. :class:`RemoverSpec`
names a remover as on the command line.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from unclouded.clouds.synthetic import PERLIN, simulate
from unclouded.errors import InputError
from unclouded.files import resolved
from unclouded.models.adaptation.predicted_error import CELL_PX, error_of, level_of_error
from unclouded.models.adaptation.radar_features import reused_features
from unclouded.models.adaptation.scene_adapted import AdaptedToScene, SceneAdapted
from unclouded.models.baselines import baseline
from unclouded.models.identity import describe_remover
from unclouded.models.inference import Engine, Precision
from unclouded.models.known import split_code, weights_file
from unclouded.models.loading import load_remover
from unclouded.models.network import NetworkRemover
from unclouded.models.references.remover import AdaptedToReferences, ReferenceRemover
from unclouded.models.remover import CloudRemover, ConfidentRemover, SceneRemover, adapt_per_image, needs_radar
from unclouded.prediction.products import percent_text
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation, finite_pixels
from unclouded.tensors.predictions import require_prediction, window_name


@dataclass(frozen=True)
class RemoverError:
    """Expected error of one remover.

    Attributes:
        mae: Mean absolute error over bands and over the cloudy pixels of the scene, reflectance: that of the covered
            pixels, times the ratio of the predicted errors of cloudy and covered pixels.
        rmse: Root-mean-square error of the covered pixels, times the same ratio.
        sam: Mean spectral angle of the covered pixels, degrees.
        pixels: Covered pixels with a prediction, over which the errors are taken; the errors are NaN if there are none.
    """

    mae: float
    rmse: float
    sam: float
    pixels: int

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio, dB."""
        return -20 * math.log10(self.rmse) if self.rmse != 0 else math.inf


@dataclass(frozen=True)
class ExpectedError:
    """Errors of several removers on covered clear ground of one scene.

    Attributes:
        rows: Errors by name of the remover, in the order of the candidates.
        pixels: Covered pixels.
        bands: Evaluated optical bands.
        simulated: Whether the clouds were simulated, because the scene has none of its own.
        better: Removers that are better than the first one on covered ground; see :func:`expected_error`.
        level: Factor of the predicted errors of ``scene-adapted`` on this scene.
    """

    rows: Mapping[str, RemoverError]
    pixels: int
    bands: tuple[str, ...]
    simulated: bool
    better: tuple[str, ...] = ()
    level: float = 1.0

    def answered_share(self, name: str) -> float:
        """Return the share of the covered pixels for which a remover made a prediction."""
        return self.rows[name].pixels / self.pixels

    @property
    def best(self) -> str | None:
        """Name of the remover with the smallest mean absolute error; the first of equal ones.

        Only removers that predicted at least :data:`MIN_ANSWERED_SHARE` of the covered pixels are compared, because
        predicting only easy pixels gives a small error. None if there is no such remover.
        """
        names = [name for name in self.rows if self.answered_share(name) >= MIN_ANSWERED_SHARE]
        return min(names, key=lambda name: self.rows[name].mae, default=None)

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, with None for NaN."""
        content = asdict(self)
        for row in content["rows"].values():
            row |= {key: None for key, value in row.items() if math.isnan(value)}
        return content


@dataclass(frozen=True, eq=False)
class SelectedRemover:
    """Remover that was selected for a scene, with the reason.

    Attributes:
        remover: Selected remover, adapted to the scene.
        confident: Remover that provides the confidence, whichever remover is selected.
        expected: Expected errors of the candidates; None if the scene has too little clear ground, in which case the
            preferred remover is selected.
        reason: Reason for the selection, a clause.
        references: Adapted remover of other dates that was compared but not selected, if any.
    """

    remover: CloudRemover
    confident: ConfidentRemover
    expected: ExpectedError | None
    reason: str
    references: AdaptedToReferences | None = None

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.remover.name

    @property
    def needs_radar(self) -> bool:
        """False: pixels without radar are predicted by the remover with the confidence."""
        return False

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands of input and output, in this order."""
        return self.remover.bands

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance."""
        return self.with_confidence(observation)[0]

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image as TOA reflectance, and its confidence."""
        if self.remover is self.confident:
            return self.confident.with_confidence(observation)
        prediction = self.remover(observation)
        otherwise, confidence = self.confident.with_confidence(observation)
        if needs_radar(self.remover):
            without_radar = observation.sar.isnan().any(dim=1, keepdim=True)
            prediction = torch.where(without_radar, otherwise, prediction)
        return prediction, confidence.masked_fill(prediction.isnan().any(dim=1, keepdim=True), math.nan)


@dataclass(frozen=True)
class AutoRemover:
    """:class:`~unclouded.models.remover.SceneRemover` that selects a remover by its expected error on the scene.

    Attributes:
        preferred: Remover that is selected unless another one has a clearly smaller error.
        others: Other candidates, for the same bands.
        seed: Seed of the clouds that cover clear ground.
        name: Name in tables.
    """

    preferred: SceneAdapted | ReferenceRemover
    others: tuple[CloudRemover, ...]
    seed: int = 0
    name: str = "auto"
    needs_radar: bool = False
    level: None = None

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands of input and output, in this order."""
        return self.preferred.bands

    @property
    def margin_px(self) -> int:
        """Largest margin of the candidates."""
        others = (one.margin_px for one in self.others if isinstance(one, SceneRemover))
        return max(self.preferred.margin_px, *others, 0)

    @property
    def uses_references(self) -> bool:
        """Whether the preferred remover uses other dates."""
        return isinstance(self.preferred, ReferenceRemover)

    def with_references(self) -> "AutoRemover":
        """Return the selection that prefers a remover which also uses other dates of the place."""
        if isinstance(self.preferred, ReferenceRemover):
            return self
        return replace(
            self,
            preferred=ReferenceRemover(self.bands, fallback=self.preferred),
            others=(self.preferred, *self.others),
        )

    @property
    def align_px(self) -> int:
        """1: windows may start anywhere, because no candidate has a stride."""
        return 1

    def adapt(self, sample: Sequence[Observation]) -> SelectedRemover:
        """Compare the candidates on covered clear ground of the sample; return the best one, adapted to the sample."""
        with reused_features():
            return self._adapt(sample)

    def _adapt(self, sample: Sequence[Observation]) -> SelectedRemover:
        has_radar = any(bool(seen.sar.isfinite().all(dim=1).any()) for seen in sample)
        candidates = (self.preferred, *(one for one in self.others if has_radar or not needs_radar(one)))
        first = self.preferred.adapt(sample)
        expected = expected_error(candidates, sample, np.random.default_rng(self.seed), first)
        if expected is not None and isinstance(first, AdaptedToScene):
            first = replace(first, error_level=expected.level)
        name, reason = select_remover(expected, self.preferred.name)
        if name == self.preferred.name:
            return SelectedRemover(first, first, expected, reason)
        best = next(one for one in self.others if one.name == name)
        chosen, references = adapt_to_sample(best, sample), None
        confident: CloudRemover = first
        if isinstance(first, AdaptedToReferences):  # its confidence is not that of a result without references
            references, confident = first, first.fallback or first
        confident = chosen if isinstance(chosen, ConfidentRemover) else confident
        assert isinstance(confident, ConfidentRemover)
        return SelectedRemover(chosen, confident, expected, reason, references)

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image; every image of a batch is treated as a separate scene."""
        return self.with_confidence(observation)[0]

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image and its confidence; every image of a batch is treated as a separate scene."""
        return adapt_per_image(self, observation)


def select_remover(expected: ExpectedError | None, preferred: str) -> tuple[str, str]:
    """Return the name of the remover to use, and the reason.

    Args:
        expected: Errors on covered clear ground; None if there is too little of it.
        preferred: Remover to use unless another one is better or it predicted too few pixels.
    """
    if expected is None:
        return preferred, f"{preferred} was used: less than {MIN_COVERED_PX} px of clear ground for a comparison"
    left_out = "".join(
        f"; {name} was left out: it predicted {percent_text(expected.answered_share(name))} of them, and "
        f"{percent_text(MIN_ANSWERED_SHARE)} are required"
        for name in expected.rows
        if expected.answered_share(name) < MIN_ANSWERED_SHARE
    )
    on = f"on {expected.pixels:,} covered px of clear ground"
    best, rows = expected.best, expected.rows
    if best is None:
        return preferred, f"{preferred} was used: no remover could be evaluated {on}{left_out}"
    if expected.answered_share(preferred) < MIN_ANSWERED_SHARE:
        return best, f"{best} was used, with a mean error of {rows[best].mae:.4f} {on}{left_out}"
    if best == preferred:
        return best, f"{best} was used: it has the smallest error {on}{left_out}"
    better = [name for name in expected.better if expected.answered_share(name) >= MIN_ANSWERED_SHARE]
    chosen = min(better, key=lambda name: rows[name].mae, default=best)
    less = percent_text(1 - rows[chosen].mae / rows[preferred].mae)
    if better:
        return chosen, f"{chosen} was used: its error is {less} smaller than that of {preferred} {on}{left_out}"
    angle = " and spectral angle" if len(expected.bands) > len(RGB) else ""
    needed = f"with their level removed the difference in error{angle} is within the uncertainty"
    return preferred, f"{preferred} was used: the error of {best} is {less} smaller {on}, but {needed}{left_out}"


def auto_remover(bands: tuple[str, ...] = RGB) -> AutoRemover:
    """Return the default remover: ``scene-adapted``, unless ``clear-mean`` or ``sar-regression`` fits better."""
    return AutoRemover(SceneAdapted(bands), (baseline("clear-mean", bands), baseline("sar-regression", bands)))


# Specification of a remover: a small value that can be sent to other processes, which load the remover themselves.


AUTO = "auto"
"""Name of the automatic selection for each scene; same as no name."""


@dataclass(frozen=True)
class RemoverSpec:
    """Specification of a remover.

    Attributes:
        name: Weights file, ``scene-adapted`` or a baseline; None or ``auto`` selects the best remover without weights
            for each scene.
        bands: Optical bands; None for those of the network, or for red, green and blue without a network.
        device: Device of a network.
        precision: Numerical precision of a network.
        engine: Inference engine of a network.
        identity: Remover that must be found, as JSON text of :func:`~unclouded.models.identity.describe_remover`; None
            for any. Set by :meth:`pinned`.
    """

    name: str | None = None
    bands: tuple[str, ...] | None = None
    device: str = "cpu"
    precision: Precision = "auto"
    engine: Engine = "torch"
    identity: str | None = None

    def pinned(self) -> "RemoverSpec":
        """Return a specification that finds the same remover in any process, or raises.

        Raises:
            InputError: There is no such remover.
        """
        identity = _identity(replace(self, identity=None).find())
        if self.name and (weights := weights_file(self.name)):
            code, _ = split_code(self.name)
            place = str(resolved(weights))  # folders of processes may differ
            return replace(self, name=f"{code}@{place}" if code else place, identity=identity)
        return replace(self, identity=identity)

    def find(self) -> CloudRemover:
        """Return the remover; one with an identity is loaded only once by a process.

        Raises:
            InputError: There is no such remover, it is for other bands, or its identity has changed.
        """
        return self._find() if self.identity is None else _find_pinned(self)

    def _find(self) -> CloudRemover:
        if self.name in (None, AUTO):
            self._require_no_network_options(AUTO)
            return auto_remover(self.bands or RGB)
        remover = load_remover(self.name, self.bands, self.device)
        if isinstance(remover, NetworkRemover):
            return replace(remover, precision=self.precision, engine=self.engine)
        self._require_no_network_options(remover.name)
        return remover

    def _require_no_network_options(self, name: str) -> None:
        for option, given, default in (("--engine", self.engine, "torch"), ("--precision", self.precision, "auto")):
            if given != default:
                raise InputError(
                    f"{option} {given} applies to weights of 'unclouded train' only, found {name}; leave it out"
                )


@lru_cache(maxsize=8)
def _find_pinned(spec: RemoverSpec) -> CloudRemover:
    remover = spec._find()
    if _identity(remover) != spec.identity:
        raise InputError(f"{spec.name} has other weights than at the start; run the command again")
    return remover


def _identity(remover: CloudRemover) -> str:
    description = describe_remover(remover)
    description.pop("precision", None)  # that of "auto" depends on the processor, which may differ between machines
    return json.dumps(description, sort_keys=True)


# Expected error: cover clear ground of the scene with its own clouds, remove them, and compare.


COVERED_SHARE = 1 / 3
"""Share of the clear ground of a window to cover, as closely as the clouds of the scene allow."""

CLOUDS_TRIED = 12
"""Clouds tried on each window."""

MIN_ANSWERED_SHARE = 0.95
"""Share of the covered pixels that a remover has to predict to be compared with others."""

MIN_COVERED_PX = 400
"""Smallest number of covered pixels for an expected error."""

MIN_CELLS = 5
"""Smallest number of cells of covered ground for a comparison of removers."""


def expected_error(
    removers: Sequence[CloudRemover | SceneRemover],
    sample: Sequence[Observation],
    rng: np.random.Generator,
    adapted: CloudRemover | None = None,
) -> ExpectedError | None:
    """Cover part of the clear ground with clouds by Copy (section III-B.4 of the paper), remove them, and compare.

    The clouds are those of the scene with their shadow, taken from elsewhere in the sample, mirrored and shifted; a
    scene without clouds gets simulated Perlin clouds. The removers are adapted to the ground that remains clear.

    A remover is better than the first one if the 95 % interval of the paired difference over cells of 32 px excludes
    zero: of the absolute error and, for more bands than red, green and blue, of the spectral angle; of both as they
    are, and after the mean error of all covered pixels was removed. Haze and shadow change the level of the ground
    between clouds, so that reproducing this level is no evidence of a better prediction under them.

    Args:
        removers: Removers to compare, all for the same bands. Each is adapted to the covered sample.
        sample: Windows of the scene, each a batch of one.
        rng: Random generator that chooses the clouds.
        adapted: The first remover, adapted to the sample as it is; adapted here if omitted.

    Returns:
        Expected errors; None if less than :data:`MIN_COVERED_PX` of clear ground could be covered.
    """
    bands = removers[0].bands
    seen = [one.select(bands) for one in sample]
    simulated = not any(bool(one.is_cloudy.any()) for one in seen)
    found: dict[str, list[_Residuals]] = {remover.name: [] for remover in removers}
    pixels = 0
    for _ in range(repetitions(sum(one.cloud_map.numel() for one in seen))):
        covered = [
            _with_simulated_clouds(one, rng) if simulated else _with_copied_clouds(one, seen, rng) for one in seen
        ]
        hidden = [after.is_cloudy & _is_clear(before) for before, after in zip(seen, covered, strict=True)]
        pixels += sum(int(where.sum()) for where in hidden)
        for remover in removers:
            found[remover.name].append(_residuals(adapt_to_sample(remover, covered), covered, seen, hidden))
    if pixels < MIN_COVERED_PX:
        return None
    joined = {name: _Residuals.joined(each) for name, each in found.items()}
    first = joined[removers[0].name]
    ratio = 1.0 if simulated else _ratio_to_clouds(adapted or adapt_to_sample(removers[0], seen), seen, first)
    rows = {name: one.summary(ratio, pixels) for name, one in joined.items()}
    better = tuple(name for name, one in joined.items() if one is not first and one.is_better_than(first))
    return ExpectedError(rows, pixels, bands, simulated, better, first.level)


WANTED_PX = 500_000
"""Pixels of a sample from which clear ground is covered once; that of smaller ones is covered twice."""


def repetitions(pixels: int) -> int:
    """Return how often clear ground of a sample is covered."""
    return 1 if pixels >= WANTED_PX else 2


@dataclass(frozen=True, eq=False)
class _Residuals:
    """Errors of a remover on covered pixels.

    Attributes:
        error: Prediction minus truth by band, NaN where there is no prediction.
        truth: Observed reflectance by band.
        cell: Number of the cell of each pixel.
        predicted: Predicted error of each pixel; NaN if the remover predicts none.
    """

    error: Float[np.ndarray, "band pixel"]
    truth: Float[np.ndarray, "band pixel"]
    cell: Integer[np.ndarray, " pixel"]
    predicted: Float[np.ndarray, " pixel"]

    @classmethod
    def joined(cls, parts: "Sequence[_Residuals]") -> "_Residuals":
        """Join the covered pixels of several repetitions; their cells are the same."""
        return cls(*(np.concatenate([getattr(one, field.name) for one in parts], axis=-1) for field in fields(cls)))

    @cached_property
    def answered(self) -> Bool[np.ndarray, " pixel"]:
        """Pixels with a prediction."""
        return np.asarray(np.isfinite(self.error).all(axis=0))

    @cached_property
    def level(self) -> float:
        """Factor of the predicted errors."""
        if not np.isfinite(self.predicted).any():
            return 1.0
        known = self.answered & np.isfinite(self.predicted)
        actual = np.abs(self.error[:, known]).mean(axis=0).sum()
        return level_of_error(float(actual), float(self.predicted[known].sum()), int(known.sum()))

    def summary(self, ratio: float, pixels: int) -> RemoverError:
        """Return the mean errors of the pixels with a prediction, times the ratio of cloudy to covered pixels."""
        if not (count := int(self.answered.sum())):
            return RemoverError(math.nan, math.nan, math.nan, 0)
        error = self.error[:, self.answered]
        mae, rmse = float(np.abs(error).mean()), math.sqrt(float(np.square(error).mean()))
        return RemoverError(ratio * mae, ratio * rmse, float(self._angle(0.0)[self.answered].mean()), count)

    def is_better_than(self, other: "_Residuals") -> bool:
        """Return whether all differences to another remover on the same pixels are below zero, see the caller."""
        both = self.answered & other.answered
        if not both.any():
            return False
        differences = []
        for levels in ((0.0, 0.0), (self._mean(both), other._mean(both))):
            differences.append(self._absolute(levels[0]) - other._absolute(levels[1]))
            if len(self.error) > len(RGB):
                differences.append(self._angle(levels[0]) - other._angle(levels[1]))
        return all(_upper_bound(one[both], self.cell[both]) < 0 for one in differences)

    def _mean(self, where: Bool[np.ndarray, " pixel"]) -> Float[np.ndarray, "band 1"]:
        return np.asarray(self.error[:, where].mean(axis=1, keepdims=True))

    def _absolute(self, level: "Float[np.ndarray, 'band 1'] | float") -> Float[np.ndarray, " pixel"]:
        return np.asarray(np.abs(self.error - level).mean(axis=0))

    def _angle(self, level: "Float[np.ndarray, 'band 1'] | float") -> Float[np.ndarray, " pixel"]:
        """Return the spectral angle of each pixel, degrees."""
        prediction = self.truth + self.error - level
        norms = np.linalg.norm(prediction, axis=0) * np.linalg.norm(self.truth, axis=0)
        cosine = (prediction * self.truth).sum(axis=0) / np.maximum(norms, 1e-9)
        return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _upper_bound(values: Float[np.ndarray, " pixel"], cell: Integer[np.ndarray, " pixel"]) -> float:
    """Return the upper end of the 95 % interval of a mean over pixels, whose cells are independent of each other."""
    _, index = np.unique(cell, return_inverse=True)
    total, count = np.bincount(index, values), np.bincount(index)
    if (cells := len(count)) < MIN_CELLS:
        return math.inf
    mean = total.sum() / count.sum()
    deviation = np.square(total - mean * count).sum() * cells / (cells - 1)
    return float(mean + 1.96 * math.sqrt(deviation) / count.sum())


def _residuals(
    adapted: CloudRemover,
    covered: Sequence[Observation],
    seen: Sequence[Observation],
    hidden: Sequence[Bool[Tensor, "1 1 h w"]],
) -> _Residuals:
    """Predict covered windows; missing pixels count against the remover, see :attr:`ExpectedError.best`."""
    errors, truths, cells, predicted = [], [], [], []
    for number, (one, before, where) in enumerate(zip(covered, seen, hidden, strict=True)):
        prediction, expected = _with_predicted_error(adapted, one)
        prediction = require_prediction(prediction, one, adapted.name, window_name(one), complete=False)
        mask = where[0, 0]
        truth = before.cloudy[0][:, mask].float().clamp(0.0, 1.0)
        errors.append((prediction[0][:, mask].float().clamp(0.0, 1.0) - truth).numpy().astype(np.float64))
        truths.append(truth.numpy().astype(np.float64))
        predicted.append(expected[0, 0][mask].numpy().astype(np.float64))
        rows, columns = (axis // CELL_PX for axis in np.nonzero(mask.numpy()))
        cells.append((number << 24) + (rows << 12) + columns)
    return _Residuals(*(np.concatenate(each, axis=-1) for each in (errors, truths, cells, predicted)))


def _with_predicted_error(adapted: CloudRemover, window: Observation) -> tuple[Tensor, Tensor]:
    """Return the prediction of a window and its predicted errors, NaN unless by ``scene-adapted``."""
    if isinstance(adapted, AdaptedToScene):
        prediction, confidence = adapted.with_confidence(window)
        return prediction, error_of(confidence)
    return adapted(window), torch.full_like(window.cloud_map, math.nan)


def _ratio_to_clouds(adapted: CloudRemover, seen: Sequence[Observation], covered: _Residuals) -> float:
    """Return the expected error of cloudy pixels by that of covered ones, 1 unless by ``scene-adapted``.

    The predicted errors say how much harder the cloudy pixels are; with little covered ground their own level counts.
    """
    if not isinstance(adapted, AdaptedToScene):
        return 1.0
    total, pixels = 0.0, 0
    for one in seen:
        if one.is_cloudy.any():
            expected = adapted.predicted_error(one)
            known = one.is_cloudy & expected.isfinite()
            total, pixels = total + expected[known].double().sum().item(), pixels + int(known.sum())
    actual = np.abs(covered.error[:, covered.answered]).mean()
    return covered.level * total / pixels / float(actual) if pixels and actual else 1.0


def adapt_to_sample(remover: CloudRemover | SceneRemover, sample: Sequence[Observation]) -> CloudRemover:
    """Return a remover adapted to a sample; one that cannot be adapted is returned unchanged."""
    return remover.adapt(sample) if isinstance(remover, SceneRemover) else remover


def _is_clear(seen: Observation) -> Bool[Tensor, "1 1 h w"]:
    """Return the clear pixels with optical data and, unless the window has no radar at all, radar data."""
    radar = finite_pixels(seen.sar)
    known = finite_pixels(seen.cloudy) & (radar | ~radar.any())
    return known & ~seen.is_cloudy


def _with_simulated_clouds(seen: Observation, rng: np.random.Generator) -> Observation:
    name = f"{seen.origin_px} {rng.integers(2**31)}"
    simulated = simulate(name, seen.cloudy[0].float().numpy(), seen.bands, PERLIN)
    return replace(
        seen,
        cloudy=torch.from_numpy(simulated.cloudy)[None],
        cloud_map=torch.from_numpy(simulated.cloud_map)[None, None],
    )


def _with_copied_clouds(seen: Observation, sample: Sequence[Observation], rng: np.random.Generator) -> Observation:
    """Copy clouds from elsewhere onto a window: of several, those whose cover is closest to :data:`COVERED_SHARE`."""
    ground = _is_clear(seen)
    alike = [one for one in sample if one.cloudy.shape == seen.cloudy.shape and bool(one.is_cloudy.any())]
    if not alike or not ground.any():
        return seen

    pixels = int(ground.sum())

    def miss(clouds: _ShiftedClouds) -> float:
        return abs(int((clouds.moved(clouds.source.is_cloudy) & ground).sum()) / pixels - COVERED_SHARE)

    return _copy_clouds(seen, min(_shifted_clouds(alike, rng), key=miss).observation())


@dataclass(frozen=True, eq=False)
class _ShiftedClouds:
    """Window of a sample, mirrored along some axes and rolled by some pixels."""

    source: Observation
    mirrored: tuple[int, ...]
    shift: tuple[int, ...]

    def moved(self, image: Tensor) -> Tensor:
        return image.flip(self.mirrored).roll(self.shift, (-2, -1))

    def observation(self) -> Observation:
        return replace(self.source, cloudy=self.moved(self.source.cloudy), cloud_map=self.moved(self.source.cloud_map))


def _shifted_clouds(sample: Sequence[Observation], rng: np.random.Generator) -> Iterator[_ShiftedClouds]:
    """Yield random windows of the sample, mirrored at random and rolled by a third to two thirds of their side."""
    for _ in range(CLOUDS_TRIED):
        one = sample[int(rng.integers(len(sample)))]
        mirrored = tuple(axis for axis in (-2, -1) if rng.random() < 0.5)
        yield _ShiftedClouds(
            one, mirrored, tuple(int(side * rng.uniform(1 / 3, 2 / 3)) for side in one.cloudy.shape[-2:])
        )


def _copy_clouds(seen: Observation, clouds: Observation) -> Observation:
    """Blend clouds into clear ground only: m times the cloud and 1 - m times the ground."""
    over = _is_clear(seen) & finite_pixels(clouds.cloudy)
    m = torch.where(over, clouds.cloud_map, 0.0)
    mixed = torch.where(m > 0, m * clouds.cloudy + (1 - m) * seen.cloudy, seen.cloudy)
    return replace(seen, cloudy=mixed, cloud_map=torch.where(over, m, seen.cloud_map))
