"""Records of products on disk, from their metadata: sensor, time, footprint and cloud cover."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from shapely.geometry import Polygon, mapping

from unclouded.catalogue.triplets import SceneRecord, zone_of
from unclouded.errors import InputError
from unclouded.files import named, require_folder
from unclouded.sentinel.footprints import footprint
from unclouded.sentinel.safe import ProductFolder, is_zip, open_product, product_at, require_product
from unclouded.sentinel.sentinel1 import GroundControl, describe_radar_outline
from unclouded.sentinel.sentinel2 import describe_product, tiles_of

IMAGES = (".tif", ".tiff")


def products_in(folder: Path) -> list[Path]:
    """Return the possible products of a folder: its folders, zips and GeoTIFFs, without hidden ones.

    Raises:
        InputError: There is no such folder.
    """
    require_folder(folder)
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and _may_be_product(path)]


def _may_be_product(path: Path) -> bool:
    return path.is_dir() or (path.is_file() and (path.suffix.lower() in IMAGES or is_zip(path)))


def describe_scenes(path: Path, *, for_prediction: bool = False) -> list[SceneRecord]:
    """Read the metadata of a Sentinel-2 Level-1C or Sentinel-1 IW GRDH product, folder or zip.

    A product is one scene; a product of the old format, until December 2016, is one scene per tile.

    Args:
        path: Product.
        for_prediction: Whether to accept Level-2A and radar of VV alone, too.

    Raises:
        InputError: The path is another product, damaged, or a GeoTIFF, which has no reliable date.
    """
    if path.suffix.lower() in IMAGES and product_at(path) is None:
        raise InputError(
            f"{named(path)} is a GeoTIFF, which has no date to choose by, expected a product; name all three images"
        )
    with (
        tempfile.TemporaryDirectory(prefix="unclouded-") as folder,
        open_product(require_product(path), Path(folder), metadata_only=True) as product,
    ):
        if product.names("annotation/s1*.xml"):
            return [_radar(product, for_prediction)]
        tiles = tiles_of(product)
        return [_optical(product, tile if len(tiles) > 1 else None, for_prediction) for tile in tiles]


def _radar(product: ProductFolder, for_prediction: bool) -> SceneRecord:
    described = describe_radar_outline(product, allow_single=for_prediction)
    return SceneRecord(
        name=described.identity,
        kind="radar",
        acquired=described.acquired,
        footprint=_outline(described.ground),
        place=str(product.path),
    )


def _optical(product: ProductFolder, tile: str | None, for_prediction: bool) -> SceneRecord:
    described = describe_product(product, allow_l2a=for_prediction, tile=tile)
    return SceneRecord(
        name=described.identity if tile is None else f"{described.identity}/{tile}",
        kind="optical",
        acquired=described.acquired,
        footprint=footprint(described.geobox),
        cloud_percent=described.cloud_percent,
        place=str(product.path),
        zone=zone_of(described.tile),
        tile=tile,
        mgrs=described.tile,
        baseline=described.baseline,
    )


def _outline(ground: GroundControl) -> Mapping[str, Any]:
    """Return the edges of a geolocation grid as a GeoJSON geometry; longitudes reach 360 over the antimeridian."""
    longitude, latitude = (
        np.concatenate([grid[0], grid[1:, -1], grid[-1, -2::-1], grid[-2:0:-1, 0]])
        for grid in (ground.longitude, ground.latitude)
    )
    return dict(mapping(Polygon(zip(longitude.tolist(), latitude.tolist(), strict=True))))
