"""When a GeoTIFF was taken: what its tags or its name say, and nothing that would have to be guessed."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from unclouded.geotiff import open_geotiff

TAG, DOMAIN = "ACQUISITIONDATETIME", "IMAGERY"
"""Where GDAL's drivers of remote sensing keep the time, in UTC; it is looked for in the default domain, too."""

_PRODUCT = re.compile(r"(?:S1[A-D]_IW_GRDH_\w{4}|S2[A-D]_MSIL(?:1C|2A))_(\d{8}T\d{6})(?!\d)")
"""Names of products in the compact format begin like this; those before December 2016 begin with another date."""
_FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S.%f")


def acquired(path: Path, folder: Path | None = None) -> datetime | None:
    """Return when the image of a GeoTIFF was taken, in UTC; None where neither tag nor name tells.

    Args:
        path: GeoTIFF; a name such as ``S2A_MSIL1C_20210908T042701_T46RER.tif`` is that of its product, or begins so.
        folder: Whose name tells, too, where the file is one of several in it.

    Raises:
        InputError: The file cannot be opened.
    """
    names = [path.name] if folder in (None, path) else [path.name, folder.resolve().name]
    return next(_told(path, names), None)


def _told(path: Path, names: list[str]) -> Iterator[datetime]:
    with open_geotiff(path) as source:
        stamps = [tags[TAG] for tags in (source.tags(ns=DOMAIN), source.tags()) if TAG in tags]
    for stamp in stamps:
        for written in _FORMATS:
            with suppress(ValueError):
                yield datetime.strptime(stamp.strip(), written).replace(tzinfo=UTC)
    for named in filter(None, map(_PRODUCT.match, names)):
        with suppress(ValueError):
            yield datetime.strptime(named[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
