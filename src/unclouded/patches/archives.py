"""The twelve archives that SEN12MS-CR is published as: what they are called, what they hold, how large that is."""

import re
from dataclasses import dataclass

from unclouded.errors import InputError
from unclouded.patches.identity import SENSORS, PatchId, Roi
from unclouded.patches.splits import official_counts

COLLECTIONS = ("ROIs1158_spring", "ROIs1868_summer", "ROIs1970_fall", "ROIs2017_winter")
"""Seed and season of the four parts of the data set."""
SEASONS = tuple(collection.partition("_")[2] for collection in COLLECTIONS)
"""Seasons, in the order of :data:`COLLECTIONS`."""
PATCH_BYTES = {"s1": 2 * 4 * 256 * 256, "s2": 13 * 2 * 256 * 256, "s2_cloudy": 13 * 2 * 256 * 256}
"""Pixels of one uncompressed patch; its header adds less than a hundredth."""
HEADER_BYTES = 8192
"""More than the header of a published patch has."""

_MEMBER = re.compile(r"(?:\./)?(?:(?P<collection>[A-Za-z0-9_]+)/)?(?P<folder>[a-z0-9_]+)/(?P<file>[A-Za-z0-9_]+)\.tif")


@dataclass(frozen=True, order=True)
class Archive:
    """One archive: all patches of one sensor in one collection.

    Attributes:
        collection: One of :data:`COLLECTIONS`.
        sensor: ``s1``, ``s2`` or ``s2_cloudy``.
    """

    collection: str
    sensor: str

    @property
    def folder(self) -> str:
        """Folder of the official layout that the archive fills."""
        return f"{self.collection}_{self.sensor}"

    @property
    def file_name(self) -> str:
        """Name of the file."""
        return f"{self.folder}.tar.gz"

    @property
    def patches(self) -> int:
        """Number of patches as published."""
        return sum(self.published().values())

    def published(self) -> dict[Roi, int]:
        """Return the number of patches of each region as published."""
        return {roi: count for roi, count in official_counts().items() if roi.collection == self.collection}

    @property
    def extracted_bytes(self) -> int:
        """Room that the patches take when they are extracted."""
        return self.patches * self.largest_patch

    @property
    def largest_patch(self) -> int:
        """Bytes that no patch exceeds."""
        return PATCH_BYTES[self.sensor] + HEADER_BYTES

    def place(self, member: str) -> str | None:
        """Return where a member belongs below the root of the data set; None where its name is no patch of here."""
        match = _MEMBER.fullmatch(member)
        if not match or match["collection"] not in (None, self.folder):
            return None
        try:
            patch = PatchId.parse(match["file"])
        except InputError:
            return None
        official = patch.file_name(self.sensor)
        folder = f"{self.sensor}_{patch.roi.number}"
        if patch.roi.collection != self.collection or (match["folder"], f"{match['file']}.tif") != (folder, official):
            return None
        return f"{self.folder}/{folder}/{official}"


def archives(seasons: tuple[str, ...] = SEASONS, sensors: tuple[str, ...] = SENSORS) -> tuple[Archive, ...]:
    """Return the archives of some seasons and sensors; all twelve by default.

    Raises:
        InputError: A season or a sensor that there is not.
    """
    for wanted, known in ((seasons, SEASONS), (sensors, SENSORS)):
        if strange := [word for word in wanted if word not in known]:
            raise InputError(f"{', '.join(strange)} is none of {', '.join(known)}; choose among them")
    chosen = [collection for collection, season in zip(COLLECTIONS, SEASONS, strict=True) if season in seasons]
    return tuple(Archive(collection, sensor) for collection in chosen for sensor in SENSORS if sensor in sensors)
