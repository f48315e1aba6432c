"""Identifiers of regions and patches: parsed from official names and compared as values."""

import datetime
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unclouded.errors import InputError

SENSORS = ("s1", "s2", "s2_cloudy")
"""Sensor tokens of the official layout; ``s2`` is the cloud-free target."""

MANIFEST = "manifest.parquet"
"""File name of the manifest, below the root of a data set."""
CHOICES = "choices.csv"
"""Table beside the manifest that lists the scenes of each region."""
REVIEW = "review.csv"
"""Table beside the manifest with the decisions of reviewers."""
LEAK, REVIEWED, THRESHOLD = "leak:", "review:", "threshold:"
"""Start of the findings in the manifest that withdraw a patch whose files exist."""
SCENES = "scenes"
"""Folder of the scenes layout, which stores each pixel of a region once; the manifest lists the patch windows."""

MIDDLE_DAY = {"winter": 15, "spring": 105, "summer": 197, "fall": 289}
"""Day of the year in the middle of each season: of December to February, March to May, June to August, September to
November."""

_ROI = re.compile(r"(?P<seed>ROIs[0-9]{4})_(?P<season>spring|summer|fall|winter)_(?P<number>[0-9]{1,6})")
_PATCH = re.compile(
    r"(?P<seed>ROIs[0-9]{4})_(?P<season>spring|summer|fall|winter)_(?:(?:s2_cloud[Ff]ree|s2_cloudy|s2|s1)_)?"
    r"(?P<number>[0-9]{1,6})_p(?P<patch>[0-9]{1,6})(?:_d(?P<date>[0-9]{1,4}))?"
)


@dataclass(frozen=True, order=True)
class Roi:
    """One place in one season; a split assigns whole regions.

    Regions are compared as values, never as text: ``ROIs1158_spring_1`` is a prefix of ``ROIs1158_spring_106``.

    Attributes:
        seed: Random seed of the sampling, such as ``ROIs1158``; ``ROIs0000`` is simulated.
        season: Meteorological season, named as in the northern hemisphere: spring, summer, fall or winter.
        number: Number of the place; numbers have gaps.
    """

    seed: str
    season: str
    number: int

    def __str__(self) -> str:
        return f"{self.seed}_{self.season}_{self.number}"

    @property
    def collection(self) -> str:
        """Seed and season, the first part of folder names, such as ``ROIs1158_spring``."""
        return f"{self.seed}_{self.season}"

    @property
    def day_of_year(self) -> int:
        """Day in the middle of the season, counted from 1."""
        return MIDDLE_DAY[self.season]

    def scene_path(self, sensor: str) -> Path:
        """Return the path of a scene in the scenes layout, relative to the root."""
        return Path(SCENES, str(self), f"{self.collection}_{sensor}_{self.number}.tif")

    @property
    def series_folder(self) -> Path:
        """Folder of the region in the layout of SEN12MS-CR-TS, relative to the root; it does not name the season."""
        return Path(self.seed, str(self.number))

    @classmethod
    def parse(cls, text: str) -> "Roi":
        """Parse a region such as ``ROIs1158_spring_106``.

        Raises:
            InputError: The text is not the name of a region.
        """
        if not (match := _ROI.fullmatch(text)):
            raise InputError(f"{text!r} is not a region; expected a name such as ROIs1158_spring_106")
        return cls(match["seed"], match["season"], int(match["number"]))


@dataclass(frozen=True, order=True)
class PatchId:
    """A 256 x 256 px piece of a region.

    Attributes:
        roi: Region that contains the patch.
        number: Number of the patch in its region; numbers have gaps.
        date: Number of its cloudy date in a time series; None for a single triplet.
    """

    roi: Roi
    number: int
    date: int | None = None

    def __str__(self) -> str:
        return f"{self.roi}_p{self.number}" + ("" if self.date is None else f"_d{self.date}")

    def file_name(self, sensor: str) -> str:
        """Return the official file name for a sensor of :data:`SENSORS`."""
        return f"{self.roi.collection}_{sensor}_{self.roi.number}_p{self.number}.tif"

    def path(self, sensor: str) -> Path:
        """Return the path of an image in the official layout, relative to the root."""
        return Path(f"{self.roi.collection}_{sensor}", f"{sensor}_{self.roi.number}", self.file_name(sensor))

    def series_path(self, sensor: Literal["s1", "s2"], number: int, day: datetime.date) -> Path:
        """Return the path of an image in the layout of SEN12MS-CR-TS, relative to the root.

        Args:
            sensor: Sensor.
            number: Number of the date in the region.
            day: Date of the image, UTC.
        """
        place = f"{self.roi.seed}_{self.roi.number}"
        name = f"{sensor}_{place}_ImgNo_{number}_{day.isoformat()}_patch_{self.number}.tif"
        return self.roi.series_folder / sensor.upper() / str(number) / name

    @classmethod
    def parse(cls, text: str) -> "PatchId":
        """Parse an official file name without suffix, with any sensor or none.

        Raises:
            InputError: The text is not the name of a patch.
        """
        if not (match := _PATCH.fullmatch(text)):
            raise InputError(f"{text!r} is not a patch; expected a name such as ROIs1158_spring_s2_106_p30")
        roi = Roi(match["seed"], match["season"], int(match["number"]))
        return cls(roi, int(match["patch"]), int(match["date"]) if match["date"] else None)


def region_of(name: str) -> str:
    """Return the region in the name of a patch; empty if the name is not an official one."""
    return str(roi_of(name) or "")


def roi_of(name: str) -> Roi | None:
    """Return the region in the name of a patch; None if the name is not an official one."""
    try:
        return PatchId.parse(name).roi
    except InputError:
        return None


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts ``p9`` before ``p10``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, _number(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts]


def _number(digits: str) -> int:
    """Return a number to sort by; numbers of more than 18 digits are sorted by their length."""
    return int(digits) if len(digits) <= 18 else 10**18 + len(digits)
