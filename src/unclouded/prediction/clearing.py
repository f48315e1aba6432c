"""Cloud removal line by line: adapt the remover to a sample, predict the cloudy windows, compose them with the input.

:func:`read_sample` and :func:`adapt_removers` fit the removers to the scene. :func:`remove_clouds` then works from top
to bottom in lines of windows; only windows with clouds are passed to the remover, cropped to their cloudy part with a
margin. :func:`compose` stores the prediction in the integers of the input; :func:`spread` is its uncertainty, unless
the removers estimate one.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Integer, UInt8
from torch import Tensor
from torch.nn import functional as F

from unclouded.io.strips import row_ranges
from unclouded.models.baselines import Baseline
from unclouded.models.remover import (
    RIM,
    CloudRemover,
    ConfidentRemover,
    FunctionRemover,
    SceneRemover,
    UncertainRemover,
    keep_clear_pixels,
    needs_radar,
)
from unclouded.prediction.cloud_mapping import SceneMap
from unclouded.prediction.products import (
    UNKNOWN_PERCENT,
    UNKNOWN_STEPS,
    Provenance,
    classify_provenance,
    encode_confidence,
    encode_uncertainty,
)
from unclouded.prediction.references import adapted_to_references
from unclouded.prediction.sources import SceneRows, Sources
from unclouded.prediction.tiling import (
    Strip,
    StripCheckpoint,
    Window,
    bounding_window,
    prefetch,
    sample_windows,
    windows_in,
)
from unclouded.progress import ProgressCallback
from unclouded.sentinel.radiometry import Radiometry
from unclouded.tensors.observation import Observation
from unclouded.tensors.predictions import require_confidence, require_deviation, require_prediction, window_name

UNKNOWN_REACH_PX = 88
"""Margin around the windows of a remover without ``margin_px``: the receptive field of the networks."""

LOSSES = ("no_data_optical", "no_data_radar", "no_data_remover", "radar_gaps")
"""Names of the pixel counts of a line.

The first three count pixels of the result without data, by cause: no optical band has a value; cloudy and without the
radar that the remover needs; the remover returned NaN. The last one counts all pixels without radar data.
"""

Statistics = Literal["scene", "window"]
"""Images that a remover is adapted to: the scene or, as in the paper, each window separately.

Statistics of single windows differ between neighbours, so that seams show; those of the scene are the same everywhere.
"""


@dataclass(frozen=True, eq=False)
class WindowPrediction:
    """Prediction of a window.

    Attributes:
        image: Clear image, reflectance; NaN where there is none.
        confidence: 0 a guess, 1 as good as observed; None if the remover has none.
        source: Position of the reference with the largest weight, negative for none; None without references.
        deviation: Standard deviation, reflectance; None if it was not requested.
    """

    image: Tensor
    confidence: Tensor | None = None
    source: Tensor | None = None
    deviation: Tensor | None = None


@dataclass(frozen=True, eq=False)
class AdaptedEnsemble:
    """Removers adapted to one scene; the first one predicts the image.

    Attributes:
        removers: One remover, or several with different weights for the uncertainty.
        margin_px: Pixels around a window that affect its result.
        align_px: Multiple at which windows start.
        statistics: Images that the removers are adapted to.
        uncertainty: Whether to compute the standard deviation of the ensemble.
    """

    removers: tuple[CloudRemover, ...]
    margin_px: int
    align_px: int
    statistics: Statistics
    uncertainty: bool

    @property
    def repeats_input(self) -> bool:
        """Whether the first remover returns the cloudy image itself, in which no missing band may be filled."""
        return isinstance(first := self.removers[0], Baseline) and first.repeats_input

    @property
    def needs_radar(self) -> bool:
        """Whether any of the removers predicts only pixels with radar."""
        return any(needs_radar(one) for one in self.removers)

    @property
    def has_confidence(self) -> bool:
        """Whether the first remover returns a confidence."""
        return isinstance(self.removers[0], ConfidentRemover)

    def predict(self, observation: Observation) -> WindowPrediction:
        """Return the prediction of the first remover for a window, without uncertainty.

        Raises:
            InputError: The remover returned no valid image of the window.
        """
        first, place = self.removers[0], window_name(observation)
        selected = observation.select(first.bands)
        confidence = source = None
        if (adapted := adapted_to_references(first)) is not None:
            answer = adapted.predict(observation)
            image, confidence, source = answer.clear, answer.confidence, answer.source
        elif isinstance(first, ConfidentRemover):
            image, confidence = first.with_confidence(observation)
        else:
            image = first(observation)
        image = require_prediction(image, selected, first.name, place, complete=False)
        if confidence is not None:
            confidence = require_confidence(confidence, selected, first.name, place)
        return WindowPrediction(image, confidence, source)

    def predict_with_deviation(self, observation: Observation) -> WindowPrediction:
        """Return the prediction of the first remover for a window, with the uncertainty.

        The uncertainty is a standard deviation, reflectance. Where all removers estimate one, it is that of the mixture
        of their distributions (Lakshminarayanan et al. 2017, section 2.4): the mean of their variances plus the
        variance of their means. Otherwise it is :func:`spread`.

        Raises:
            InputError: A remover returned no valid image of the window.
        """
        place, members = window_name(observation), []
        for one in self.removers:
            estimate = one.with_uncertainty(observation) if isinstance(one, UncertainRemover) else (None, None)
            if estimate[0] is None or estimate[1] is None:
                deviation = spread(self.removers, observation, self.align_px)
                return replace(self.predict(observation), deviation=deviation)
            selected = observation.select(one.bands)
            prediction = require_prediction(estimate[0], selected, one.name, place, complete=False)
            members.append((prediction, require_deviation(estimate[1], prediction, one.name, place)))
        means, deviations = (torch.stack(each) for each in zip(*members, strict=True))
        total = (deviations.square().mean(dim=0) + means.var(dim=0, correction=0)).sqrt()
        confidence = self.predict(observation).confidence if self.has_confidence else None
        return WindowPrediction(members[0][0], confidence, deviation=total)


def adapt_per_window(remover: SceneRemover) -> CloudRemover:
    """Return a remover that adapts to every window separately, as the instance norms of the paper do; seams show."""
    return FunctionRemover(
        remover.name, remover.bands, lambda window: remover.adapt([window])(window), needs_radar(remover)
    )


def read_sample(
    sources: Sources, scene_map: SceneMap, bands: tuple[str, ...], *, needs_radar: bool = True
) -> list[Observation]:
    """Read the windows that a remover is adapted to, without those that lack optical data, or radar if it is needed."""
    known = scene_map.everywhere(scene_map.has_data)
    # Where no pixel has all bands and a known m, a remover can only be adapted to the pixels to predict.
    all_unknown = not known.any()
    chosen = sample_windows(scene_map.everywhere(scene_map.seen) if all_unknown else known)
    by_rows: dict[tuple[int, int], list[Window]] = {}
    for window in chosen:
        by_rows.setdefault((window.top, window.bottom), []).append(window)
    sample = []
    for (top, bottom), windows in by_rows.items():
        rows = sources.rows(top, bottom, bands).result()
        seen = scene_map.seen(top, bottom) if all_unknown else None
        usable, cloud_map = rows.optical if seen is None else seen, scene_map.cloud_map(top, bottom)
        usable = usable & rows.radar if needs_radar else usable
        sample += [
            rows.observation(each, cloud_map, seen) for each in windows if usable[each.within(rows.window)].any()
        ]
    return sample


def adapt_removers(
    removers: Sequence[CloudRemover], sample: Sequence[Observation], statistics: Statistics, *, uncertainty: bool
) -> AdaptedEnsemble:
    """Adapt removers to a scene.

    Args:
        removers: One or several removers.
        sample: Windows of the scene.
        statistics: Images to adapt them to.
        uncertainty: Whether to compute the standard deviation of the ensemble.
    """
    adapted = []
    for remover in removers:
        if not isinstance(remover, SceneRemover):
            adapted.append(remover)
        elif statistics == "window":
            adapted.append(adapt_per_window(remover))
        else:
            adapted.append(remover.adapt(sample))
    scene_removers = [remover for remover in removers if isinstance(remover, SceneRemover)]
    margin = max([one.margin_px for one in scene_removers], default=UNKNOWN_REACH_PX)
    align = int(np.lcm.reduce([one.align_px for one in scene_removers] or [4]))
    return AdaptedEnsemble(tuple(adapted), margin, align, statistics, uncertainty)


def remove_clouds(
    sources: Sources,
    scene_map: SceneMap,
    ensemble: AdaptedEnsemble | None,
    bands: tuple[str, ...],
    window_px: int,
    store: StripCheckpoint,
    on_progress: ProgressCallback,
) -> list[int]:
    """Remove the clouds of a scene, one line of windows after the other; skip lines that the checkpoint already has.

    While a line is being predicted, the previous line is written and then the next one is read.

    Args:
        sources: Images of the scene.
        scene_map: Cloud map of the scene.
        ensemble: Adapted removers; None if there are no data to predict from.
        bands: Bands of the removers.
        window_px: Side of a window, without margins.
        store: Checkpoint for finished lines.
        on_progress: Called with (stage, completed, total), counted in windows with clouds.

    Returns:
        First rows of the lines.
    """
    lines = row_ranges(sources.shape[0], window_px)
    left = [line for line in lines if not store.holds(line[0])]
    total = sum(_cloudy_windows(scene_map, line, sources.shape[1], window_px) for line in left)
    margin, align = (ensemble.margin_px, ensemble.align_px) if ensemble else (0, 1)
    done = 0
    writing: Future[None] | None = None

    def load(line: tuple[int, int]) -> "Future[SceneRows]":
        outer = Window(line[0], 0, line[1], sources.shape[1]).grown(margin, align, sources.shape)
        # Reading waits for the writer, so that at most two lines are in memory.
        return sources.rows(outer.top, outer.bottom, bands, after=writing)

    with ThreadPoolExecutor(1) as writer:
        for line, rows in prefetch(left, load):
            cloud_map, seen, shadow = (
                part(rows.window.top, rows.window.bottom)
                for part in (scene_map.cloud_map, scene_map.seen, scene_map.is_shadow)
            )
            inside = sources.target.inside(*line)
            strip = remove_clouds_in_line(
                rows, line, cloud_map, ensemble, window_px, sources.shape, seen, shadow, inside
            )
            if writing is not None:
                writing.result()  # at most one line waits to be written
            writing = writer.submit(store.put, line[0], strip)
            del strip
            done += _cloudy_windows(scene_map, line, sources.shape[1], window_px)
            on_progress("removing clouds", done, total)
        if writing is not None:
            writing.result()
    return [top for top, _ in lines]


def sum_losses(store: StripCheckpoint, tops: Sequence[int]) -> dict[str, int]:
    """Return the counts of :data:`LOSSES`, summed over the lines of a checkpoint."""
    strips = (store.get(top, {"losses"}) for top in tops)
    total = np.sum([strip["losses"] for strip in strips if strip is not None], axis=0)
    return dict(zip(LOSSES, total.tolist(), strict=True))


def sum_reference_pixels(store: StripCheckpoint, tops: Sequence[int]) -> list[int]:
    """Return the pixels in which each reference has the largest weight, summed over the lines of a checkpoint."""
    strips = (store.get(top, {"references"}) for top in tops)
    return list(np.sum([strip["references"] for strip in strips if strip is not None], axis=0).tolist())


def _cloudy_windows(scene_map: SceneMap, line: tuple[int, int], width: int, window_px: int) -> int:
    cloudy = (scene_map.seen(*line) & ~scene_map.is_clear(*line)).any(axis=0)
    return int(np.add.reduceat(cloudy, range(0, width, window_px)).astype(bool).sum())


def remove_clouds_in_line(
    rows: SceneRows,
    line: tuple[int, int],
    cloud_map: Float32[np.ndarray, "rows x"],
    ensemble: AdaptedEnsemble | None,
    window_px: int,
    scene: tuple[int, int],
    seen: Bool[np.ndarray, "rows x"] | None = None,
    shadow: Bool[np.ndarray, "rows x"] | None = None,
    inside: Bool[np.ndarray, "line x"] | None = None,
) -> Strip:
    """Remove the clouds of one line of windows.

    Args:
        rows: Rows of the line with its margins.
        line: First row, and row after the last.
        cloud_map: The map m of ``rows``; NaN where it is unknown.
        ensemble: Adapted removers; None if there are no data to predict from.
        window_px: Side of a window.
        scene: Rows and columns of the scene.
        seen: True where any optical band of ``rows`` has a value; if omitted, where all bands have data.
        shadow: True where m is due to cloud shadow; nowhere if omitted.
        inside: False for pixels of the line outside the requested area; all are inside if omitted.

    Returns:
        Arrays of the line: ``clear``, ``provenance``, ``losses`` (see :data:`LOSSES`), ``references`` (pixels in which
        each has the largest weight), and ``uncertainty`` and ``confidence`` if the ensemble provides them.
    """
    seen = rows.optical if seen is None else seen
    here = Window(line[0], 0, line[1], scene[1])
    inside = np.ones(here.shape, bool) if inside is None else inside
    strip = _observed_strip(rows, here, cloud_map, seen, shadow, ensemble, inside)
    strip["references"] = np.zeros(len(rows.references), np.int64)
    for window in windows_in(*line, scene[1], window_px):
        target = bounding_window(strip["provenance"][0][window.within(here)] >= Provenance.BLENDED, window)
        if ensemble is not None and target is not None:
            # Statistics per window refer to the whole window, so that only those of the scene allow a smaller one.
            target = window if ensemble.statistics == "window" else target
            around = target.grown(ensemble.margin_px, ensemble.align_px, scene)
            observation = rows.observation(around, cloud_map, seen, fill=not ensemble.repeats_input)
            _predict_window(strip, target, here, observation, ensemble, rows.radiometry)
    part = here.within(rows.window)
    lost, there, radar = strip["provenance"][0] == Provenance.NO_DATA, seen[part] & inside, rows.radar[part]
    usable = radar if ensemble is None or ensemble.needs_radar else np.ones_like(radar)
    causes = lost & ~there, lost & there & ~usable, lost & there & usable, ~radar & inside
    return strip | {"losses": np.array([np.count_nonzero(where) for where in causes])}


def _observed_strip(
    rows: SceneRows,
    here: Window,
    cloud_map: Float32[np.ndarray, "rows x"],
    seen: Bool[np.ndarray, "rows x"],
    shadow: Bool[np.ndarray, "rows x"] | None,
    ensemble: AdaptedEnsemble | None,
    inside: Bool[np.ndarray, "line x"],
) -> Strip:
    """Return a line before prediction: observed values, and 0 where there are no data or none can be predicted."""
    part = here.within(rows.window)
    radar, reach_px = (rows.radar, ensemble.margin_px) if ensemble else (np.zeros_like(rows.radar), 0)
    radar_needed = ensemble is None or ensemble.needs_radar
    provenance = classify_provenance(cloud_map, rows.optical, radar, reach_px, seen, shadow, needs_radar=radar_needed)[
        part
    ]
    provenance[~inside] = Provenance.NO_DATA
    stored = rows.stored[:, *part]
    strip: Strip = {"provenance": provenance[None], "clear": stored.copy()}
    strip["clear"][:, provenance == Provenance.NO_DATA] = 0
    if ensemble and ensemble.uncertainty:
        strip["uncertainty"] = np.full(stored.shape, UNKNOWN_STEPS, np.uint16)
    if ensemble and ensemble.has_confidence:
        strip["confidence"] = np.full((1, *here.shape), UNKNOWN_PERCENT, np.uint8)
    return strip


def _predict_window(
    strip: Strip,
    target: Window,
    here: Window,
    observation: Observation,
    ensemble: AdaptedEnsemble,
    radiometry: Radiometry,
) -> None:
    """Predict one window and write the result into its line, in place."""
    height, width = observation.cloudy.shape[-2:]
    top, left = observation.origin_px
    inner, place = target.within(Window(top, left, top + height, left + width)), target.within(here)
    predict = ensemble.predict_with_deviation if ensemble.uncertainty else ensemble.predict
    prediction = predict(observation)
    image = prediction.image[..., *inner]
    if ensemble.statistics == "scene":
        seen = observation.transformed(lambda image: image[..., *inner])
        image = keep_clear_pixels(image, seen.select(ensemble.removers[0].bands), RIM)
    predicted = _pixels(image)
    provenance = strip["provenance"][0][place]
    provenance[(provenance >= Provenance.BLENDED) & ~np.isfinite(predicted).all(axis=0)] = Provenance.NO_DATA
    strip["clear"][:, *place] = compose(predicted, strip["clear"][:, *place], provenance, radiometry)
    changed = provenance >= Provenance.BLENDED
    if prediction.source is not None:
        mark_references(provenance, prediction.source[0, 0, *inner].numpy(), strip["references"])
    if prediction.deviation is not None:
        strip["uncertainty"][:, *place] = encode_uncertainty(_pixels(prediction.deviation[..., *inner]), changed)
    if prediction.confidence is not None:
        strip["confidence"][:, *place] = encode_confidence(_pixels(prediction.confidence[..., *inner]), changed)


def mark_references(
    provenance: UInt8[np.ndarray, "y x"], source: Integer[np.ndarray, "y x"], counts: Integer[np.ndarray, " reference"]
) -> None:
    """Mark predicted pixels that rest on a reference, in place; their cloud state must be known.

    Args:
        provenance: Codes of :class:`~unclouded.prediction.products.Provenance`.
        source: Position of the reference with the largest weight; negative for none.
        counts: Pixels of each reference, to which those of the window are added.
    """
    by_reference = (provenance >= Provenance.BLENDED) & (source >= 0)
    counts += np.bincount(source[by_reference], minlength=len(counts))
    provenance[by_reference & (provenance != Provenance.UNKNOWN_CLOUD)] = Provenance.REFERENCE


def _pixels(image: Tensor) -> Float32[np.ndarray, "band y x"]:
    return np.asarray(image[0].detach().float().cpu().numpy())


# Composition: the prediction on cloudy pixels, the stored integers of the input elsewhere.


_NEIGHBOUR_OFFSETS = (-8, -4, 4, 8)
"""Offsets of the compared pairs, multiples of 4 px: networks show a faint pattern of their stride, which is no seam."""


def compose(
    reflectance: Float32[np.ndarray, "band y x"],
    observed: Integer[np.ndarray, "band y x"],
    provenance: UInt8[np.ndarray, "y x"],
    radiometry: Radiometry,
) -> Integer[np.ndarray, "band y x"]:
    """Encode the prediction on predicted pixels, and keep the stored integers on observed ones.

    Args:
        reflectance: Prediction, TOA reflectance.
        observed: Stored integers of the same bands of the input.
        provenance: Codes of :class:`~unclouded.prediction.products.Provenance`.
        radiometry: Scale, offset and nodata value of the stored integers.

    Returns:
        Integers of the input's type. Observed pixels equal the input bit for bit; pixels without data, and only these,
        are 0 in all bands.
    """
    encoded = radiometry.encode(reflectance)
    kept = provenance == Provenance.OBSERVED
    return np.where(kept, observed, np.where(provenance == Provenance.NO_DATA, observed.dtype.type(0), encoded))


def seam_index(
    image: Float[np.ndarray, "band y x"],
    rows: Sequence[int],
    columns: Sequence[int],
    where: Bool[np.ndarray, "y x"] | None = None,
) -> float:
    """Return the ratio of jumps across window borders to jumps beside them; 1 if no border is visible.

    The ratio of two mean absolute differences: of adjacent pixels on either side of a border, and of the four adjacent
    pairs 4 and 8 px away on both sides, on nearly the same ground and in the same phase of a network's stride.

    Args:
        image: Prediction, in any unit; NaN for pixels to ignore.
        rows: First rows of windows, at least 9 px from the ends of the image.
        columns: First columns of windows, likewise.
        where: Pixels to compare, such as the cloudy ones; all pixels if omitted.
    """
    compared = image if where is None else np.where(where, image, np.nan)
    across, beside = [], []
    for axis, starts in ((1, rows), (2, columns)):
        jumps = np.abs(np.diff(compared, axis=axis))
        across += [np.take(jumps, start - 1, axis=axis).ravel() for start in starts]
        beside += [
            np.take(jumps, start - 1 + step, axis=axis).ravel() for start in starts for step in _NEIGHBOUR_OFFSETS
        ]
    return float(np.nanmean(np.concatenate(across)) / np.nanmean(np.concatenate(beside)))


# Uncertainty: the spread of predictions for mirrored and shifted copies of a window.


SHIFT_PX = 2
"""Half of the stride of the networks; a shift by the whole stride would change nothing."""

Transform = Callable[[Tensor], Tensor]


def spread(
    removers: Sequence[CloudRemover], observation: Observation, align_px: int = 4
) -> Float[Tensor, "batch band h w"]:
    """Return the standard deviation of an ensemble of predictions, in reflectance; NaN where any prediction is NaN.

    Each remover predicts five variants of the window: unchanged, mirrored left to right, top to bottom and both, and
    shifted by 2 px down and to the right.

    Args:
        removers: One remover, or several with different weights, adapted to the scene.
        observation: Window to predict.
        align_px: Alignment of the removers; windows are padded to multiples of it, so that mirrored grids coincide.
    """
    height, width = observation.cloudy.shape[-2:]
    below, right = -height % align_px, -width % align_px
    padded = observation.transformed(lambda image: F.pad(image, (0, right, 0, below), mode="replicate"))
    predictions = []
    for remover in removers:
        for there, back in _TRANSFORMS:
            variant = padded.transformed(there)
            selected, place = variant.select(remover.bands), window_name(observation)
            prediction = require_prediction(remover(variant), selected, remover.name, place, complete=False)
            predictions.append(back(prediction)[..., :height, :width])
    return torch.stack(predictions).std(dim=0, correction=0)


def _mirror(*axes: int) -> tuple[Transform, Transform]:
    def mirror(image: Tensor) -> Tensor:
        return image.flip(axes)

    return mirror, mirror


def _shift() -> tuple[Transform, Transform]:
    def there(image: Tensor) -> Tensor:
        return F.pad(image, (SHIFT_PX, SHIFT_PX, SHIFT_PX, SHIFT_PX), mode="replicate")

    def back(image: Tensor) -> Tensor:
        return image[..., SHIFT_PX:-SHIFT_PX, SHIFT_PX:-SHIFT_PX]

    return there, back


_TRANSFORMS: tuple[tuple[Transform, Transform], ...] = (_mirror(), _mirror(-1), _mirror(-2), _mirror(-2, -1), _shift())

VARIANTS = len(_TRANSFORMS)
"""Predictions of each remover for the uncertainty."""
