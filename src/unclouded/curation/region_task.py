"""From scenes to triplets, one region a task: open, cut, screen, write, and say what became of every candidate."""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Float32
from odc.geo.geobox import GeoBox

from unclouded.batch.storage import fetched, fingerprint
from unclouded.batch.tasks import Row, TaskLedger, content_id
from unclouded.catalogue.triplets import SceneRecord
from unclouded.clouds.cache import ProbabilityCache
from unclouded.curation.products import Folders, candidates_of, choose_products, inputs_of
from unclouded.curation.regions import CurationSettings, Region, require_parts_apart
from unclouded.errors import InputError
from unclouded.files import explained, named, remove_partial_files, resolved, write_json
from unclouded.io.raster import Raster
from unclouded.patches.cutting import PATCH_PX, PatchWindow, common_grid, pixels_between, rows_of, windows
from unclouded.patches.layouts import CLEAR, CLOUDY, SAR
from unclouded.patches.manifest import ManifestRow
from unclouded.patches.manifest_rows import (
    coverage_columns,
    date_columns,
    identity_columns,
    place_columns,
    screening_columns,
    status_columns,
)
from unclouded.patches.reading import TOKENS
from unclouded.patches.roi import MANIFEST, PatchId, Roi
from unclouded.patches.screening import Finding, Screening, screen
from unclouded.patches.storing import PatchStore, open_store, store_folders
from unclouded.sentinel.footprints import footprint
from unclouded.sentinel.optical import OpticalScene, open_optical
from unclouded.sentinel.radar import RadarScene, open_radar
from unclouded.strict_json import read_json


@dataclass(frozen=True)
class CurateRegion:
    """Make the triplets of one region; see :class:`~unclouded.batch.tasks.Task`."""

    name: str
    id: str
    root: Path
    region: Region
    settings: CurationSettings
    candidates: tuple[SceneRecord, ...] = ()

    def run(self) -> list[Row]:
        """Write the patches that pass, and return a row of the manifest for every candidate.

        Raises:
            InputError: A product cannot be used, or the root holds this region made of other products.
        """
        try:
            if self.absent:  # told before the root is asked, which may hold the region made of it
                raise InputError(f"{' and '.join(self.absent)} not found; check the path, or fetch the product")
            with explained(self.root):
                acquire_lease(self.root, self.name, self.id)
                self.work.mkdir(parents=True, exist_ok=True)
            return self._rows()
        except InputError as error:
            raise InputError(self.without_folders(str(error))) from error
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    @property
    def absent(self) -> list[str]:
        """Names of the products that are named and not there."""
        return [path.name for path in self.region.named.values() if isinstance(path, Path) and not path.exists()]

    @property
    def work(self) -> Path:
        """Where products are unpacked and decoded; absent when nobody is at work."""
        return work_folder(self.root, self.id)

    def without_folders(self, text: str) -> str:
        """Return what a reader says with names of files alone: the same here, there and from a temporary folder."""
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
        """Return the rows of a region whose named products lie on this disk, wherever they came from."""
        region, settings, work = self.region, self.settings, self.work
        products = choose_products(region, here, self.candidates, settings, choices_of(self.root, self.name), work)
        with (
            open_optical(products["clear"].path, tile=products["clear"].tile, work_folder=work) as clear,
            open_optical(products["cloudy"].path, tile=products["cloudy"].tile, work_folder=work) as cloudy,
        ):
            grid = common_grid(clear.geobox, cloudy.geobox, (settings.rows, settings.columns), region.center)
            if grid.crs is not None:
                footprint(grid)  # refused beyond UTM
            with open_radar(
                products["radar"].path,
                grid,
                align=True,
                units=settings.radar_units,
                heights=region.heights,
                heights_datum_m=region.heights_datum_m or 0.0,
                work_folder=work,
            ) as radar:
                scenes = {SAR: _Part.of(radar, grid), CLEAR: _Part.of(clear, grid), CLOUDY: _Part.of(cloudy, grid)}
                known = _scene_columns({SAR: radar, CLEAR: clear, CLOUDY: cloudy}) | {"split": region.split}
                return [known | row for row in _curated(self, grid, scenes, _dates(radar, clear, cloudy))]


def curating(
    settings: CurationSettings, folder: Path, root: Path, folders: Folders | None = None
) -> list[CurateRegion]:
    """Return the tasks, one a region; ids change with the content of the products and with the settings.

    Args:
        settings: What to make.
        folder: What paths of products are relative to.
        root: Where the data set is made.
        folders: Knows afterwards what it found in folders of products that is none.

    Raises:
        InputError: A folder or an elevation model is not there, or regions of different parts lie too near.
    """
    require_parts_apart(settings)
    folders = folders or Folders()
    common = settings.model_dump(mode="json", exclude={"regions", "choosing", "apart_km", "heights", "heights_datum_m"})
    tasks = []
    for region in settings.regions:
        placed = _with_heights(region, settings).within(folder)
        candidates = candidates_of(placed, settings, folders)
        inputs = inputs_of(placed, candidates, settings)
        ground = [fingerprint(placed.heights), placed.heights_datum_m] if placed.heights else []
        identity = content_id("curate 2", region.roi, region.center, region.split, inputs, ground, common)
        own = settings.model_copy(update={"regions": (placed,)})
        tasks.append(CurateRegion(region.roi, identity, resolved(root), placed, own, candidates))
    return tasks


def _with_heights(region: Region, settings: CurationSettings) -> Region:
    """Return a region with the elevation model that it has of its own, or that of all."""
    datum_m = settings.heights_datum_m if region.heights_datum_m is None else region.heights_datum_m
    return region.model_copy(update={"heights": region.heights or settings.heights, "heights_datum_m": datum_m})


@dataclass(frozen=True)
class _Part:
    """What a region has of a scene."""

    scene: RadarScene | OpticalScene
    top: int
    left: int
    width: int

    @classmethod
    def of(cls, scene: RadarScene | OpticalScene, grid: GeoBox) -> "_Part":
        return cls(scene, *pixels_between(scene.geobox, grid), grid.shape[1])

    def read(self, top: int) -> Float32[np.ndarray, "band rows x"]:
        """Read as many rows as a patch has."""
        values = self.scene.read(self.top + top, self.top + top + PATCH_PX)
        return np.ascontiguousarray(values[:, :, self.left : self.left + self.width])


def _curated(
    task: CurateRegion, grid: GeoBox, scenes: Mapping[str, _Part], dates: Mapping[str, datetime | None]
) -> list[ManifestRow]:
    patches, roi = windows(grid, task.settings.stride_px), Roi.parse(task.name)
    with open_store(task.settings.store, task.root, roi, grid, patches) as store:
        rows = list(_candidates(task, grid, scenes, dates, store))
    files = store.files()
    return [row | files if row["status"] == "kept" else row for row in rows]


def _candidates(
    task: CurateRegion,
    grid: GeoBox,
    scenes: Mapping[str, _Part],
    dates: Mapping[str, datetime | None],
    store: PatchStore,
) -> Iterator[ManifestRow]:
    cache = ProbabilityCache()
    for top, row in rows_of(windows(grid, task.settings.stride_px)):
        strips, damaged = _strips(task, scenes, top)
        store.take(top, strips)
        for window in row:
            patch = PatchId(Roi.parse(task.name), window.number)
            place = window.grid(grid)
            known = identity_columns(str(patch), patch) | place_columns(place)
            known |= {"row_px": window.top, "column_px": window.left}
            if damaged:
                told = Screening(str(patch), tuple(damaged))
                yield known | screening_columns(told) | status_columns(told.findings)
                continue
            images = {token: _cut(strips[token], scenes[token].scene.bands, window, place) for token in TOKENS}
            screening = screen(str(patch), images, task.settings.screening, dates)
            known |= screening_columns(screening) | status_columns(screening.rejecting(task.settings.screening))
            if task.settings.coverage:
                known |= coverage_columns(images[CLOUDY], cache)
            if known["status"] == "kept":
                known |= store.keep(patch, images)
            yield known


def _strips(
    task: CurateRegion, scenes: Mapping[str, _Part], top: int
) -> tuple[dict[str, Float32[np.ndarray, "band rows x"]], list[Finding]]:
    """Read a row of patches; what is damaged is a finding, and the rest of the region goes on."""
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
    return Raster(np.ascontiguousarray(strip[:, :, window.left : window.left + PATCH_PX]), bands, place)


def _dates(radar: RadarScene, clear: OpticalScene, cloudy: OpticalScene) -> dict[str, datetime | None]:
    return {SAR: radar.acquired, CLEAR: clear.acquired, CLOUDY: cloudy.acquired}


def _scene_columns(scenes: Mapping[str, RadarScene | OpticalScene]) -> ManifestRow:
    dates = date_columns({token: scene.acquired for token, scene in scenes.items()})
    products = {f"{token}_product": scene.identity or scene.path.name for token, scene in scenes.items()}
    remarks = [f"{token}: {remark}" for token, scene in scenes.items() for remark in scene.remarks]
    return {**dates, **products, "remarks": remarks}


# What the root of a data set remembers of its regions, so that curators who share it never mix what they make.


WORK = ".curation"
"""Folder below the root where the tasks leave their notes."""


def work_folder(root: Path, identity: str) -> Path:
    """Return where the products of a task are unpacked and decoded."""
    return root / WORK / "work" / identity


def choices_of(root: Path, roi: str) -> Path:
    """Return where the choice of a region is explained."""
    return root / WORK / "choices" / f"{roi}.csv"


def acquire_lease(root: Path, roi: str, identity: str) -> None:
    """Clean up after a killed attempt, and refuse to mix patches of two sets of products.

    The manifest would not know which is which. Of two who claim a region at once, one is first.

    Raises:
        InputError: The root holds the region made by another task.
    """
    note = _note(root, roi)
    note.parent.mkdir(parents=True, exist_ok=True)
    with _locked(root, f"claim {roi}"):
        if not note.is_file():
            write_json(note, identity)
    if _leased(note) != identity:
        raise InputError(
            f"{named(root)} holds {roi} made of other products or settings; choose another root, or remove the region "
            f"and {named(note)}"
        )
    for folder in store_folders(root, Roi.parse(roi)):
        remove_partial_files(folder)


def clean_up(root: Path, identities: Mapping[str, str], failures: Mapping[str, str]) -> None:
    """Remove what killed tasks left, and what was made of regions that were set aside; nothing that others work on.

    Args:
        root: Of the data set.
        identities: Of settled tasks, by region.
        failures: Which of them were set aside.
    """
    for folder in (root / WORK / "work").glob("*"):
        with suppress(Timeout), FileLock(root / WORK / "locks" / folder.name, timeout=0):  # held by who works there
            shutil.rmtree(folder)
    remove_partial_files(root, {"choices", Path(MANIFEST).stem})
    for name in ("regions", "choices"):
        remove_partial_files(root / WORK / name, set(identities))
    for roi in failures:
        note = _note(root, roi)
        if note.is_file() and _leased(note) == identities[roi]:
            for folder in store_folders(root, Roi.parse(roi)):
                shutil.rmtree(folder, ignore_errors=True)
            note.unlink()


def rows_of_others(root: Path, ledger: TaskLedger, identities: Mapping[str, str]) -> list[Row]:
    """Return the rows of regions that the root holds, and that are done, but were made by other tasks than these.

    They stand in another list, or were made of other products or settings than this one has: what is there stays there.

    Args:
        root: Of the data set.
        ledger: What is known of its tasks.
        identities: Of the tasks of this list, by region.
    """
    claims = {note.stem: _leased(note) for note in sorted((root / WORK / "regions").glob("*.txt"))}
    return ledger.rows_of(held for roi, held in claims.items() if identities.get(roi) != held)


def regions_held(root: Path) -> set[str]:
    """Return the names of the regions that the root holds, or that somebody is making."""
    return {note.stem for note in (root / WORK / "regions").glob("*.txt")}


def _note(root: Path, roi: str) -> Path:
    return root / WORK / "regions" / f"{roi}.txt"


def _leased(note: Path) -> str:
    return str(read_json(note))


def _locked(root: Path, name: str) -> FileLock:
    folder = root / WORK / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / name)
