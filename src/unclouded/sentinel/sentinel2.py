"""Metadata of Sentinel-2 products: level, bands, grid, offsets and time."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.sensors import SENTINEL2, Level, optical_sensor
from unclouded.sentinel.radiometry import QUANTIFICATION, Radiometry
from unclouded.sentinel.safe import ProductFolder, kind_of
from unclouded.sentinel.xml import XmlElement
from unclouded.sun import Sun

MAX_SIDE = 12_000
"""Largest number of rows or columns of a granule at 10 m; those of Sentinel-2 have 10,980."""
RESOLUTIONS_M = (10, 20, 60)

_UTM = re.compile(r"EPSG:32([67])(\d\d)")
_IMAGE_BAND = re.compile(r"_(B\d[\dA])(?:_([126]0)m)?$")
_IMAGE_CLASSES = re.compile(r"_SCL(?:_20m)?$")
_LEVELS: dict[str, Level] = {"Level-1C_User_Product": "L1C", "Level-2A_User_Product": "L2A"}

CLASSES_M = 20
"""Pixel size of the scene classification that is read, in metres."""


@dataclass(frozen=True)
class BandFile:
    """Image of one band: path in the product's folder, pixel size in metres, and data type."""

    band: str
    name: str
    pixel_m: int
    dtype: str = "uint16"


@dataclass(frozen=True)
class Sentinel2Product:
    """Metadata of a granule of a product.

    Attributes:
        identity: Name of the product, without ``.SAFE``.
        level: ``L1C`` or ``L2A``.
        tile: MGRS tile, such as ``T32UPU``.
        acquired: Acquisition time of the tile in UTC.
        baseline: Processing baseline, such as ``05.09``.
        geobox: 10 m grid.
        radiometry: Scale, offsets and nodata value of the stored integers.
        files: Images of the bands, in the order of :data:`unclouded.sensors.SENTINEL2`.
        cloud_percent: Cloud cover of the whole product from its metadata; None if they do not contain it.
        sun: Mean position of the sun; None if the metadata do not contain it.
        classes: Image of the scene classification (SCL) of Level-2A; None if the product lists none.
    """

    identity: str
    level: Level
    tile: str
    acquired: datetime
    baseline: str
    geobox: GeoBox
    radiometry: Radiometry
    files: tuple[BandFile, ...]
    cloud_percent: float | None = None
    sun: Sun | None = None
    classes: BandFile | None = None

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names."""
        return tuple(file.band for file in self.files)


def describe_product(product: ProductFolder, *, allow_l2a: bool = False, tile: str | None = None) -> Sentinel2Product:
    """Read the metadata of a Sentinel-2 product in the compact or in the old format.

    Args:
        product: Folder of the product.
        allow_l2a: Whether to accept Level-2A, too.
        tile: Granule of a product with several, such as ``T32UPU``.

    Raises:
        InputError: The product is another one, which the message names, or its metadata are damaged or impossible.
    """
    metadata = _product_metadata(product)
    level = _LEVELS[metadata.name]
    require_accepted(product.path, level, allow_l2a=allow_l2a)
    granule_folder, images = _granule(product, metadata, tile)
    granule = _granule_metadata(product, granule_folder)
    files = _band_files(product, images, level)
    radiometry = Radiometry(_offsets(metadata, tuple(file.band for file in files)))
    clouds = metadata.first("Cloud_Coverage_Assessment")
    return Sentinel2Product(
        identity=(metadata.first("PRODUCT_URI") or metadata.one("PRODUCT_URI_2A")).text.removesuffix(".SAFE"),
        level=level,
        tile=_tile(granule_folder),
        acquired=granule.one("SENSING_TIME").time,
        baseline=metadata.one("PROCESSING_BASELINE").text,
        geobox=_grid(granule),
        radiometry=radiometry,
        files=files,
        cloud_percent=clouds.number if clouds else None,
        sun=_sun(granule),
        classes=_class_file(images) if level == "L2A" else None,
    )


def require_accepted(path: Path, level: Level, *, allow_l2a: bool) -> None:
    """Refuse a product of Level-2A where only Level-1C is accepted.

    Raises:
        InputError: The product has the other level.
    """
    if level == "L2A" and not allow_l2a:
        raise InputError(f"{named(path)} is a Level-2A product, expected Level-1C; fetch the L1C of this scene")


def _sun(granule: XmlElement) -> Sun | None:
    angles = granule.first("Mean_Sun_Angle")
    if angles is None:
        return None
    azimuth, elevation = angles.one("AZIMUTH_ANGLE").number % 360, 90 - angles.one("ZENITH_ANGLE").number
    return Sun(azimuth, elevation) if 0 < elevation <= 90 else None


@dataclass(frozen=True)
class ProcessingLevel:
    """Level of an optical image.

    Attributes:
        level: ``L1C`` or ``L2A``.
        has_classes: Whether the image has a scene classification (SCL).
    """

    level: Level
    has_classes: bool = False


def processing_level(product: ProductFolder) -> ProcessingLevel:
    """Return the level of a product, from its metadata alone.

    Raises:
        InputError: The product is another one, which the message names, or its metadata are damaged.
    """
    metadata = _product_metadata(product)
    classified = any(_IMAGE_CLASSES.search(image) for images in _granules(metadata).values() for image in images)
    return ProcessingLevel(_LEVELS[metadata.name], classified and _LEVELS[metadata.name] == "L2A")


def tiles_of(product: ProductFolder) -> tuple[str, ...]:
    """Return the tiles of a product, such as ``T32UPU``: one, or, in the old format until December 2016, up to 20.

    Raises:
        InputError: The product is another one, which the message names, or its metadata are damaged.
    """
    return tuple(sorted(_tile(folder) for folder in _granules(_product_metadata(product))))


def _product_metadata(product: ProductFolder) -> XmlElement:
    names = [*product.names("MTD_MSI*.xml"), *product.names("S2?_*_MTD_SAFL*.xml")]
    if len(names) != 1:
        raise InputError(f"{named(product.path)} is {kind_of(product)}, expected a Sentinel-2 Level-1C product")
    metadata = XmlElement.read(product.checked(names[0]))
    if metadata.name not in _LEVELS:
        raise InputError(f"{named(product.path)} holds a {metadata.name[:40]}, expected a Level-1C_User_Product")
    return metadata


def _granule(product: ProductFolder, metadata: XmlElement, tile: str | None) -> tuple[str, list[str]]:
    """Return the folder of the granule and the names of its images, without their suffix."""
    granules = _granules(metadata)
    tiles = {_tile(folder): folder for folder in granules}
    chosen = tile.upper() if tile else next(iter(tiles), "") if len(tiles) == 1 else ""
    chosen = chosen if chosen.startswith("T") or not chosen else f"T{chosen}"
    if chosen not in tiles:
        choice = " ".join(sorted(tiles)) or "none"
        raise InputError(f"{named(product.path)} holds the tiles {choice}, expected one of them to be named; set tile")
    return tiles[chosen], granules[tiles[chosen]]


def _granules(metadata: XmlElement) -> dict[str, list[str]]:
    """Return the names of images, without their suffix, by the folder of their granule."""
    return dict(_images(element) for name in ("Granule", "Granules") for element in metadata.all(name))


def _images(granule: XmlElement) -> tuple[str, list[str]]:
    """Return the folder of a granule and the names of its images; the old format contains names without folders."""
    if files := [file.text for file in granule.all("IMAGE_FILE")]:
        folder = files[0].split("/")[1] if "/" in files[0] else ""
    else:
        folder = granule.attribute("granuleIdentifier")
        images = (*granule.all("IMAGE_ID"), *granule.all("IMAGE_ID_2A"))
        files = [f"GRANULE/{folder}/IMG_DATA/{image.text}" for image in images]
    if not re.fullmatch(r"\w[\w.-]*", folder):
        raise InputError(f"{named(granule.path)} names the granule {folder[:40]!r}, expected a folder of the product")
    return folder, files


def _tile(granule_folder: str) -> str:
    found = re.search(r"_(T\d\d[A-Z]{3})(?:_|$)", granule_folder)
    return found.group(1) if found else granule_folder


def _granule_metadata(product: ProductFolder, folder: str) -> XmlElement:
    patterns = ("MTD_TL.xml", "S2?_*_MTD_L??_TL_*.xml")
    names = [name for pattern in patterns for name in product.names(f"GRANULE/{folder}/{pattern}")]
    if len(names) > 1:
        raise InputError(f"{named(product.path)} has {len(names)} metadata files for {folder[:80]}, expected one")
    if not names:
        there = sorted({name.split("/")[1] for name in product.names("GRANULE/*/*")})
        found = ", ".join(ascii(one)[1:-1][:80] for one in there[:3]) or "none"
        raise InputError(
            f"{named(product.path)} has no metadata for the granule {folder[:80]} that its own metadata name, found "
            f"the granule {found}; give the folder its name again, or fetch the product again"
        )
    return XmlElement.read(product.checked(names[0]))


def _class_file(images: list[str]) -> BandFile | None:
    """Return the image of the scene classification with pixels of 20 m."""
    found = next((image for image in sorted(images) if _IMAGE_CLASSES.search(image)), None)
    return None if found is None else BandFile("SCL", f"{found}.jp2", CLASSES_M, "uint8")


def _band_files(product: ProductFolder, images: list[str], level: Level) -> tuple[BandFile, ...]:
    """Return the image of each band, the finest where there are several."""
    bands = optical_sensor(level).bands
    found: dict[str, BandFile] = {}
    for image in sorted(images):  # _10m before _20m
        if match := _IMAGE_BAND.search(image):
            band, pixel = match.groups()
            found.setdefault(band, BandFile(band, f"{image}.jp2", int(pixel) if pixel else native_pixel_m(band)))
    if missing := [band for band in bands if band not in found]:
        raise InputError(f"{named(product.path)} lists no image of {' '.join(missing)}, expected {' '.join(bands)}")
    return tuple(found[band] for band in bands)


def native_pixel_m(band: str) -> int:
    """Return the pixel size of a band in metres, as it is measured."""
    return 10 if band in ("B02", "B03", "B04", "B08") else 60 if band in ("B01", "B09", "B10") else 20


def _offsets(metadata: XmlElement, bands: tuple[str, ...]) -> tuple[int, ...]:
    """Return the offset of each band from its tag; date and baseline are not reliable indicators.

    Raises:
        InputError: Only some bands have the tag, or the quantification value is not 10 000.
    """
    steps = [*metadata.all("QUANTIFICATION_VALUE"), *metadata.all("BOA_QUANTIFICATION_VALUE")]
    if [step.number for step in steps] != [QUANTIFICATION]:
        found = " ".join(step.text for step in steps) or "none"
        raise InputError(f"{named(metadata.path)} has the quantification value {found[:40]}, expected 10000")
    tags = [*metadata.all("RADIO_ADD_OFFSET"), *metadata.all("BOA_ADD_OFFSET")]
    if not tags:
        return (0,) * len(bands)
    numbered = {SENTINEL2.bands[int(number)]: tag.whole for tag in tags if (number := _band_number(tag)) is not None}
    if missing := [band for band in bands if band not in numbered]:
        raise InputError(f"{named(metadata.path)} has offsets, but none for {' '.join(missing)}; fetch it again")
    if excess := [offset for offset in numbered.values() if not -10_000 <= offset <= 10_000]:
        raise InputError(f"{named(metadata.path)} has the offset {excess[0]}, expected -1000 or so; fetch it again")
    return tuple(numbered[band] for band in bands)


def _band_number(tag: XmlElement) -> int | None:
    name = "band_id" if tag.attribute("band_id") else "bandId"
    number = tag.whole_attribute(name)
    return number if number is not None and number < len(SENTINEL2.bands) else None


def _grid(granule: XmlElement) -> GeoBox:
    """Return the 10 m grid; those of 20 m and 60 m must lie on it.

    Raises:
        InputError: The CRS is not UTM, or the three grids cover different ground.
    """
    crs = granule.one("HORIZONTAL_CS_CODE").text.upper()
    match = _UTM.fullmatch(crs)
    if not match or not 1 <= int(match.group(2)) <= 60:
        raise InputError(f"{named(granule.path)} lies in {crs[:20]}, expected a UTM zone (84 N to 80 S)")
    sizes = {_resolution(size): size for size in granule.all("Size")}
    places = {_resolution(place): place for place in granule.all("Geoposition")}
    both = sizes.keys() & places.keys()
    extents = {_extent(sizes[metres], places[metres], metres) for metres in RESOLUTIONS_M if metres in both}
    if len(extents) != 1 or not both.issuperset(RESOLUTIONS_M):
        raise InputError(f"{named(granule.path)} has grids of 10, 20 and 60 m that do not cover the same ground")
    left, top, width, height = extents.pop()
    if not (0 < width <= 10 * MAX_SIDE and 0 < height <= 10 * MAX_SIDE):
        raise InputError(f"{named(granule.path)} declares {width} x {height} m, expected at most {10 * MAX_SIDE}")
    return GeoBox((height // 10, width // 10), Affine(10, 0, left, 0, -10, top), crs)


def _resolution(element: XmlElement) -> int:
    return element.whole_attribute("resolution") or 0


def _extent(size: XmlElement, place: XmlElement, metres: int) -> tuple[int, int, int, int]:
    """Return left, top, width and height in metres."""
    steps = place.one("XDIM").whole, place.one("YDIM").whole
    if steps != (metres, -metres):
        raise InputError(f"{named(size.path)} has steps of {steps} m for pixels of {metres} m; fetch it again")
    width, height = (metres * size.one(name).whole for name in ("NCOLS", "NROWS"))
    return place.one("ULX").whole, place.one("ULY").whole, width, height
