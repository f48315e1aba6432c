"""Patches of SEN12MS-CR-TS: about 30 dates of one place with optical and radar images.

Layout of Ebel et al. (2022, IEEE TGRS 60): ``ROIs1970/21/S2/0/s2_ROIs1970_21_ImgNo_0_2018-01-03_patch_7.tif``, with
``S1`` and ``s1`` for radar. Images are found by their names, wherever they are below the root. A manifest, as
``unclouded curate`` writes it, decides which images are kept, and the split.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from unclouded.errors import InputError
from unclouded.files import is_file, named, require_folder
from unclouded.patches.manifest import read_manifest
from unclouded.patches.roi import MANIFEST, SENSORS, Roi

_NAME = re.compile(r"(s[12])_(ROIs\d+)_(\d+)_ImgNo_(\d+)_(\d{4}-\d{2}-\d{2})_patch_(\d+)\.tif")

TEST_REGIONS = frozenset(
    {
        *("ROIs1158_106", "ROIs1868_73", "ROIs1868_100", "ROIs1868_119", "ROIs1868_142"),
        *("ROIs1970_20", "ROIs1970_132", "ROIs1970_139"),
        *("ROIs2017_32", "ROIs2017_63", "ROIs2017_103", "ROIs2017_108", "ROIs2017_140"),
    }
)
"""Regions of the official test split."""

SeriesSplit = Literal["train", "test", "all"]
"""Official parts of the data set, or those of its manifest; a validation part is left to its users."""


@dataclass(frozen=True)
class DatedImage:
    """Images of one date of a patch.

    Attributes:
        number: Number of the date in the data set.
        date: Date of the optical image.
        optical: Optical image.
        sar: Radar image of the same number; None if it is missing.
    """

    number: int
    date: date
    optical: Path
    sar: Path | None


@dataclass(frozen=True)
class PatchSeries:
    """All dates of a patch.

    Attributes:
        region: Region, such as ``ROIs1970_21``.
        patch: Number of the patch.
        dates: Dates in the order of time, at least one.
    """

    region: str
    patch: int
    dates: tuple[DatedImage, ...]

    @property
    def name(self) -> str:
        """Name of the patch."""
        return f"{self.region}_p{self.patch}"


def find_time_series(root: Path, split: SeriesSplit = "all") -> tuple[PatchSeries, ...]:
    """Return the patches of a data set, sorted by region and number.

    Args:
        root: Folder of the data set, or any part of it.
        split: Official part, or that of the manifest if there is one.

    Raises:
        InputError: There is no optical image of a series, or none in the split, or a date is there twice.
    """
    require_folder(root)
    optical: dict[tuple[str, int], list[tuple[int, date, Path]]] = defaultdict(list)
    radar: dict[tuple[str, int, int], Path] = {}
    kept = (
        [row for row in read_manifest(root / MANIFEST) if row["status"] == "kept"] if is_file(root / MANIFEST) else None
    )
    listed = None if kept is None else {root / row[token] for row in kept for token in SENSORS}
    for path in sorted(root.rglob("s[12]_*_patch_*.tif")):
        if (match := _NAME.fullmatch(path.name)) is None or (listed is not None and path not in listed):
            continue
        sensor, seed, region, number, day, patch = match.groups()
        key = f"{seed}_{region}", int(patch)
        if sensor == "s1":
            radar[*key, int(number)] = path
        else:
            optical[key].append((int(number), _date(day, path), path))
    if not optical:
        raise InputError(
            f"{named(root)} holds no time series, expected files such as "
            "ROIs1970/21/S2/0/s2_ROIs1970_21_ImgNo_0_2018-01-03_patch_7.tif; give the root of SEN12MS-CR-TS"
        )
    parts = {region: "test" if region in TEST_REGIONS else "train" for region, _ in optical}
    if kept is not None:
        parts = {str(Roi.parse(row["roi"]).series_folder).replace("/", "_"): row["split"] for row in kept}
    chosen = [key for key in sorted(optical) if split in ("all", parts[key[0]])]
    if not chosen:
        origin = "SEN12MS-CR-TS" if kept is None else MANIFEST
        raise InputError(f"{named(root)} holds no patch of the {split} split of {origin}; choose --split all")
    return tuple(
        PatchSeries(*key, tuple(_dated(optical[key], {n: path for (*k, n), path in radar.items() if tuple(k) == key})))
        for key in chosen
    )


def _dated(images: Sequence[tuple[int, date, Path]], radar: dict[int, Path]) -> list[DatedImage]:
    ordered = sorted(images, key=lambda one: (one[1], one[0]))
    numbers = [number for number, _, _ in ordered]
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{named(ordered[0][2])} is there more than once below the root; keep one copy")
    return [DatedImage(number, day, path, radar.get(number)) for number, day, path in ordered]


def _date(text: str, path: Path) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{named(path)} has no valid date in its name, {text}; restore the official name") from error
