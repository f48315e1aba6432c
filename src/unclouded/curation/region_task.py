"""Curation of one region as a task: open its three products, cut, screen and write patches, and describe them all.

A data set may be curated by many processes and machines; see :mod:`unclouded.curation.leases`.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from odc.geo.geobox import GeoBox

from unclouded.batch.storage import fetched, file_states, fingerprint
from unclouded.batch.tasks import Row, content_id
from unclouded.catalogue.pairing import season_of
from unclouded.catalogue.triplets import SceneRecord
from unclouded.clouds.cache import ProbabilityCache
from unclouded.curation.leases import WORK, acquire_lease, choices_of, lease_of, work_folder
from unclouded.curation.products import (
    Folders,
    Product,
    are_remains_of,
    candidates_of,
    choose_products,
    inputs_of,
    outline_of,
)
from unclouded.curation.regions import CurationSettings, Region, require_parts_apart
from unclouded.errors import InputError
from unclouded.files import explained, resolved
from unclouded.io.raster import Raster
from unclouded.patches.cutting import PatchWindow, common_grid, pixels_between, rows_of, windows
from unclouded.patches.geographic_split import circle_around
from unclouded.patches.layouts import CLEAR, CLOUDY, SAR
from unclouded.patches.manifest import ManifestRow
from unclouded.patches.manifest_rows import (
    coverage_columns,
    date_columns,
    identity_columns,
    image_tags,
    measured_values,
    place_columns,
    screening_columns,
    status_columns,
)
from unclouded.patches.reading import TOKENS
from unclouded.patches.review import REJECT, Decision, read_review
from unclouded.patches.roi import REVIEW, PatchId, Roi
from unclouded.patches.screening import MEASURING, Finding, Screening, screen
from unclouded.patches.storing import PatchStore, SeriesDates, open_store
from unclouded.sentinel.footprints import footprint
from unclouded.sentinel.optical import open_optical
from unclouded.sentinel.optical_scene import OpticalScene
from unclouded.sentinel.radar import RadarScene, open_radar
from unclouded.sentinel.scene_alignment import date_gap_days


@dataclass(frozen=True)
class CurateRegion:
    """Curation of one region; see :class:`~unclouded.batch.tasks.Task`.

    Attributes:
        name: Name of the region.
        id: Hash of products and settings.
        root: Root folder of the data set.
        region: The region, with absolute paths.
        settings: Settings of the curation.
        candidates: Products to choose from.
        inputs: Content of the products, and rules of the choice.
        rules: Hash of everything in the id except the inputs.
        products_gone: Whether the region is done and products of it no longer exist, so that it cannot be made again.
    """

    name: str
    id: str
    root: Path
    region: Region
    settings: CurationSettings
    candidates: tuple[SceneRecord, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    rules: str = ""
    products_gone: bool = False

    def run(self) -> list[Row]:
        """Write the patches that pass the screening, and return a manifest row for every candidate patch.

        Raises:
            InputError: A product cannot be used, or the root contains this region made of other products.
        """
        try:
            if self.absent:  # checked before the lease, which an earlier run with these products may hold
                raise InputError(f"{' and '.join(self.absent)} not found; check the path, or fetch the product")
            with explained(self.root):
                screening = self.settings.screening.model_dump(mode="json")
                about = {"inputs": self.inputs, "rules": self.rules, "screening": screening}
                acquire_lease(self.root, self.name, self.id, about)
                self.work.mkdir(parents=True, exist_ok=True)
            return self._rows()
        except InputError as error:
            raise InputError(self.without_folders(str(error))) from error
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def inputs_state(self) -> str:
        """Return a hash of names, sizes and times of the files of all its products.

        A damaged or truncated product that was replaced has the same id, as it has the same manifest.
        """
        places = {*map(str, self.region.named.values()), *(one.place for one in self.candidates)}
        return content_id([file_states(one) for one in sorted(places)])

    @property
    def absent(self) -> list[str]:
        """File names of named products that do not exist."""
        return [path.name for path in self.region.named.values() if isinstance(path, Path) and not path.exists()]

    @property
    def work(self) -> Path:
        """Folder in which products are unpacked and decoded; it exists only while the task runs."""
        return work_folder(self.root, self.id)

    def without_folders(self, text: str) -> str:
        """Return a message with file names instead of paths, so that reasons are the same on every machine."""
        text = re.sub(rf"{re.escape(str(self.work))}/[^/]+/(unpacked/)?", "", text)
        places = [*self.region.named.values(), *(Path(one.place) for one in self.candidates), self.region.heights]
        for path in places:
            text = text.replace(f"{path.parent}/", "") if isinstance(path, Path) else text
        return text

    def _rows(self) -> list[Row]:
        with ExitStack() as fetching:
            here = {
                role: fetching.enter_context(fetched(str(source), self.work / f"fetched-{role}"))
                for role, source in self.region.named.items()
            }
            return self._rows_of(here)

    def _rows_of(self, here: Mapping[str, Path]) -> list[Row]:
        """Return the rows of the region, given the local paths of its named products by role."""
        table = choices_of(self.root, self.name)
        dates = choose_products(self.region, here, self.candidates, self.settings, table, self.work)
        product = dates[0]["clear"]
        with open_optical(product.source, tile=product.tile, work_folder=self.work) as clear:
            return [row for number in range(len(dates)) for row in self._rows_of_date(dates, number, clear)]

    def _rows_of_date(self, dates: Sequence[Mapping[str, Product]], number: int, clear: OpticalScene) -> list[Row]:
        """Return the rows of one cloudy date, given the products of all."""
        region, settings, work, products = self.region, self.settings, self.work, dates[number]
        size_px = settings.rows, settings.columns
        with open_optical(products["cloudy"].source, tile=products["cloudy"].tile, work_folder=work) as cloudy:
            grid = common_grid(clear.geobox, cloudy.geobox, size_px, region.center, settings.patch_px)
            latitude = None if region.center is None else region.center[1]
            if grid.crs is not None:
                outline = footprint(grid)  # raises for regions beyond UTM
                latitude = circle_around(outline).latitude if latitude is None else latitude
            with open_radar(
                products["radar"].source,
                grid,
                align=True,
                units=settings.radar_units,
                heights=region.heights,
                heights_datum_m=region.heights_datum_m or 0.0,
                work_folder=work,
            ) as radar:
                images: dict[str, RadarScene | OpticalScene] = {SAR: radar, CLEAR: clear, CLOUDY: cloudy}
                scenes = {token: _Part.of(image, grid, settings.patch_px) for token, image in images.items()}
                acquired = _dates(radar, clear, cloudy)
                require_dates(acquired, Roi.parse(region.roi).season, latitude, settings.choosing.apart_days)
                known = _scene_columns(images) | {"split": region.split}
                of_series = series_dates(dates, number) if len(dates) > 1 else None
                return [known | row for row in _curated(self, grid, scenes, acquired, image_tags(known), of_series)]


def series_dates(dates: Sequence[Mapping[str, Product]], number: int) -> SeriesDates:
    """Return the days and numbers of one cloudy date of a region; dates are numbered from 0 in the order of time.

    Args:
        dates: Chosen products of each cloudy date by role, all with the same clear product.
        number: Position of the date in this list.
    """
    clear = dates[0]["clear"].acquired
    acquired = {role: product.acquired for role, product in dates[number].items()}
    ordered = sorted(when for when in (clear, *(one["cloudy"].acquired for one in dates)) if when is not None)
    days = {role: when.astimezone(UTC).date() for role, when in acquired.items() if when is not None}
    clear_number, cloudy_number = (ordered.index(when) for when in (clear, acquired["cloudy"]) if when is not None)
    return SeriesDates(cloudy_number, clear_number, days["cloudy"], days["clear"], days["radar"])


def curating(
    settings: CurationSettings, folder: Path, root: Path, folders: Folders | None = None
) -> list[CurateRegion]:
    """Return one task per region; ids depend on the content of the products and on the settings.

    Split and thresholds are no part of the ids, as they change the manifest only. A done region whose products were
    removed keeps its id. Scenes that a review of the data set rejects are no candidates for regions that do not exist
    yet.

    Args:
        settings: Regions and settings.
        folder: Folder that the paths of products are relative to.
        root: Root folder of the data set.
        folders: Index of product folders; lists the unusable entries afterwards.

    Raises:
        InputError: A folder or an elevation model does not exist, or regions of different parts are too close.
    """
    placed_regions = [_with_heights(region, settings).within(folder) for region in settings.regions]
    outlines = {one.roi: outline for one in placed_regions if one.split and (outline := outline_of(one, settings))}
    require_parts_apart(settings, outlines)
    folders = folders or Folders()
    decisions = read_review(root / REVIEW) if (root / REVIEW).is_file() else {}
    return [_task_of(root, placed, settings, folders, decisions) for placed in placed_regions]


def _task_of(
    root: Path, region: Region, settings: CurationSettings, folders: Folders, decisions: Mapping[str, Decision]
) -> CurateRegion:
    """Return the task of a region: the one that made it, or else one of the accepted candidates."""
    lease = lease_of(root, region.roi)
    is_done = lease is not None and (root / WORK / "done" / f"{lease['id']}.json").is_file()
    removed = [folder for folder in (region.radar_from, region.optical_from) if folder and not folder.exists()]
    candidates = () if is_done and removed else candidates_of(region, settings, folders)
    accepted = tuple(one for one in candidates if not _is_rejected(decisions.get(one.name)))
    choices = [candidates] if len(accepted) == len(candidates) else [candidates, accepted]
    tasks = [_task(root, region, one, settings) for one in choices]
    if lease is not None:
        for task in tasks:
            if task.id == lease["id"]:
                return task
        for task in tasks if is_done else []:
            if task.rules == lease.get("rules") and are_remains_of(task.inputs, lease["inputs"], region):
                return replace(task, id=lease["id"], products_gone=True)
    return tasks[-1]


def _task(root: Path, region: Region, candidates: tuple[SceneRecord, ...], settings: CurationSettings) -> CurateRegion:
    manifest_only = {"regions", "choosing", "apart_km", "heights", "heights_datum_m", "screening"}
    common = settings.model_dump(mode="json", exclude=manifest_only)
    common["screening"] = settings.screening.model_dump(mode="json", include=set(MEASURING))
    ground = [fingerprint(region.heights), region.heights_datum_m] if region.heights else []
    inputs = inputs_of(region, candidates, settings)
    rules = content_id("curate 5", region.roi, region.center, ground, common)
    own = settings.model_copy(update={"regions": (region,)})
    return CurateRegion(region.roi, content_id(rules, inputs), resolved(root), region, own, candidates, inputs, rules)


def _is_rejected(decision: Decision | None) -> bool:
    return decision is not None and decision.decision == REJECT


def _with_heights(region: Region, settings: CurationSettings) -> Region:
    """Return a region with its own elevation model, or else the common one."""
    datum_m = settings.heights_datum_m if region.heights_datum_m is None else region.heights_datum_m
    return region.model_copy(update={"heights": region.heights or settings.heights, "heights_datum_m": datum_m})


@dataclass(frozen=True)
class _Part:
    """Part of a scene inside a region.

    Attributes:
        scene: The scene.
        top: First row of the region in the scene.
        left: First column of the region in the scene.
        width: Columns of the region.
        patch_px: Rows of a row of patches.
    """

    scene: RadarScene | OpticalScene
    top: int
    left: int
    width: int
    patch_px: int

    @classmethod
    def of(cls, scene: RadarScene | OpticalScene, grid: GeoBox, patch_px: int) -> "_Part":
        return cls(scene, *pixels_between(scene.geobox, grid), grid.shape[1], patch_px)

    def read(self, top: int) -> Float32[np.ndarray, "band rows x"]:
        """Read the rows of one row of patches, from row ``top`` of the region."""
        values = self.scene.read(self.top + top, self.top + top + self.patch_px)
        return np.ascontiguousarray(values[:, :, self.left : self.left + self.width])


def _curated(
    task: CurateRegion,
    grid: GeoBox,
    scenes: Mapping[str, _Part],
    dates: Mapping[str, datetime | None],
    tags: Mapping[str, Mapping[str, str]],
    of_series: SeriesDates | None,
) -> list[ManifestRow]:
    patches, roi = windows(grid, task.settings.stride_px, task.settings.patch_px), Roi.parse(task.name)
    number = of_series.number if of_series else None
    with open_store(task.settings.store, task.root, roi, grid, patches, of_series, tags) as store:
        rows = list(_candidates(task, grid, scenes, dates, store, patches, number))
    files = store.files()
    return [row | files if row["status"] == "kept" else row for row in rows]


def _candidates(
    task: CurateRegion,
    grid: GeoBox,
    scenes: Mapping[str, _Part],
    dates: Mapping[str, datetime | None],
    store: PatchStore,
    patches: list[PatchWindow],
    date: int | None,
) -> Iterator[ManifestRow]:
    cache = ProbabilityCache()
    for top, row in rows_of(patches):
        strips, damaged = _strips(task, scenes, top)
        store.take(top, strips)
        for window in row:
            patch = PatchId(Roi.parse(task.name), window.number, date)
            place = window.grid(grid)
            known = identity_columns(str(patch), patch) | place_columns(place)
            known |= {"row_px": window.top, "column_px": window.left}
            if damaged:
                screening = Screening(str(patch), tuple(damaged))
                yield known | screening_columns(screening) | status_columns(screening.findings)
                continue
            images = {token: _cut(strips[token], scenes[token].scene.bands, window, place) for token in TOKENS}
            screening = screen(str(patch), images, task.settings.screening, dates)
            known |= screening_columns(screening) | status_columns(screening.rejecting(task.settings.screening))
            known |= measured_values(screening)
            if task.settings.coverage:
                known |= coverage_columns(images[CLOUDY], cache)
            if known["status"] == "kept":
                known |= store.keep(patch, images)
            else:
                store.leave_out(patch)
            yield known


def _strips(
    task: CurateRegion, scenes: Mapping[str, _Part], top: int
) -> tuple[dict[str, Float32[np.ndarray, "band rows x"]], list[Finding]]:
    """Read one row of patches; a damaged image becomes a finding, and the other rows are still processed."""
    strips, damaged = {}, []
    for token, part in scenes.items():
        try:
            strips[token] = part.read(top)
        except InputError as error:
            damaged.append(Finding("unreadable", token, 1.0, 0.0, task.without_folders(str(error))))
    return strips, damaged


def _cut(
    strip: Float32[np.ndarray, "band rows x"], bands: tuple[str, ...], window: PatchWindow, place: GeoBox
) -> Raster:
    return Raster(np.ascontiguousarray(strip[:, :, window.columns]), bands, place)


def _dates(radar: RadarScene, clear: OpticalScene, cloudy: OpticalScene) -> dict[str, datetime | None]:
    return {SAR: radar.acquired, CLEAR: clear.acquired, CLOUDY: cloudy.acquired}


def _scene_columns(scenes: Mapping[str, RadarScene | OpticalScene]) -> ManifestRow:
    dates = date_columns({token: scene.acquired for token, scene in scenes.items()})
    products = {f"{token}_product": scene.identity or scene.path.name for token, scene in scenes.items()}
    remarks = [f"{token}: {remark}" for token, scene in scenes.items() for remark in scene.remarks]
    return {**dates, **products, "remarks": remarks}


def require_dates(
    acquired: Mapping[str, datetime | None], season: str, latitude: float | None, apart_days: float
) -> None:
    """Require that the images of a region are of its season, and clear and cloudy image of different overpasses.

    Chosen products are; named ones may not be.

    Args:
        acquired: Acquisition times by token, None if unknown.
        season: Season in the name of the region.
        latitude: Latitude of the region, None if unknown.
        apart_days: Smallest time between clear and cloudy image.

    Raises:
        InputError: Names the image and its date.
    """
    gap = date_gap_days(acquired[CLEAR], acquired[CLOUDY])
    if gap is not None and abs(gap) < apart_days:
        raise InputError(
            f"clear and cloudy image are {abs(gap):.2f} days apart, expected at least {apart_days:g} and different "
            "overpasses; name an image of another day"
        )
    dated = {token: when for token, when in acquired.items() if when is not None}
    if latitude is None:
        return
    seasons = {token: season_of(when, latitude) for token, when in dated.items()}
    for token, found in seasons.items():
        if found.name != season:
            raise InputError(
                f"{token} of {dated[token]:%Y-%m-%d} is of {found} at latitude {latitude:.1f}, expected a {season} as "
                "in the name of the region; rename the region, or name another image"
            )
    if len(set(seasons.values())) > 1:
        found_dates = ", ".join(f"{token} {when:%Y-%m-%d}" for token, when in dated.items())
        raise InputError(f"the images are of one season in different years ({found_dates}); name images of one year")
