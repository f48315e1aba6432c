"""What is to be curated: regions with their products, settings, and what a product is known by."""

import zipfile
from pathlib import Path

from pydantic import Field, field_validator

from unclouded.errors import InputError
from unclouded.files import named, require_file, sha256
from unclouded.patches.cutting import PATCH_PX, STRIDE_PX
from unclouded.patches.identity import Roi
from unclouded.patches.screening import ScreeningSettings
from unclouded.scale.tasks import content_id
from unclouded.scenes.archive import is_zip
from unclouded.scenes.radar_units import RadarUnits
from unclouded.settings import Settings


class Region(Settings):
    """One region and the three products it is made of; paths are relative to the file they stand in."""

    roi: str = Field(description="name such as ROIs0001_summer_12")
    radar: Path = Field(description="Sentinel-1 GRD product, or GeoTIFF of VV and VH")
    clear: Path = Field(description="Sentinel-2 Level-1C product or GeoTIFF without clouds")
    cloudy: Path = Field(description="idem with clouds")
    center: tuple[float, float] | None = Field(None, description="longitude and latitude of its middle")
    split: str | None = Field(None, pattern="^(train|val|test)$", description="part it belongs to")

    @field_validator("roi")
    @classmethod
    def _named(cls, text: str) -> str:
        Roi.parse(text)
        return text


class CurationSettings(Settings):
    """What is curated, and how."""

    regions: tuple[Region, ...] = Field(min_length=1)
    rows: int = Field(4000, ge=PATCH_PX, description="most rows of a region, of 10 m (the paper: 40 km)")
    columns: int = Field(5200, ge=PATCH_PX, description="most columns (the paper: 52 km)")
    stride_px: int = Field(STRIDE_PX, ge=1, le=PATCH_PX)
    radar_units: RadarUnits = Field("dB", description="of radar GeoTIFFs")
    coverage: bool = Field(True, description="whether to map the clouds of every patch")
    screening: ScreeningSettings = ScreeningSettings()

    @field_validator("regions")
    @classmethod
    def _different(cls, regions: tuple[Region, ...]) -> tuple[Region, ...]:
        names = [region.roi for region in regions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice[:5])} is there twice; give each region its own number")
        return regions


def fingerprint(path: Path) -> str:
    """Return a hash of a product's content: of its manifest, of the checksums in its zip, or of the file itself.

    Raises:
        InputError: There is no such product.
    """
    if (path / "manifest.safe").is_file():
        return sha256(path / "manifest.safe")
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return content_id([[file.relative_to(path).as_posix(), sha256(file)] for file in files])
    require_file(path)
    if is_zip(path):
        try:
            with zipfile.ZipFile(path) as archive:
                return content_id([[one.filename, one.file_size, one.CRC] for one in archive.infolist()])
        except zipfile.BadZipFile as error:
            raise InputError(f"{named(path)} is not a whole zip ({error}); fetch it again") from error
    return sha256(path)
