"""Georeferenced images and tables: read within limits, written whole."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.io.geotiff import write_geotiff as write_geotiff
    from unclouded.io.raster import Raster as Raster
    from unclouded.io.raster import read as read
    from unclouded.io.raster import to_stored as to_stored

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "geotiff": ("write_geotiff",),
        "raster": (
            "Raster",
            "read",
            "to_stored",
        ),
    },
)
