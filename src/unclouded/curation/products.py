"""Choice of the radar, clear and cloudy product of a region: by name, or from folders of products.

:func:`candidates_of` lists the products of the folders that show a region, :func:`inputs_of` returns what determines
the choice (for the id of the task), and :func:`choose_products` makes the choice when the task runs.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from shapely.geometry import shape

from unclouded.batch.storage import fingerprint, known_by
from unclouded.catalogue.local import IMAGES, describe_scenes, products_in
from unclouded.catalogue.triplets import Choice, Kind, SceneRecord, TripletRequirements, choices_table, choose
from unclouded.curation.cloud_check import measure_clouds
from unclouded.curation.described_products import DescribedProducts
from unclouded.curation.regions import CurationSettings, Region
from unclouded.curation.scene_index import SceneIndex
from unclouded.errors import InputError
from unclouded.files import write_text
from unclouded.io.geotiff import read_grid
from unclouded.patches.roi import Roi
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.footprints import footprint, footprint_around
from unclouded.sentinel.identify import Source, identify
from unclouded.sentinel.safe import ProductZip, SafeProduct

_SENSORS = {"radar": SENTINEL1, "clear": SENTINEL2, "cloudy": SENTINEL2}
"""Sensor of the product of each role."""


@dataclass(frozen=True)
class Product:
    """Product chosen for a role of a region.

    Attributes:
        source: Product, or GeoTIFFs.
        tile: Granule to read, for a product of the old format with several.
        acquired: Acquisition time of a chosen product.
    """

    source: Source
    tile: str | None = None
    acquired: datetime | None = None


class Folders:
    """Index of the products in folders; every product is described once.

    Attributes:
        refused: Reasons by path of entries that are not usable products.

    Args:
        processes: Number of processes that read the metadata of products.
    """

    def __init__(self, processes: int = 1) -> None:
        self.refused: dict[Path, str] = {}
        self._processes = processes
        self._indexes: dict[Path, dict[Kind, SceneIndex]] = {}

    def near(self, folder: Path, kind: Kind, outline: Mapping[str, Any]) -> list[SceneRecord]:
        """Return the radar or optical products of a folder whose footprint may intersect a region.

        Raises:
            InputError: The folder does not exist.
        """
        if folder not in self._indexes:
            records = list(self._described(folder))
            self._indexes[folder] = {
                one: SceneIndex(record for record in records if record.kind == one) for one in get_args(Kind)
            }
        return self._indexes[folder][kind].near(outline)

    def _described(self, folder: Path) -> Iterable[SceneRecord]:
        described = DescribedProducts(folder)
        for path, found in described.scenes(products_in(folder), self._processes):
            if isinstance(found, str):
                self.refused[path] = found
            else:
                yield from found
        described.save()


def need_of(region: Region, settings: CurationSettings) -> TripletRequirements:
    """Return the requirements of a region with a center on its products."""
    assert region.center is not None
    return TripletRequirements(
        season=Roi.parse(region.roi).season,
        center=region.center,
        outline=footprint_around(*region.center, settings.size_km),
        dates=region.dates,
        covers=settings.choosing.covers,
        clear_below=settings.choosing.clear_below,
        apart_days=settings.choosing.apart_days,
        cloudy_dates=settings.dates,
    )


def outline_of(region: Region, settings: CurationSettings) -> Mapping[str, Any] | None:
    """Return the outline of a region: around its center, or else around the middle of its named optical images.

    Returns:
        GeoJSON geometry in degrees; None if it is unknown, as for missing or remote images or those without CRS.
    """
    center = region.center
    if center is None:
        named = (region.clear, region.cloudy)
        try:
            images = [shape(_footprint(path)) for path in named if isinstance(path, Path)]
        except InputError:  # the task of the region fails with this reason
            return None
        if len(images) < 2 or (common := images[0].intersection(images[1])).is_empty:
            return None
        center = (common.centroid.x, common.centroid.y)
    with suppress(InputError):  # beyond UTM
        return footprint_around(*center, settings.size_km)
    return None


def _footprint(path: Path) -> Mapping[str, Any]:
    if path.suffix.lower() in IMAGES:
        return footprint(read_grid(path))
    return describe_scenes(path)[0].footprint


def candidates_of(region: Region, settings: CurationSettings, folders: Folders) -> tuple[SceneRecord, ...]:
    """Return the products in a region's folders that show part of it; none if all its products are named."""
    if region.is_named:
        return ()
    need = need_of(region, settings)
    kinds: dict[Kind, Path | None] = {"radar": region.radar_from, "optical": region.optical_from}
    near = [record for kind, folder in kinds.items() if folder for record in folders.near(folder, kind, need.outline)]
    return tuple(record for record in near if need.shown(record))


def open_to(region: Region, candidates: Iterable[SceneRecord], settings: CurationSettings) -> list[SceneRecord]:
    """Return the candidates that are eligible for a region by everything except their clouds."""
    if region.is_named:
        return []
    need = need_of(region, settings)
    return [one for one in candidates if need.is_of_season(one) and not need.refusal(one, need.shown(one))]


def inputs_of(region: Region, candidates: Iterable[SceneRecord], settings: CurationSettings) -> dict[str, Any]:
    """Return everything that determines the products of a region, as JSON values.

    Products that are ineligible whatever their clouds are left out.

    Returns:
        ``named``, the content of the named products by role; ``found``, that of the eligible products of folders; and
        ``rules`` of the choice, if there is any.
    """
    named = {role: known_by(path) for role, path in region.named.items()}
    if region.is_named:
        return {"named": named, "found": [], "rules": []}
    found = [[one.kind, one.name, fingerprint(Path(one.place))] for one in open_to(region, candidates, settings)]
    dates, size = region.model_dump(mode="json")["dates"], [settings.rows, settings.columns]
    return {"named": named, "found": found, "rules": [size, dates, settings.choosing.model_dump()]}


def are_remains_of(inputs: Mapping[str, Any], earlier: Mapping[str, Any], region: Region) -> bool:
    """Return whether products were only removed since earlier inputs, none changed or added, by the same rules.

    Args:
        inputs: Present inputs of a region; see :func:`inputs_of`.
        earlier: Earlier inputs.
        region: The region.
    """
    absent = {role for role, path in region.named.items() if isinstance(path, Path) and not path.exists()}
    named = {role: known for role, known in inputs["named"].items() if role not in absent}
    return (
        inputs["rules"] == earlier["rules"]
        and inputs["named"].keys() == earlier["named"].keys()
        and named.items() <= earlier["named"].items()
        and all(one in earlier["found"] for one in inputs["found"])
    )


def choose_products(
    region: Region,
    here: Mapping[str, Path],
    candidates: Iterable[SceneRecord],
    settings: CurationSettings,
    table: Path,
    work_folder: Path,
) -> list[Mapping[str, Product]]:
    """Return the products of a region by role for each cloudy date, and write a table that explains the choice.

    For a named product with several tiles, the tile that shows most of the region is taken.

    Args:
        region: Region with absolute paths.
        here: Local paths of its named products by role.
        candidates: Products that show part of the region.
        settings: Size of regions, and rules of the choice.
        table: CSV file with a line per candidate; written if there is a choice, even if no three products fit.
        work_folder: Folder in which zips are unpacked.

    Raises:
        InputError: No three products fit, or a named product is not a product.
    """
    if region.is_named:
        sources = {role: identify(path, _SENSORS[role]) for role, path in here.items()}
        tiles = {role: _tile(source, region, settings) for role, source in sources.items() if role != "radar"}
        return [{role: Product(source, tiles.get(role)) for role, source in sources.items()}]
    need, size_px = need_of(region, settings), (settings.rows, settings.columns)

    def coverage(record: SceneRecord) -> tuple[float | None, float]:
        return measure_clouds(Path(record.place), need.center, size_px, work_folder, record.tile)

    described = {role: max(describe_scenes(path), key=need.shown) for role, path in here.items()}
    known = {role: replace(record, place=str(region.named[role])) for role, record in described.items()}
    choice: Choice = choose(list(candidates), need, coverage, known)
    write_text(table, choices_table({region.roi: choice}))
    return [
        {
            role: Product(identify(here.get(role, Path(one.place)), _SENSORS[role]), one.tile, one.acquired)
            for role, one in choice.records(date).items()
        }
        for date in range(1 + len(choice.more))
    ]


def _tile(source: Source, region: Region, settings: CurationSettings) -> str | None:
    """Return the tile of a named product that shows most of a region; None if the product has only one.

    Raises:
        InputError: It has several tiles and the region has no center, or the product is damaged.
    """
    scenes = describe_scenes(source.path) if isinstance(source, SafeProduct | ProductZip) else []
    if len(scenes) < 2:
        return None
    if region.center is None:
        tiles = " ".join(str(scene.tile) for scene in scenes)
        raise InputError(f"{source.path.name} holds the tiles {tiles}, expected one; give {region.roi} a center")
    return max(scenes, key=need_of(region, settings).shown).tile
