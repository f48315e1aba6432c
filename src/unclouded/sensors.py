"""Sentinel-1 and Sentinel-2: band names, wavelengths, physical units, and their storage in files."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from unclouded.errors import InputError

Level = Literal["L1C", "L2A"]
"""Processing level of Sentinel-2: L1C is reflectance at the top of the atmosphere, L2A at the surface."""


@dataclass(frozen=True)
class Sensor:
    """A sensor as in SEN12MS-CR.

    Attributes:
        name: Name for messages.
        bands: Band names in the order of the files.
        unit: Physical unit of values in memory.
        clip: Range of the inputs of networks, in that unit (section III-B.2 of the paper).
        dtypes: Data types of files.
        stored_per_unit: Scale of stored numbers: reflectance is stored times 10,000, dB unchanged.
        no_data: Stored numbers that mean no data regardless of a file's tags: Level-1C products reserve 0 for no data
            and 65535 for saturation, and store dark pixels as at least 1.
    """

    name: str
    bands: tuple[str, ...]
    unit: str
    clip: tuple[float, float]
    dtypes: tuple[str, ...]
    stored_per_unit: float
    no_data: tuple[float, ...] = ()

    def indices(self, *bands: str) -> list[int]:
        """Return the positions of bands in a file, counted from 0.

        Raises:
            InputError: A name is not a band of this sensor.
        """
        return [self.bands.index(band) for band in self.named(bands)]

    def named(self, bands: Iterable[str]) -> tuple[str, ...]:
        """Return band names in this sensor's spelling (``B4`` is ``B04``, ``b8a`` is ``B8A``, ``red`` is ``B04``).

        Raises:
            InputError: A name is not a band of this sensor, or is given twice.
        """
        spelled = tuple(_spelling(band) for band in bands)
        if unknown := [band for band in spelled if band not in self.bands]:
            raise InputError(
                f"{', '.join(unknown) or 'nothing'} is no band of {self.name}; choose from {' '.join(self.bands)}"
            )
        if len(set(spelled)) < len(spelled) or not spelled:
            raise InputError(f"expected one or more different bands, found {' '.join(spelled) or 'none'}")
        return spelled


def _spelling(band: str) -> str:
    upper = band.strip().upper()
    if upper in _BY_COMMON_NAME:
        return _BY_COMMON_NAME[upper]
    return f"B0{upper[1]}" if len(upper) == 2 and upper[0] == "B" and upper[1].isdigit() else upper


SENTINEL1 = Sensor(
    name="Sentinel-1",
    bands=("VV", "VH"),
    unit="dB",
    clip=(-25.0, 0.0),
    dtypes=("float32", "float64"),
    stored_per_unit=1.0,
)

SENTINEL2 = Sensor(
    name="Sentinel-2",
    bands=("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"),
    unit="reflectance",
    clip=(0.0, 1.0),
    dtypes=("uint16", "int16"),
    stored_per_unit=10_000.0,
    no_data=(0, 65535),
)

SENTINEL2_L2A = replace(
    SENTINEL2, name="Sentinel-2 L2A", bands=tuple(band for band in SENTINEL2.bands if band != "B10")
)
"""Surface reflectance (L2A): the bands of L1C without the cirrus band, which does not see the surface."""

SENSORS = (SENTINEL1, SENTINEL2, SENTINEL2_L2A)


def optical_sensor(level: Level) -> Sensor:
    """Return Sentinel-2 at a processing level."""
    return SENTINEL2_L2A if level == "L2A" else SENTINEL2


def optical_level(sensor: Sensor) -> Level:
    """Return the processing level of Sentinel-2 with the bands of a sensor."""
    return "L2A" if sensor == SENTINEL2_L2A else "L1C"


RGB = ("B04", "B03", "B02")
"""The three bands of the paper, in the order red, green, blue."""


WAVELENGTH_NM = {
    "B01": 443, "B02": 490, "B03": 560, "B04": 665, "B05": 705, "B06": 740, "B07": 783,
    "B08": 842, "B8A": 865, "B09": 945, "B10": 1375, "B11": 1610, "B12": 2190,
}  # fmt: skip
"""Central wavelengths by band (Sentinel-2 User Handbook of ESA)."""


COMMON_NAME = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge071", "B06": "rededge075",
    "B07": "rededge078", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B10": "cirrus", "B11": "swir16",
    "B12": "swir22",
}  # fmt: skip
"""Common band names of the STAC electro-optical extension."""

_BY_COMMON_NAME = {name.upper(): band for band, name in COMMON_NAME.items()}

ALIASES = _BY_COMMON_NAME | {
    "REDEDGE1": "B05", "REDEDGE2": "B06", "REDEDGE3": "B07",
}  # fmt: skip
"""Bands by their common names in capitals, and by those of catalogues that number the red edge."""
