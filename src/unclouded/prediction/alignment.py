"""Alignment of radar and optical image of a scene: days, pixels, and remarks where they are many."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from unclouded.prediction.cloud_mapping import SceneMap
from unclouded.prediction.sources import Sources
from unclouded.sentinel.coregistration import SMALLEST_PX, Shift
from unclouded.sentinel.radar import NO_TERRAIN
from unclouded.sentinel.scene_alignment import BLOCK_PX, date_gap_days

LARGE_GAP_DAYS = 12.0
"""Repeat cycle of a single Sentinel-1 satellite, days: with a larger time difference, a closer radar image exists."""
LARGE_SHIFT_PX = 2.0
"""Shift in pixels from which radar edges no longer match the edges in the optical image."""


@dataclass(frozen=True)
class AlignmentQuality:
    """Difference in time and position between radar and optical image.

    Attributes:
        days: Days from the optical to the radar image, negative if the radar is earlier; None if a date is unknown.
        shift: Position of the radar relative to the optical image; None if the scene is too small to measure it.
        undated: Images of unknown date, in words.
        side_px: Shorter side of the scene.
    """

    days: float | None
    shift: Shift | None
    undated: tuple[str, ...] = ()
    side_px: int = BLOCK_PX

    def as_json(self) -> dict[str, Any]:
        """Return the numbers by name; None for unknown ones."""
        shift = self.shift or _NOT_MEASURED
        return {
            "radar_after_optical_days": None if self.days is None else round(self.days, 4),
            "shift_right_px": _rounded_or_none(shift.right_px),
            "shift_down_px": _rounded_or_none(shift.down_px),
            "shift_gap": _rounded_or_none(shift.gap),
            "shift_confident": shift.is_confident,
            "shift_blocks": shift.blocks,
            "shift_spread_px": _rounded_or_none(shift.spread_px),
        }

    def in_words(self) -> str:
        """Return the shift in words, with the evidence for it."""
        if self.shift is None:
            return f"not measured, the scene is smaller than {SMALLEST_PX} px"
        if not self.shift.blocks:
            return "not measured, no clear ground with edges"
        blocks = f"from {self.shift.blocks} block{'' if self.shift.blocks == 1 else 's'} of clear ground"
        if self.shift.is_confident:
            return f"{self.shift}, {blocks}"
        return f"unknown, the images have too few edges in common (gap {self.shift.gap:.3f}), {blocks}"

    def remarks(self, processing: str, remarks: tuple[str, ...]) -> Iterator[str]:
        """Yield warnings about unknown dates, a large time difference and a large shift, each with a remedy.

        Args:
            processing: Processing steps of the radar image, in words.
            remarks: Remarks of the radar reader.
        """
        if self.undated:
            yield (
                f"the date of {' and of '.join(self.undated)} is unknown, and so is the time between the two images; "
                "set the tag ACQUISITIONDATETIME, or use the file name of the product"
            )
        if self.days is not None and abs(self.days) > LARGE_GAP_DAYS:
            when = "after" if self.days > 0 else "before"
            yield (
                f"the radar was taken {abs(self.days):.0f} days {when} the optical image: fields, water and snow may "
                f"have changed; choose a radar image within {LARGE_GAP_DAYS:.0f} days"
            )
        if self.is_large:
            yield (
                f"the radar lies {self.distance_px:.1f} px off the optical image ({self.shift}): "
                f"{_remedy(processing, NO_TERRAIN in remarks)}"
            )

    @property
    def is_known(self) -> bool:
        """Whether the shift is reliable; in a scene smaller than a block, the few edges may agree by chance."""
        return self.shift is not None and self.shift.is_confident and self.side_px >= BLOCK_PX

    @property
    def is_large(self) -> bool:
        """Whether the shift is worth a warning; False if the blocks disagree by more than the shift itself."""
        disagree = self.shift is not None and self.shift.spread_px > self.distance_px
        return self.is_known and self.distance_px >= LARGE_SHIFT_PX and not disagree

    @property
    def distance_px(self) -> float:
        """Length of the shift, pixels."""
        return math.hypot(self.shift.right_px, self.shift.down_px) if self.shift else 0.0


_NOT_MEASURED = Shift(math.nan, math.nan, math.nan, math.nan, blocks=0)


def _rounded_or_none(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _remedy(processing: str, without_terrain: bool) -> str:
    if without_terrain:
        return "apply a terrain correction with --heights"
    if "terrain correction" in processing:
        return "check the elevation model and --heights-datum: heights must refer to the ellipsoid"
    if processing.startswith("warped"):
        return "its georeference, which --align relies on, is inaccurate; use the GRDH product with --heights instead"
    return "its georeference is inaccurate; pass it on its own grid with --align, or the GRDH product with --heights"


def assess_alignment(sources: Sources, scene_map: SceneMap) -> AlignmentQuality | None:
    """Measure the alignment of the two images of a scene on its clear pixels; None if there is no radar."""
    if sources.radar is None:
        return None
    radar, optical = sources.radar.acquired, sources.optical.acquired
    undated = [name for name, time in (("the radar", radar), ("the optical image", optical)) if time is None]
    small = min(sources.shape) < SMALLEST_PX
    shift = None if small else sources.shift(scene_map.is_clear).result()
    return AlignmentQuality(date_gap_days(radar, optical), shift, tuple(undated), min(sources.shape))
