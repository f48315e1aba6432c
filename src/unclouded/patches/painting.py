"""Synthetic clouds on the patches of a data set, as files."""

from pathlib import Path

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings, map_clouds
from unclouded.clouds.synthetic import SyntheticSettings, paint
from unclouded.errors import InputError
from unclouded.files import require_apart
from unclouded.geotiff import file_of, write_geotiff
from unclouded.patches.layouts import TripletFiles
from unclouded.raster import read, to_stored
from unclouded.sensors import SENTINEL2


def paint_triplet(
    files: TripletFiles,
    folder: Path,
    settings: SyntheticSettings,
    clouds: CloudMapSettings,
    cache: ProbabilityCache | None,
) -> None:
    """Write ``s2_cloudy/NAME.tif`` and ``cloud_map/NAME.tif``: the clear image under painted clouds, and its map m.

    Args:
        files: The triplet; mode ``copy`` reads its cloudy image, too.
        folder: Where to.
        settings: What to paint (section III-B.4 of the paper).
        clouds: How the map of a real cloudy image is made, for mode ``copy``.
        cache: Where cloud probabilities are kept.

    Raises:
        InputError: A file is damaged or would be written over, or there is no clear image.
    """
    if files.clear is None:
        raise InputError(f"{files.name} has no clear image to paint on; choose complete triplets")
    image, cloud_map = (folder / kind / f"{files.name}.tif" for kind in ("s2_cloudy", "cloud_map"))
    for source in (files.sar, files.cloudy, files.clear):
        require_apart(image, file_of(source))
        require_apart(cloud_map, file_of(source))
    clear = read(files.clear, SENTINEL2)
    if settings.mode == "copy":
        cloudy = read(files.cloudy, SENTINEL2).values
        m = map_clouds(cloudy, SENTINEL2.bands, clouds, cache=cache)
        painted = paint(files.name, clear.values, clear.bands, settings, cloudy=cloudy, cloud_map=m)
    else:
        painted = paint(files.name, clear.values, clear.bands, settings)
    stored = to_stored(painted.cloudy, SENTINEL2)
    write_geotiff(image, stored, clear.bands, clear.geobox, nodata=0)
    write_geotiff(cloud_map, painted.cloud_map[None], ("cloud map m",), clear.geobox)
