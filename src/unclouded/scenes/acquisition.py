"""Acquisition time of a GeoTIFF, from its tags or from its name as the common processors and catalogues write it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from unclouded.files import named, resolved
from unclouded.geotiff import open_geotiff

FIRST_LIGHT = datetime(2014, 4, 3, tzinfo=UTC)
"""Launch of Sentinel-1A: nothing is older."""
DOMAIN = "IMAGERY"
TAGS = (
    "ACQUISITIONDATETIME",  # GDAL's drivers of remote sensing, in the domain IMAGERY
    "ACQUISITION_START_TIME",  # GDAL's driver of Sentinel-1
    "DATATAKE_1_DATATAKE_SENSING_START",  # and of Sentinel-2
    "PRODUCT_START_TIME",
    "SENSING_TIME",
    "ZERO_DOPPLER_START_TIME",  # OPERA
    "ACQUISITION_DATETIME",
    "ACQUISITION_DATE",
    "ACQUISITIONDATE",
    "DATE_ACQUIRED",
    "START_DATETIME",  # properties of STAC items
    "DATETIME",
)
"""Tags with the time of acquisition, in UTC unless they name a zone; in any case of letters."""
WRITTEN = "TIFFTAG_DATETIME"
"""Tag with the time of an image by TIFF 6.0: some writers put the acquisition there, others the time of writing."""

_MOMENT = r"(20\d\d)([-_.]?)(\d\d)\2(\d\d)(?:[T-](\d\d)[:_-]?(\d\d)[:_-]?(\d\d))?(?!\d)"
_ANY = re.compile(rf"(?<!\d){_MOMENT}", re.IGNORECASE | re.ASCII)
_FIRST = re.compile(  # names with several dates, the first of which is the acquisition
    r"(?:S1[A-D]_[A-Z0-9]{2}_(?:GRD[FHM]?|SLC)_+\w{4}_"  # Copernicus, Planetary Computer, SNAP
    r"|S1[A-D]-(?:IW|EW|S\d)\d?-(?:GRD|SLC)-[VH]{2}-"  # images in products
    r"|S2[A-D]_MSIL(?:1C|2A)_"
    r"|OPERA_L2_RTC-S1_T\d{3}-\d{6}-IW\d_"
    r"|(?<!\w)(?=\d{8}T\d{6}_\d{8}T\d{6}_T\d\d[A-Z]{3})"  # Earth Engine
    r"|S2[A-D]_OPER_[^.]*_V(?=\d{8}T)"  # Copernicus until December 2016
    rf"){_MOMENT}",
    re.IGNORECASE | re.ASCII,
)
_MADE = re.compile(r"S2[A-D]_OPER_", re.IGNORECASE | re.ASCII)
"""Names of the old format that have the time of processing only."""


@dataclass(frozen=True)
class Acquisition:
    """Acquisition time of an image.

    Attributes:
        time: In UTC; None if neither tags nor name have it.
        remarks: Warnings for the user about how far the time can be trusted.
    """

    time: datetime | None = None
    remarks: tuple[str, ...] = ()


def acquisition(path: Path, folder: Path | None = None) -> Acquisition:
    """Return when the image of a GeoTIFF was taken; times that no Sentinel image can have do not count.

    Args:
        path: GeoTIFF; its tags count more than its name, and its name more than the time of writing.
        folder: Folder whose name counts as well, if the file is one of several bands in it.

    Raises:
        InputError: The file cannot be opened.
    """
    with open_geotiff(path) as source:
        tags = {key.upper(): value for place in (None, DOMAIN) for key, value in source.tags(ns=place).items()}
    names = [path.name] if folder in (None, path) else [path.name, resolved(folder).name]
    return next(_found(tags, names), Acquisition())


def _found(tags: Mapping[str, str], names: list[str]) -> Iterator[Acquisition]:
    stamps = [tags[tag].strip() for tag in TAGS if tag in tags]
    yield from (_dated(time, len(stamp) > 10, stamp) for stamp in stamps if (time := _in_utc(stamp)))
    yield from (found for name in names if (found := _named(name)))
    if (stamp := tags.get(WRITTEN, "").strip()) and (time := _in_utc(stamp.replace(":", "-", 2))):
        remark = f"the date {time:%Y-%m-%d} is that of {WRITTEN}, taken as UTC; it may be when the file was written"
        yield Acquisition(time, (remark,))


def _dated(time: datetime, to_the_second: bool, origin: str) -> Acquisition:
    """Return a time; of a day alone its noon, which is at most half a day off."""
    if to_the_second:
        return Acquisition(time)
    remark = f"of its date only the day is known ({named(Path(origin[:100]))}); noon in UTC was taken"
    return Acquisition(time + timedelta(hours=12), (remark,))


def _in_utc(stamp: str) -> datetime | None:
    with suppress(ValueError, OverflowError):
        time = datetime.fromisoformat(stamp)
        return _possible(time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC))
    return None


def _possible(time: datetime) -> datetime | None:
    return time if FIRST_LIGHT <= time <= datetime.now(UTC) + timedelta(days=1) else None


def _named(name: str) -> Acquisition | None:
    """Return the time that a name has; None if it has none, or several of which any may be the acquisition."""
    if first := _FIRST.search(name):
        found = [first]
    elif _MADE.search(name):
        found = []
    else:
        found = list(_ANY.finditer(name))
    times = [(time, match[5] is not None) for match in found if (time := _matched(match))]
    if not times or len({time.date() for time, _ in times}) > 1:
        return None
    timed = [time for time, to_the_second in times if to_the_second]
    return _dated(min(timed) if timed else times[0][0], bool(timed), name)


def _matched(match: re.Match[str]) -> datetime | None:
    year, month, day, hour, minute, second = (int(match[group] or 0) for group in (1, 3, 4, 5, 6, 7))
    with suppress(ValueError):
        return _possible(datetime(year, month, day, hour, minute, second, tzinfo=UTC))
    return None
