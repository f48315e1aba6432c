"""Stores for curated images: one file per image of a patch, or scenes in which patches are windows."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Real
from odc.geo.geobox import GeoBox

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings, cloud_map
from unclouded.clouds.synthetic import SyntheticSettings, paint
from unclouded.errors import InputError
from unclouded.files import require_apart
from unclouded.io.geotiff import file_of, write_geotiff
from unclouded.io.raster import Raster, read, to_stored
from unclouded.io.rows import write_rows
from unclouded.patches.cutting import STRIDE_PX, PatchWindow, covered
from unclouded.patches.layouts import CLEAR, CLOUDY, SAR, TripletFiles
from unclouded.patches.manifest import ManifestRow
from unclouded.patches.manifest_rows import file_columns
from unclouded.patches.reading import TOKENS
from unclouded.patches.roi import PatchId, Roi
from unclouded.sensors import SENTINEL1, SENTINEL2

StoreKind = Literal["patches", "scenes"]

Strip = Float32[np.ndarray, "band rows x"]


@runtime_checkable
class PatchStore(Protocol):
    """Receives the images of a region from top to bottom."""

    def take(self, top: int, strips: Mapping[str, Strip]) -> None:
        """Receive rows of the region, by token; rows may repeat, and damaged ones may be missing."""
        ...

    def keep(self, patch: PatchId, images: Mapping[str, Raster]) -> ManifestRow:
        """Store a patch in the rows received last; return the columns of its files that are known by now."""
        ...

    def leave_out(self, patch: PatchId) -> None:
        """Remove the images of a patch that an earlier cut with other thresholds stored."""
        ...

    def files(self) -> ManifestRow:
        """Return the columns that all patches share, once all of them are stored."""
        ...


@dataclass(frozen=True)
class SeriesDates:
    """Dates of the images of one cloudy date of a time series.

    Attributes:
        number: Number of the cloudy date in the region, from 0, in the order of time.
        clear_number: Number of the clear date.
        cloudy: Day of the cloudy image, UTC.
        clear: Day of the clear image.
        sar: Day of the radar image.
    """

    number: int
    clear_number: int
    cloudy: date
    clear: date
    sar: date

    def path(self, patch: PatchId, token: str) -> Path:
        """Return the path of an image of a patch in the layout of SEN12MS-CR-TS, relative to the root."""
        if token == SAR:
            return patch.series_path("s1", self.number, self.sar)
        if token == CLOUDY:
            return patch.series_path("s2", self.number, self.cloudy)
        return patch.series_path("s2", self.clear_number, self.clear)


@contextmanager
def open_store(
    kind: StoreKind,
    root: Path,
    roi: Roi,
    grid: GeoBox,
    patches: list[PatchWindow],
    dates: SeriesDates | None = None,
    tags: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[PatchStore]:
    """Yield a store for the patches of a region; shared files are complete at the end of the block.

    Args:
        kind: ``patches``, the official layout, where overlapping patches repeat most pixels; or ``scenes``, where each
            pixel is stored once (:mod:`unclouded.patches.layouts`).
        root: Root of the data set.
        roi: Region.
        grid: Grid of the region.
        patches: Windows of its patches.
        dates: Dates of one cloudy date of a time series, for kind ``patches``: the layout is that of SEN12MS-CR-TS.
        tags: Tags of the files by token.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
    """
    if kind == "patches":
        yield _Patches(root, dates, tags or {})
        return
    store = _Scenes(root, roi, covered(grid, patches), tags or {})
    with store.writing():
        yield store
    store.done()


def store_folders(root: Path, roi: Roi) -> list[Path]:
    """Return the folders of a region in all kinds of store."""
    official = [root / PatchId(roi, 0).path(token).parent for token in TOKENS]
    series = sorted((root / roi.series_folder).glob("S[12]/*"))
    return [*official, root / roi.scene_path(SAR).parent, *series]


@dataclass(frozen=True)
class _Patches:
    root: Path
    dates: SeriesDates | None
    tags: Mapping[str, Mapping[str, str]]

    def take(self, top: int, strips: Mapping[str, Strip]) -> None:
        """Ignore the rows; only patches are stored."""

    def keep(self, patch: PatchId, images: Mapping[str, Raster]) -> ManifestRow:
        row: ManifestRow = {}
        for token, image in images.items():
            name = self._path(patch, token)
            if not self._is_shared(token) or not (self.root / name).is_file():
                stored, tags = _stored(token, image.values), self.tags.get(token)
                write_geotiff(self.root / name, stored, image.bands, image.geobox, tags=tags)
            row |= file_columns(token, self.root / name, name.as_posix())
        return row

    def leave_out(self, patch: PatchId) -> None:
        for token in TOKENS:
            if not self._is_shared(token):
                (self.root / self._path(patch, token)).unlink(missing_ok=True)

    def _path(self, patch: PatchId, token: str) -> Path:
        return self.dates.path(patch, token) if self.dates else patch.path(token)

    def _is_shared(self, token: str) -> bool:
        """Return whether the image belongs to all dates of a patch: the clear one of a time series."""
        return self.dates is not None and token == CLEAR

    def files(self) -> ManifestRow:
        return {}


@dataclass
class _Scenes:
    """Store that writes rows as they arrive; missing rows, where a scene is damaged, become no data.

    Attributes:
        root: Root of the data set.
        roi: Region.
        grid: Grid of the scenes: the part of the region that patches cover.
        tags: Tags of the scenes by token.
        bottoms: Row after the last one written, by token.
        kept: Number of stored patches.
    """

    root: Path
    roi: Roi
    grid: GeoBox
    tags: Mapping[str, Mapping[str, str]]
    bottoms: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKENS, 0))
    kept: int = 0
    _write: dict[str, Callable[[int, np.ndarray[Any, Any]], None]] = field(default_factory=dict)

    @contextmanager
    def writing(self) -> Iterator[None]:
        with ExitStack() as files:
            for token in TOKENS:
                bands, dtype = (SENTINEL1.bands, "float32") if token == SAR else (SENTINEL2.bands, "uint16")
                tags = self.tags.get(token)
                rows = write_rows(self._path(token), bands, self.grid, dtype, tags=tags, block_px=STRIDE_PX)
                self._write[token] = files.enter_context(rows)
            yield
            for token in TOKENS:
                self._fill(token, self.grid.shape[0])

    def take(self, top: int, strips: Mapping[str, Strip]) -> None:
        for token, strip in strips.items():
            self._fill(token, top)
            new = strip[:, self.bottoms[token] - top :, : self.grid.shape[1]]
            if new.shape[1]:
                self._put(token, _stored(token, new))

    def keep(self, patch: PatchId, images: Mapping[str, Raster]) -> ManifestRow:
        self.kept += 1
        return {}

    def leave_out(self, patch: PatchId) -> None:
        """Keep the pixels, which belong to the scene."""

    def files(self) -> ManifestRow:
        row: ManifestRow = {}
        for token in TOKENS:
            row |= file_columns(token, self._path(token), self.roi.scene_path(token).as_posix())
        return row if self.kept else {}

    def done(self) -> None:
        """Delete scenes without patches."""
        if not self.kept:
            for token in TOKENS:
                self._path(token).unlink()
            self._path(SAR).parent.rmdir()

    def _path(self, token: str) -> Path:
        return self.root / self.roi.scene_path(token)

    def _fill(self, token: str, bottom: int) -> None:
        """Write rows without data up to a row."""
        sensor, missing = (SENTINEL1, np.nan) if token == SAR else (SENTINEL2, 0)
        dtype = np.float32 if token == SAR else np.uint16
        if rows := max(bottom - self.bottoms[token], 0):
            self._put(token, np.full((len(sensor.bands), rows, self.grid.shape[1]), missing, dtype))

    def _put(self, token: str, values: Real[np.ndarray, "band rows x"]) -> None:
        self._write[token](self.bottoms[token], values)
        self.bottoms[token] += values.shape[1]


def _stored(token: str, values: Strip) -> Real[np.ndarray, "band rows x"]:
    return values if token == SAR else to_stored(values, SENTINEL2)


# Synthetic clouds as files.


def paint_triplet(
    files: TripletFiles,
    folder: Path,
    settings: SyntheticSettings,
    clouds: CloudMapSettings,
    cache: ProbabilityCache | None,
) -> None:
    """Write ``s2_cloudy/NAME.tif`` and ``cloud_map/NAME.tif``: the clear image under painted clouds, and its map m.

    Args:
        files: Files of the triplet; mode ``copy`` also reads the cloudy image.
        folder: Output folder.
        settings: Settings of the synthetic clouds (section III-B.4 of the paper).
        clouds: Settings of the map of the real cloudy image, for mode ``copy``.
        cache: Cache of cloud probabilities.

    Raises:
        InputError: A file is damaged or would be overwritten, or the clear image is missing.
    """
    if files.clear is None:
        raise InputError(f"{files.name} has no clear image to paint on; choose complete triplets")
    image, m_file = (folder / kind / f"{files.name}.tif" for kind in ("s2_cloudy", "cloud_map"))
    for source in (files.sar, files.cloudy, files.clear):
        require_apart(image, file_of(source))
        require_apart(m_file, file_of(source))
    clear = read(files.clear, SENTINEL2)
    if settings.mode == "copy":
        cloudy = read(files.cloudy, SENTINEL2).values
        m = cloud_map(cloudy, SENTINEL2.bands, clouds, cache=cache)
        painted = paint(files.name, clear.values, clear.bands, settings, cloudy=cloudy, cloud_map=m)
    else:
        painted = paint(files.name, clear.values, clear.bands, settings)
    stored = to_stored(painted.cloudy, SENTINEL2)
    write_geotiff(image, stored, clear.bands, clear.geobox, nodata=0)
    write_geotiff(m_file, painted.cloud_map[None], ("cloud map m",), clear.geobox)
