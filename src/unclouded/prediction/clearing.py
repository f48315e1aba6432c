"""The rows of a scene without their clouds: every window that has any is shown to the remover, and nothing else."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Integer, UInt8
from torch import Tensor
from torch.nn import functional as F

from unclouded.models.remover import CloudRemover, ConfidentRemover, FunctionRemover, SceneRemover
from unclouded.prediction.cloud_mapping import SceneMap
from unclouded.prediction.products import UNKNOWN_PERCENT, UNKNOWN_STEPS, Provenance, percent, steps, trace
from unclouded.prediction.sources import Rows, Sources
from unclouded.prediction.tiling import (
    Strip,
    StripCheckpoint,
    Window,
    bounding,
    prefetch,
    rows_of,
    sample_windows,
    windows_in,
)
from unclouded.progress import ProgressCallback
from unclouded.sentinel.radiometry import Radiometry
from unclouded.tensors.answers import require_answer, require_confidence, window_name
from unclouded.tensors.observation import Observation

FOREIGN_MARGIN_PX = 88
"""Margin of a remover that does not say how far it looks."""

LOSSES = ("no_data_optical", "no_data_radar", "no_data_remover", "radar_gaps")
"""Counts of a line: pixels without data because no optical band saw anything, because they had to be made and the radar
has no data, or because the remover gave none; and all pixels without radar data."""

Statistics = Literal["scene", "window"]
"""What a remover is adapted to: the scene, or, as in the paper, each window by itself."""


@dataclass(frozen=True, eq=False)
class AdaptedEnsemble:
    """Removers of one scene, the first of which makes the image; all adapted to the scene.

    Attributes:
        removers: One, or several with other weights for the uncertainty.
        margin_px: How far they look.
        align_px: Where their windows start.
        statistics: What they are adapted to.
        uncertainty: Whether the spread of their answers is wanted.
    """

    removers: tuple[CloudRemover, ...]
    margin_px: int
    align_px: int
    statistics: Statistics
    uncertainty: bool

    @property
    def tells_confidence(self) -> bool:
        """Whether the first one says how far it can be trusted."""
        return isinstance(self.removers[0], ConfidentRemover)

    def answer(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        """Return what the first one makes of a window, and its confidence where it tells one.

        Raises:
            InputError: The answer is no clear image of the window.
        """
        first, place = self.removers[0], window_name(observation)
        seen = observation.select(first.bands)
        if not isinstance(first, ConfidentRemover):
            return require_answer(first(observation), seen, first.name, place, complete=False), None
        answer, confidence = first.with_confidence(observation)
        answer = require_answer(answer, seen, first.name, place, complete=False)
        return answer, require_confidence(confidence, seen, first.name, place)


def window_by_window(remover: SceneRemover) -> CloudRemover:
    """Adapt a remover to every window by itself, as the paper's instance norms are; its windows show seams."""
    return FunctionRemover(remover.name, remover.bands, lambda window: remover.adapt([window])(window))


def sample_of(sources: Sources, scene_map: SceneMap, bands: tuple[str, ...]) -> list[Observation]:
    """Read the windows that a remover is adapted to; those in which radar and optical data never meet are left out."""
    known = scene_map.everywhere(scene_map.has_data)
    all_unjudged = not known.any()  # then the remover is shown what it has to make, for there is nothing to learn from
    chosen = sample_windows(scene_map.everywhere(scene_map.seen) if all_unjudged else known)
    by_rows: dict[tuple[int, int], list[Window]] = {}
    for window in chosen:
        by_rows.setdefault((window.top, window.bottom), []).append(window)
    sample = []
    for (top, bottom), windows in by_rows.items():
        rows = sources.rows(top, bottom, bands).result()
        seen = scene_map.seen(top, bottom) if all_unjudged else None
        usable, cloud_map = rows.radar & (rows.optical if seen is None else seen), scene_map.cloud_map(top, bottom)
        sample += [
            rows.observation(each, cloud_map, seen) for each in windows if usable[each.within(rows.window)].any()
        ]
    return sample


def adapt_removers(
    removers: Sequence[CloudRemover], sample: Sequence[Observation], statistics: Statistics, *, uncertainty: bool
) -> AdaptedEnsemble:
    """Adapt removers to a scene.

    Args:
        removers: One or several.
        sample: Windows of the scene.
        statistics: What to adapt them to.
        uncertainty: Whether the spread of their answers is wanted.
    """
    adapted = []
    for remover in removers:
        if not isinstance(remover, SceneRemover):
            adapted.append(remover)
        elif statistics == "window":
            adapted.append(window_by_window(remover))
        else:
            adapted.append(remover.adapt(sample))
    scene_removers = [remover for remover in removers if isinstance(remover, SceneRemover)]
    margin = max([one.margin_px for one in scene_removers], default=FOREIGN_MARGIN_PX)
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
    """Clear a scene line by line of windows; lines that the store holds already are not made again.

    The last rows are written, and then the next ones read, while a line is being cleared.

    Args:
        sources: The scene.
        scene_map: Its clouds.
        ensemble: Adapted removers; None where nothing can be made for lack of data.
        bands: Of the removers.
        window_px: Side of a window, without margins.
        store: Where finished lines are kept.
        on_progress: Is told how far it is, in windows with clouds.

    Returns:
        First rows of the lines.
    """
    lines = rows_of(sources.shape[0], window_px)
    left = [line for line in lines if not store.holds(line[0])]
    total = sum(_cloudy_windows(scene_map, line, sources.shape[1], window_px) for line in left)
    margin, align = (ensemble.margin_px, ensemble.align_px) if ensemble else (0, 1)
    done = 0
    writing: Future[None] | None = None

    def load(line: tuple[int, int]) -> "Future[Rows]":
        outer = Window(line[0], 0, line[1], sources.shape[1]).grown(margin, align, sources.shape)
        return sources.rows(outer.top, outer.bottom, bands, after=writing)  # of what is on disk nothing is in memory

    with ThreadPoolExecutor(1) as writer:
        for line, rows in prefetch(left, load):
            cloud_map, seen = (
                part(rows.window.top, rows.window.bottom) for part in (scene_map.cloud_map, scene_map.seen)
            )
            strip = remove_clouds_in_line(rows, line, cloud_map, ensemble, window_px, sources.shape, seen)
            if writing is not None:
                writing.result()  # one line waits to be written at most
            writing = writer.submit(store.put, line[0], strip)
            del strip
            done += _cloudy_windows(scene_map, line, sources.shape[1], window_px)
            on_progress("removing clouds", done, total)
        if writing is not None:
            writing.result()
    return [top for top, _ in lines]


def losses_of(store: StripCheckpoint, tops: Sequence[int]) -> dict[str, int]:
    """Return pixels without data by cause, of the lines that a store holds; see :data:`LOSSES`."""
    strips = (store.get(top) for top in tops)
    total = np.sum([strip["losses"] for strip in strips if strip is not None], axis=0)
    return dict(zip(LOSSES, total.tolist(), strict=True))


def _cloudy_windows(scene_map: SceneMap, line: tuple[int, int], width: int, window_px: int) -> int:
    cloudy = (scene_map.seen(*line) & ~scene_map.is_clear(*line)).any(axis=0)
    return int(np.add.reduceat(cloudy, range(0, width, window_px)).astype(bool).sum())


def remove_clouds_in_line(
    rows: Rows,
    line: tuple[int, int],
    cloud_map: Float32[np.ndarray, "rows x"],
    ensemble: AdaptedEnsemble | None,
    window_px: int,
    scene: tuple[int, int],
    seen: Bool[np.ndarray, "rows x"] | None = None,
) -> Strip:
    """Clear one line of windows.

    Args:
        rows: The line with its margins.
        line: First row, and row after the last.
        cloud_map: The map m of ``rows``; NaN where it is unknown.
        ensemble: Adapted removers; None where nothing can be made.
        window_px: Side of a window.
        scene: Rows and columns of the scene.
        seen: Where any optical band of ``rows`` saw something; where all have data if omitted.

    Returns:
        ``clear``, ``provenance``, what else the crew is asked for, and ``losses`` (see :data:`LOSSES`), of the line.
    """
    seen = rows.optical if seen is None else seen
    here = Window(line[0], 0, line[1], scene[1])
    strip = _as_observed(rows, here, cloud_map, seen, ensemble)
    for window in windows_in(*line, scene[1], window_px):
        aim = bounding(strip["provenance"][0][window.within(here)] >= Provenance.BLENDED, window)
        if ensemble is not None and aim is not None:
            aim = window if ensemble.statistics == "window" else aim
            around = aim.grown(ensemble.margin_px, ensemble.align_px, scene)
            _paint(strip, aim, here, rows.observation(around, cloud_map, seen), ensemble, rows.radiometry)
    part = here.within(rows.window)
    lost, there, radar = strip["provenance"][0] == Provenance.NO_DATA, seen[part], rows.radar[part]
    causes = lost & ~there, lost & there & ~radar, lost & there & radar, ~radar
    return strip | {"losses": np.array([np.count_nonzero(where) for where in causes])}


def _as_observed(
    rows: Rows,
    here: Window,
    cloud_map: Float32[np.ndarray, "rows x"],
    seen: Bool[np.ndarray, "rows x"],
    ensemble: AdaptedEnsemble | None,
) -> Strip:
    """A line on which nothing is made yet: what is observed, and 0 where there is no data or none can be made."""
    part = here.within(rows.window)
    radar = rows.radar if ensemble else np.zeros_like(rows.radar)
    provenance = trace(cloud_map, rows.optical, radar, ensemble.margin_px if ensemble else 0, seen)[part]
    stored = rows.stored[:, *part]
    strip: Strip = {"provenance": provenance[None], "clear": stored.copy()}
    strip["clear"][:, provenance == Provenance.NO_DATA] = 0
    if ensemble and ensemble.uncertainty:
        strip["uncertainty"] = np.full(stored.shape, UNKNOWN_STEPS, np.uint16)
    if ensemble and ensemble.tells_confidence:
        strip["confidence"] = np.full((1, *here.shape), UNKNOWN_PERCENT, np.uint8)
    return strip


def _paint(
    strip: Strip, aim: Window, here: Window, observation: Observation, ensemble: AdaptedEnsemble, radiometry: Radiometry
) -> None:
    """Put what the crew makes of a window into its line."""
    height, width = observation.cloudy.shape[-2:]
    top, left = observation.origin_px
    inner, place = aim.within(Window(top, left, top + height, left + width)), aim.within(here)
    answer, confidence = ensemble.answer(observation)
    made = _pixels(answer, inner)
    provenance = strip["provenance"][0][place]
    provenance[(provenance >= Provenance.BLENDED) & ~np.isfinite(made).all(axis=0)] = Provenance.NO_DATA
    strip["clear"][:, *place] = compose(made, strip["clear"][:, *place], provenance, radiometry)
    asked = provenance >= Provenance.BLENDED
    if ensemble.uncertainty:
        deviation = _pixels(spread(ensemble.removers, observation, ensemble.align_px), inner)
        strip["uncertainty"][:, *place] = steps(deviation, asked)
    if confidence is not None:
        strip["confidence"][:, *place] = percent(_pixels(confidence, inner), asked)


def _pixels(image: Tensor, part: tuple[slice, slice]) -> Float32[np.ndarray, "band y x"]:
    return np.asarray(image[0].detach().float().cpu().numpy()[:, *part])


# What a remover says and what was observed, put together in the integers of the input.


_BESIDE = (-8, -4, 4, 8)
"""Networks have a faint pattern of their own stride, 4 px, which is no seam: only pairs of one phase are alike."""


def compose(
    reflectance: Float32[np.ndarray, "band y x"],
    observed: Integer[np.ndarray, "band y x"],
    provenance: UInt8[np.ndarray, "y x"],
    radiometry: Radiometry,
) -> Integer[np.ndarray, "band y x"]:
    """Store what the remover says where it is asked, and keep the stored integers elsewhere.

    Args:
        reflectance: The remover's answer.
        observed: The input's integers of the same bands.
        provenance: Of each pixel.
        radiometry: What the integers mean.

    Returns:
        Integers of the input's type. Observed pixels are the input's own, bit for bit; pixels without data are 0 in all
        bands; no other pixel is.
    """
    made = radiometry.encode(reflectance)
    kept = provenance == Provenance.OBSERVED
    return np.where(kept, observed, np.where(provenance == Provenance.NO_DATA, observed.dtype.type(0), made))


def seam_index(
    image: Float[np.ndarray, "band y x"],
    rows: Sequence[int],
    columns: Sequence[int],
    where: Bool[np.ndarray, "y x"] | None = None,
) -> float:
    """Return how much larger jumps are across the borders of windows than beside them; 1 where no border shows.

    The mean absolute difference of two pixels that face each other across a border, over that of the four pairs that
    lie 4 and 8 px further on either side, on nearly the same ground and in the same phase of a network's stride.

    Args:
        image: Prediction, in any unit; NaN where nothing is to be compared.
        rows: Rows that are the first of a window, at least 9 px from the image's ends.
        columns: Columns that are the first of a window, likewise.
        where: Pixels to look at, such as the cloudy ones; all pixels if omitted.
    """
    seen = image if where is None else np.where(where, image, np.nan)
    across, beside = [], []
    for axis, starts in ((1, rows), (2, columns)):
        jumps = np.abs(np.diff(seen, axis=axis))
        across += [np.take(jumps, start - 1, axis=axis).ravel() for start in starts]
        beside += [np.take(jumps, start - 1 + step, axis=axis).ravel() for start in starts for step in _BESIDE]
    return float(np.nanmean(np.concatenate(across)) / np.nanmean(np.concatenate(beside)))


# How far a remover agrees with itself when it is shown the same scene mirrored and shifted.


SHIFT_PX = 2
"""Half of the network's stride: a shift by all of it changes nothing."""

Turn = Callable[[Tensor], Tensor]


def spread(
    removers: Sequence[CloudRemover], observation: Observation, align_px: int = 4
) -> Float[Tensor, "batch band h w"]:
    """Return the standard deviation of an ensemble of answers, in reflectance; NaN where an answer is.

    Each remover answers five times: as seen, mirrored left to right, top to bottom, both, and shifted by 2 px down and
    to the right.

    Args:
        removers: One, or several with other weights; adapted to the scene.
        observation: A window.
        align_px: Of the removers; windows are continued to multiples of it, so that mirrored grids meet.
    """
    height, width = observation.cloudy.shape[-2:]
    below, right = -height % align_px, -width % align_px
    padded = _changed(observation, lambda image: F.pad(image, (0, right, 0, below), mode="replicate"))
    answers = []
    for remover in removers:
        for there, back in _TURNS:
            seen = _changed(padded, there)
            shown, place = seen.select(remover.bands), window_name(observation)
            answer = require_answer(remover(seen), shown, remover.name, place, complete=False)
            answers.append(back(answer)[..., :height, :width])
    return torch.stack(answers).std(dim=0, correction=0)


def _mirror(*axes: int) -> tuple[Turn, Turn]:
    def turn(image: Tensor) -> Tensor:
        return image.flip(axes)

    return turn, turn


def _shift() -> tuple[Turn, Turn]:
    def there(image: Tensor) -> Tensor:
        return F.pad(image, (SHIFT_PX, SHIFT_PX, SHIFT_PX, SHIFT_PX), mode="replicate")

    def back(image: Tensor) -> Tensor:
        return image[..., SHIFT_PX:-SHIFT_PX, SHIFT_PX:-SHIFT_PX]

    return there, back


_TURNS: tuple[tuple[Turn, Turn], ...] = (_mirror(), _mirror(-1), _mirror(-2), _mirror(-2, -1), _shift())

ANSWERS = len(_TURNS)
"""How often each remover answers."""


def _changed(observation: Observation, turn: Turn) -> Observation:
    sar, cloudy, cloud_map = (turn(each) for each in (observation.sar, observation.cloudy, observation.cloud_map))
    return replace(observation, sar=sar, cloudy=cloudy, cloud_map=cloud_map)
