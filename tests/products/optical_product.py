"""A simulated Sentinel-2 product, complete and of any size: metadata as Copernicus writes it, and JPEG 2000 images."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import rasterio
from affine import Affine
from jaxtyping import Integer, UInt16
from numpy import ndarray
from rasterio.errors import NotGeoreferencedWarning

from products.manifest import Checksum, write_manifest
from unclouded.sensors import SENTINEL2

PIXEL_M = {band: 60 if band in ("B01", "B09", "B10") else 20 for band in SENTINEL2.bands} | dict.fromkeys(
    ("B02", "B03", "B04", "B08"), 10
)
"""Pixel size of each band in metres."""
CLASSES_M = 20
"""Pixel size of the scene classification of L2A, the image ``SCL``."""


@dataclass(frozen=True)
class OpticalProduct:
    """Metadata of a simulated product.

    Attributes:
        level: Processing level.
        layout: ``compact`` since December 2016, ``old`` before.
        baseline: Processing baseline, four digits with a point.
        offset: RADIO_ADD_OFFSET; None writes no tags, as before baseline 04.00.
        acquired: Time of acquisition, in UTC.
        tile: Tile of the military grid.
        epsg: CRS.
        corner: Easting and northing of the upper left corner, in metres.
        checksum: Algorithm of the manifest.
    """

    level: Literal["L1C", "L2A"] = "L1C"
    layout: Literal["compact", "old"] = "compact"
    baseline: str = "03.01"
    offset: int | None = None
    acquired: datetime = datetime(2021, 9, 8, 10, 27, 1, 24_000, tzinfo=UTC)
    tile: str = "T32TQM"
    epsg: int = 32632
    corner: tuple[int, int] = (699_960, 4_900_020)
    checksum: Checksum = "MD5"

    @property
    def identity(self) -> str:
        """Name of the product's folder, without ``.SAFE``."""
        seen = self.acquired.strftime("%Y%m%dT%H%M%S")
        if self.layout == "old":
            return f"S2A_OPER_PRD_MSIL1C_PDMC_{seen}_R065_V{seen}_{seen}"
        return f"S2A_MSI{self.level}_{seen}_N{self.baseline.replace('.', '')}_R065_{self.tile}_{seen}"

    @property
    def granule(self) -> str:
        """Name of the granule's folder."""
        seen = self.acquired.strftime("%Y%m%dT%H%M%S")
        if self.layout == "old":
            return f"S2A_OPER_MSI_L1C_TL_SGS__{seen}_A032448_{self.tile}_N{self.baseline}"
        return f"{self.level}_{self.tile}_A032448_{seen}"

    def image(self, band: str, pixel_m: int) -> str:
        """Return the name of a band's image in the product's folder, without suffix."""
        if self.layout == "old":
            return f"GRANULE/{self.granule}/IMG_DATA/{self.granule[:-7]}_{band}"
        stem = f"{self.tile}_{self.acquired.strftime('%Y%m%dT%H%M%S')}_{band}"
        folder = f"GRANULE/{self.granule}/IMG_DATA"
        return f"{folder}/{stem}" if self.level == "L1C" else f"{folder}/R{pixel_m}m/{stem}_{pixel_m}m"


def write_optical_product(
    root: Path, stored: Mapping[str, Integer[ndarray, "_rows _columns"]], product: OpticalProduct
) -> Path:
    """Write a product; return its folder.

    Args:
        root: Folder that will hold the product's folder.
        stored: Integers of each band at its own pixel size (:data:`PIXEL_M`), as they shall be stored; for L2A also
            the classes ``SCL`` (:data:`CLASSES_M`), uint8.
        product: Metadata.
    """
    folder = root / f"{product.identity}.SAFE"
    height, width = stored["B02"].shape
    for band, values in stored.items():
        pixel_m = PIXEL_M.get(band, CLASSES_M)
        _write_image(folder / f"{product.image(band, pixel_m)}.jp2", values, product, pixel_m)
    if product.layout == "old":
        stem = product.identity.split("_MSIL1C_")[1]
        product_metadata = f"S2A_OPER_MTD_SAFL1C_{stem}.xml"
        granule_metadata = f"{product.granule[:-7].replace('_MSI_', '_MTD_')}.xml"
    else:
        product_metadata, granule_metadata = f"MTD_MSI{product.level}.xml", "MTD_TL.xml"
    (folder / product_metadata).write_text(_product_metadata(product, list(stored)))
    (folder / "GRANULE" / product.granule / granule_metadata).write_text(_granule_metadata(product, height, width))
    write_manifest(folder, f"SENTINEL-2 MSI {product.level} User Product", product.checksum)
    return folder


def write_joined_product(
    root: Path, granules: Iterable[tuple[Mapping[str, UInt16[ndarray, "_rows _columns"]], OpticalProduct]]
) -> Path:
    """Write one product of several tiles, as they were delivered until December 2016; return its folder.

    Args:
        root: Folder that will hold the product's folder.
        granules: Integers and description of each tile, as for :func:`write_optical_product`; all of the old layout and
            of one time, which their product is called by.
    """
    listed = ""
    for stored, product in granules:
        folder = write_optical_product(root, stored, product)
        (metadata,) = folder.glob("*.xml")
        head, opened, rest = metadata.read_text().partition("<Granule_List>")
        one, closed, tail = rest.partition("</Granule_List>")
        listed += one
        metadata.write_text(f"{head}{opened}{listed}{closed}{tail}")
    write_manifest(folder, "SENTINEL-2 MSI L1C User Product", product.checksum)
    return folder


def _write_image(path: Path, values: Integer[ndarray, "rows columns"], product: OpticalProduct, pixel_m: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    profile = {"driver": "JP2OpenJPEG", "height": height, "width": width, "count": 1, "dtype": values.dtype.name}
    place = Affine(pixel_m, 0, product.corner[0], 0, -pixel_m, product.corner[1])
    tile = 1024 if max(values.shape) > 2048 else 128
    lossless = {"QUALITY": 100, "REVERSIBLE": "YES", "BLOCKXSIZE": tile, "BLOCKYSIZE": tile}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # while it is being written
        with rasterio.open(path, "w", crs=product.epsg, transform=place, **profile, **lossless) as file:
            file.write(values, 1)


def _product_metadata(product: OpticalProduct, bands: list[str]) -> str:
    level = {"L1C": "1C", "L2A": "2A"}[product.level]
    seen = product.acquired.strftime("%Y-%m-%dT%H:%M:%S.024Z")
    images = [product.image(band, PIXEL_M.get(band, CLASSES_M)) for band in bands]
    if product.layout == "old":
        names = "".join(f"<BAND_NAME>{band.replace('B0', 'B')}</BAND_NAME>\n" for band in bands)
        granule, query = "Granules", f"<Band_List>\n{names}</Band_List>\n"
        listed = "".join(f"<IMAGE_ID>{image.rpartition('/')[2]}</IMAGE_ID>\n" for image in images)
    else:
        granule, query = "Granule", "<PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT>\n"
        listed = "".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>\n" for image in images)
    return f"""\
<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd">
    <n1:General_Info>
        <Product_Info>
            <PRODUCT_START_TIME>{seen}</PRODUCT_START_TIME>
            <PRODUCT_STOP_TIME>{seen}</PRODUCT_STOP_TIME>
            <PRODUCT_URI>{product.identity}.SAFE</PRODUCT_URI>
            <PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>
            <PRODUCT_TYPE>S2MSI{level}</PRODUCT_TYPE>
            <PROCESSING_BASELINE>{product.baseline}</PROCESSING_BASELINE>
            <Query_Options completeSingleTile="true">
{query}            </Query_Options>
            <Product_Organisation>
                <Granule_List>
                    <{granule} granuleIdentifier="{product.granule}" imageFormat="JPEG2000">
{listed}                    </{granule}>
                </Granule_List>
            </Product_Organisation>
        </Product_Info>
        <Product_Image_Characteristics>
            <Special_Values>
                <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
                <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
            </Special_Values>
            <Special_Values>
                <SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
                <SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
            </Special_Values>
{_quantification(product)}        </Product_Image_Characteristics>
    </n1:General_Info>
</n1:Level-{level}_User_Product>
"""


def _quantification(product: OpticalProduct) -> str:
    quantity = "BOA" if product.level == "L2A" else "RADIO"
    step = '<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>\n'
    if product.level == "L2A":
        step = f"<QUANTIFICATION_VALUES_LIST>{step.replace('QUANT', 'BOA_QUANT')}</QUANTIFICATION_VALUES_LIST>\n"
    if product.offset is None:
        return step
    tags = (f'<{quantity}_ADD_OFFSET band_id="{n}">{product.offset}</{quantity}_ADD_OFFSET>\n' for n in range(13))
    group = "BOA_ADD_OFFSET_VALUES_LIST" if product.level == "L2A" else "Radiometric_Offset_List"
    return f"{step}<{group}>\n{''.join(tags)}</{group}>\n"


def _granule_metadata(product: OpticalProduct, height: int, width: int) -> str:
    zone = f"{product.epsg % 100:02d}{'N' if product.epsg < 32700 else 'S'}"
    grids = "".join(_grid(product, height, width, metres) for metres in (10, 20, 60))
    return f"""\
<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-1C_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-1C_Tile_Metadata.xsd">
  <n1:General_Info>
    <TILE_ID metadataLevel="Brief">{product.granule}</TILE_ID>
    <SENSING_TIME metadataLevel="Standard">{product.acquired.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}</SENSING_TIME>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Tile_Geocoding metadataLevel="Brief">
      <HORIZONTAL_CS_NAME>WGS84 / UTM zone {zone}</HORIZONTAL_CS_NAME>
      <HORIZONTAL_CS_CODE>EPSG:{product.epsg}</HORIZONTAL_CS_CODE>
{grids}    </Tile_Geocoding>
    <Tile_Angles metadataLevel="Standard">
      <Mean_Sun_Angle>
        <ZENITH_ANGLE unit="deg">47.5</ZENITH_ANGLE>
        <AZIMUTH_ANGLE unit="deg">155.25</AZIMUTH_ANGLE>
      </Mean_Sun_Angle>
    </Tile_Angles>
  </n1:Geometric_Info>
</n1:Level-1C_Tile_ID>
"""


def _grid(product: OpticalProduct, height: int, width: int, metres: int) -> str:
    rows, columns = height * 10 // metres, width * 10 // metres
    left, top = product.corner
    return f"""\
      <Size resolution="{metres}"><NROWS>{rows}</NROWS><NCOLS>{columns}</NCOLS></Size>
      <Geoposition resolution="{metres}">
        <ULX>{left}</ULX><ULY>{top}</ULY><XDIM>{metres}</XDIM><YDIM>-{metres}</YDIM>
      </Geoposition>
"""
