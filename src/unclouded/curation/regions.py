"""Settings of a curation: regions with their products, the choice of products, patches and screening."""

from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from unclouded.batch.storage import is_url, require_known_storage
from unclouded.catalogue.pairing import APART_DAYS
from unclouded.files import resolved
from unclouded.patches.cutting import PATCH_PX, STRIDE_PX
from unclouded.patches.geographic_split import APART_KM, PlacedRegion, require_apart
from unclouded.patches.roi import Roi
from unclouded.patches.screening import ScreeningSettings
from unclouded.patches.splits import PARTS, Split, official_counts
from unclouded.patches.storing import StoreKind
from unclouded.sentinel.radar_units import RadarUnits
from unclouded.settings import Settings

MAX_BYTES = 2 << 20
"""Largest file of regions, enough for about five thousand; the general limit of settings files allows two hundred."""
_MAX_URL = 2000


def _source(value: Any) -> Any:
    """Return a path or a checked URL; a URL with an unknown protocol must not pass as a path."""
    if not isinstance(value, str) or not is_url(value):
        return Path(value) if isinstance(value, str) else value
    if len(value) > _MAX_URL:
        raise ValueError(f"expected a URL of at most {_MAX_URL:,} characters, found {len(value):,}")
    require_known_storage(value)
    return value


Source = Annotated[str | Path, BeforeValidator(_source)]
"""Path of a product, or its URL in a storage, such as ``s3://bucket/NAME.SAFE``."""


class Region(Settings):
    """One region with the products of its triplets, named or to be chosen; paths are relative to the settings file.

    Products are chosen from the season in the region's name. Without an elevation model of its own, the region uses
    the common one.
    """

    roi: str = Field(description="name such as ROIs0001_summer_12")
    radar: Source | None = Field(None, description="Sentinel-1 GRD product, or GeoTIFF of VV and VH")
    clear: Source | None = Field(None, description="Sentinel-2 Level-1C product or GeoTIFF without clouds")
    cloudy: Source | None = Field(None, description="Sentinel-2 Level-1C product or GeoTIFF with clouds")
    radar_from: Path | None = Field(None, description="folder of radar products to choose from, instead of radar")
    optical_from: Path | None = Field(None, description="folder of Level-1C products, instead of clear, cloudy or both")
    dates: tuple[date, date] | None = Field(None, description="first and last day to choose from")
    center: tuple[float, float] | None = Field(None, description="longitude and latitude of its centre")
    split: str | None = Field(None, pattern="^(train|val|test)$", description="part of the split")
    heights: Path | None = Field(None, description="elevation model for the terrain correction of a radar product")
    heights_datum_m: float | None = Field(None, description="geoid undulation to add to its heights")

    @property
    def named(self) -> dict[str, Path | str]:
        """Paths and URLs of the named products by role."""
        given = {"radar": self.radar, "clear": self.clear, "cloudy": self.cloudy}
        return {role: path for role, path in given.items() if path is not None}

    @property
    def is_named(self) -> bool:
        """Whether all three products are named."""
        return len(self.named) == 3

    @model_validator(mode="after")
    def _complete(self) -> "Region":
        if (self.radar is None) == (self.radar_from is None):
            raise ValueError(f"{self.roi} needs either radar or radar_from")
        if (self.optical_from is None) == (self.clear is None or self.cloudy is None):
            raise ValueError(f"{self.roi} needs either clear and cloudy, or optical_from for the missing ones")
        if not self.is_named and self.center is None:
            raise ValueError(f"{self.roi} needs a center, to find the products that show it")
        if self.clear is not None and self.clear == self.cloudy:
            raise ValueError(f"{self.roi} has one product as clear and as cloudy; name one of another day as cloudy")
        if self.dates and (self.is_named or self.dates[0] > self.dates[1]):
            raise ValueError(f"{self.roi} has dates, expected a first and a last day to choose products from")
        return self

    def within(self, folder: Path) -> "Region":
        """Return the region with absolute paths."""
        paths = ("radar", "clear", "cloudy", "radar_from", "optical_from", "heights")
        given = {key: path for key in paths if isinstance(path := getattr(self, key), Path)}
        return self.model_copy(update={key: resolved(folder / path) for key, path in given.items()})

    @field_validator("roi")
    @classmethod
    def _named(cls, text: str) -> str:
        if Roi.parse(text) in official_counts():
            raise ValueError(f"{text} is a published region of SEN12MS-CR; name new regions with another seed")
        return text


class ChoosingSettings(Settings):
    """Choice of products from folders."""

    covers: float = Field(0.99, gt=0, le=1, description="smallest share of the region that a product must show")
    clear_below: float = Field(
        0.01, ge=0, le=1, description="largest cloud coverage of the clear image over the region"
    )
    apart_days: float = Field(
        APART_DAYS, ge=1, description="smallest time between the clear and the cloudy image, also of named ones"
    )


class CurationSettings(Settings):
    """Regions of a data set and the settings they share."""

    regions: tuple[Region, ...] = Field(min_length=1)
    rows: int = Field(4000, description="maximum rows of a region, of 10 m (the paper: 40 km)")
    columns: int = Field(5200, description="maximum columns of a region (the paper: 52 km)")
    patch_px: int = Field(PATCH_PX, ge=64, le=4096, description="rows and columns of a patch")
    stride_px: int = Field(STRIDE_PX, ge=1, description="distance of neighbouring patches")
    dates: int = Field(1, ge=1, le=60, description="cloudy images per region; several give the layout of SEN12MS-CR-TS")
    radar_units: RadarUnits = Field("dB", description="units of radar GeoTIFFs")
    heights: Path | None = Field(None, description="elevation model for all regions")
    heights_datum_m: float = Field(0.0, description="geoid undulation to add to its heights")
    store: StoreKind = Field(
        "patches", description="one file per image of a patch, or scenes that hold each pixel once"
    )
    coverage: bool = Field(True, description="whether to map the clouds of every patch")
    apart_km: float = Field(APART_KM, ge=0, description="minimum distance between regions of different parts")
    choosing: ChoosingSettings = ChoosingSettings()
    screening: ScreeningSettings = ScreeningSettings()

    @property
    def size_km(self) -> tuple[float, float]:
        """Largest extent of a region, east to west and north to south."""
        return self.columns / 100, self.rows / 100

    @model_validator(mode="after")
    def _sizes_fit(self) -> "CurationSettings":
        if self.stride_px > self.patch_px or min(self.rows, self.columns) < self.patch_px:
            raise ValueError(
                f"expected stride_px <= patch_px <= rows and columns, found {self.stride_px}, {self.patch_px}, "
                f"{self.rows} and {self.columns}"
            )
        if self.store == "scenes" and (self.dates > 1 or self.patch_px != PATCH_PX):
            raise ValueError(f"store = 'scenes' holds one date in patches of {PATCH_PX} px; use store = 'patches'")
        return self

    @model_validator(mode="after")
    def _series_fit(self) -> "CurationSettings":
        if self.dates == 1:
            return self
        if named := next((one.roi for one in self.regions if {"radar", "cloudy"} & one.named.keys()), None):
            raise ValueError(f"{named} names radar or cloudy product, but {self.dates} dates are chosen from folders")
        places = Counter(Roi.parse(one.roi).series_folder for one in self.regions)
        if twice := [str(place).replace("/", "_") for place, count in places.items() if count > 1]:
            raise ValueError(f"two regions would be {twice[0]} in the layout of a time series, which has no seasons")
        return self

    @field_validator("regions")
    @classmethod
    def _different(cls, regions: tuple[Region, ...]) -> tuple[Region, ...]:
        names = [region.roi for region in regions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"duplicate regions {', '.join(twice[:5])}; give each region its own number")
        return regions


def require_parts_apart(settings: CurationSettings, outlines: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise if regions of different parts overlap or are too close; checks the regions with a split and an outline.

    Args:
        settings: Regions and settings.
        outlines: Known outlines by region, GeoJSON geometries in degrees.

    Raises:
        InputError: Lists the nearest two regions.
    """
    known = [(Roi.parse(one.roi), one.split) for one in settings.regions if one.split and one.roi in outlines]
    parts = [frozenset(roi for roi, part in known if part == name) for name in PARTS]
    if sum(map(bool, parts)) > 1:
        placed = [PlacedRegion(roi, outlines[str(roi)]) for roi, _ in known]
        require_apart(Split(*parts), placed, settings.apart_km)
