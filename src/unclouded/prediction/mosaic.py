"""Mosaics of predicted scenes: tiles and dates of an area in one image, without seams.

Each pixel comes from the scene whose surroundings are best there: observed pixels before predicted ones, and these by
their confidence. The levels of the scenes are matched where several observed the same ground, and the remaining steps
are blended over a few pixels. Rows are read, joined and written in strips: memory does not grow with the height.
"""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pystac
from jaxtyping import Bool, Float32, Float64, Integer
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import Field
from pyproj import Transformer

from unclouded import __version__
from unclouded.dates import parse_utc
from unclouded.errors import InputError
from unclouded.files import content_hash, named, require_apart, require_room, sha256, write_json
from unclouded.io.geotiff import MAX_VALUES, grid_of, open_geotiff
from unclouded.io.picture_tiff import write_picture
from unclouded.io.raster import describe_grid
from unclouded.io.rows import Layer, open_cog
from unclouded.io.strips import row_ranges
from unclouded.locks import held
from unclouded.prediction.products import CLASSES, UNKNOWN_PERCENT, Provenance
from unclouded.prediction.stac import item_id, outline, write_item
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sensors import RGB
from unclouded.sentinel.radiometry import NO_DATA, QUANTIFICATION, Radiometry
from unclouded.sentinel.regridding import (
    needed_window,
    places_in,
    transformer,
    warp_bilinear,
    warp_nearest,
    whole_shift,
)
from unclouded.sentinel.target_grid import TargetGrid
from unclouded.settings import Settings
from unclouded.stretch import stretch_of
from unclouded.strict_json import read_json_object

SUMMARY = "summary.json"
STRIP_PX = 512
SMOOTH_PX, FEATHER_PX = 32, 12
"""Radius of the surroundings that decide on the scene of a pixel, and of the transition from one scene to another."""
PREDICTED_PERCENT, HIGHEST_PERCENT = 50, 95
"""Quality of predicted pixels without confidence, and of those with the highest one; observed pixels have 100."""
FEWEST_PX = 500
"""Pixels that two scenes observed both from which their levels are compared."""
_PROBES, _PROBE_ROWS, _PROBE_STEP = 48, 16, 4
_RIDGE = 1e-6
MAX_SCENES = 250

_logger = logging.getLogger(__name__)


class MosaicSettings(Settings):
    """Options of a mosaic.

    Attributes:
        match_levels: Match the levels of the scenes on their overlaps; without, stored integers stay as they are
            wherever one scene alone contributes.
        crs: CRS of the mosaic, such as ``EPSG:32632``; that of most scenes if omitted.
        area: GeoJSON file with the area to cut out.
        compression: Compression of the GeoTIFFs.
    """

    match_levels: bool = True
    crs: str | None = Field(None, max_length=100)
    area: Path | None = None
    compression: Literal["deflate", "zstd"] = "deflate"


@dataclass(frozen=True, eq=False)
class MosaicScene:
    """Predicted scene on disk.

    Attributes:
        folder: Output folder of the prediction.
        name: Name of the scene.
        geobox: Grid.
        bands: Bands.
        radiometry: Scale, offset and nodata value of the stored integers.
        acquired: Acquisition time; None if unknown.
        has_confidence: Whether the remover provided a confidence.
    """

    folder: Path
    name: str
    geobox: GeoBox
    bands: tuple[str, ...]
    radiometry: Radiometry
    acquired: datetime | None
    has_confidence: bool


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of one scene on the grid of the mosaic.

    Attributes:
        reflectance: Reflectance; NaN where there are no data.
        provenance: Codes of :class:`Provenance`; 0 where there are no data.
        quality: Quality in per cent; 0 where there are no data.
    """

    reflectance: Float32[np.ndarray, "band y x"]
    provenance: Integer[np.ndarray, "y x"]
    quality: Integer[np.ndarray, "y x"]


@dataclass(frozen=True, eq=False)
class _Opened:
    """Open files of a scene, and how its grid relates to that of the mosaic."""

    scene: MosaicScene
    grid: GeoBox
    files: Mapping[str, Any]
    shift: tuple[int, int] | None
    to_scene: Transformer

    def read(self, top: int, bottom: int) -> _Part | None:
        """Read rows of the mosaic; None where the scene has none."""
        part = self.grid[top:bottom, :]
        rows, columns = needed_window(part, self.scene.geobox, self.to_scene)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        window = ((rows.start, rows.stop), (columns.start, columns.stop))
        stored = {name: file.read(window=window) for name, file in self.files.items()}
        reflectance = self.scene.radiometry.decode(stored["clear"])
        codes = [stored["provenance"][0], _quality(stored["provenance"][0], stored.get("confidence"))]
        found = np.full((len(self.scene.bands), *part.shape), np.nan, np.float32)
        flags = np.zeros((2, *part.shape), np.uint8)
        source = self.scene.geobox[rows, columns]
        if self.shift is not None:
            down, right = rows.start - self.shift[0] - top, columns.start - self.shift[1]
            there, here = _overlap(reflectance.shape[1:], found.shape[1:], (down, right))
            found[:, *there] = reflectance[:, *here]
            flags[:, *there] = np.stack(codes)[:, *here]
        else:
            warp_bilinear(reflectance, source, found, part)
            warp_nearest(np.stack(codes), source, flags, part)
        seen = np.isfinite(found).all(axis=0) & (flags[0] != Provenance.NO_DATA)
        found[:, ~seen] = np.nan
        flags[:, ~seen] = 0
        return _Part(found, flags[0], flags[1]) if seen.any() else None


def make_mosaic(
    scenes: Sequence[Path],
    out: Path,
    settings: MosaicSettings | None = None,
    on_progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Join predicted scenes into one image; return the content of ``summary.json``.

    A finished folder of the same scenes and settings is left as it is; an interrupted run starts over.

    Args:
        scenes: Output folders of predictions; where several are equally good, the earlier one in the list counts.
        out: Output folder.
        settings: Settings; the defaults if omitted.
        on_progress: Called with (stage, completed, total).

    Raises:
        BusyError: Another process is writing into the folder.
        InputError: A folder holds no finished prediction, or the scenes do not fit together.
        MachineError: Not enough disk space, or the folder is not writable.
    """
    settings = settings or MosaicSettings()
    described = _distinctly_named([describe_scene(folder) for folder in scenes])
    _require_alike(described)
    target = TargetGrid.of(common_grid(described, settings.crs), settings.area)
    _require_size(target.geobox, described[0])
    for one in described:
        require_apart(out / "clear.tif", one.folder / "clear.tif")
    key = {
        "unclouded": __version__,
        "scenes": [{"name": one.name, "sha256": sha256(one.folder / SUMMARY)} for one in described],
        "settings": settings.model_dump(mode="json") | {"area": settings.area and content_hash(settings.area)},
    }
    with held(out):
        if (finished := _finished(out, key)) is not None:
            _logger.info("%s already holds this mosaic; nothing to do", named(out))
            return finished
        height, width = target.geobox.shape
        require_room(out, int(height * width * (2 * len(described[0].bands) + 6) * 4 / 3), "write this mosaic")
        (out / SUMMARY).unlink(missing_ok=True)
        work = out / ".mosaic"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        with _opened(described, target.geobox) as opened:
            levels = (
                match_levels(opened, height, on_progress)
                if settings.match_levels
                else np.zeros((len(described), len(described[0].bands)))
            )
            counts = _write(work, opened, target, levels, settings, on_progress)
        summary = key | {
            "levels": {one.name: levels[i].round(6).tolist() for i, one in enumerate(described)},
            "pixels": counts,
        }
        write_item(work / "item.json", _item(described, target.geobox, summary, work))
        files = {path.stem: path for path in sorted(work.iterdir())}
        summary["files"] = {
            name: {"file": path.name, "sha256": sha256(path), "bytes": path.stat().st_size}
            for name, path in files.items()
        }
        for path in files.values():
            path.replace(out / path.name)
        write_json(out / SUMMARY, summary)
        shutil.rmtree(work)
    return summary


def describe_scene(folder: Path) -> MosaicScene:
    """Read the description of a predicted scene.

    Raises:
        InputError: The folder holds no finished prediction.
    """
    summary = read_json_object(folder / SUMMARY, advice="give output folders of 'unclouded predict'")
    files = summary.get("files")
    if not isinstance(files, Mapping) or not {"clear", "provenance"} <= files.keys():
        raise InputError(f"{named(folder)} holds no finished prediction; give output folders of 'unclouded predict'")
    with open_geotiff(folder / "clear.tif") as file:
        names = tuple(name or "" for name in file.descriptions)
        offsets = tuple(round(one * QUANTIFICATION) for one in file.offsets)
        radiometry, geobox = Radiometry(offsets, file.dtypes[0]), grid_of(file)
    if geobox.crs is None:
        raise InputError(f"{named(folder / 'clear.tif')} has no CRS; a mosaic needs one")
    scene = summary.get("scene")
    known: Mapping[str, Any] = scene if isinstance(scene, Mapping) else {}
    acquired = known.get("acquired")
    name = str(known.get("product") or folder.name)
    return MosaicScene(
        folder, name, geobox, names, radiometry, parse_utc(acquired) if acquired else None, "confidence" in files
    )


def _distinctly_named(scenes: Sequence[MosaicScene]) -> list[MosaicScene]:
    """Return the scenes with different names: those that share one have the path of their folder in addition."""
    counts = Counter(one.name for one in scenes)
    return [replace(one, name=f"{one.name} in {one.folder}") if counts[one.name] > 1 else one for one in scenes]


def _require_alike(scenes: Sequence[MosaicScene]) -> None:
    if not 2 <= len(scenes) <= MAX_SCENES:
        raise InputError(f"a mosaic needs 2 to {MAX_SCENES} scenes, found {len(scenes)}")
    first = scenes[0]
    for one in scenes[1:]:
        if one.bands != first.bands:
            raise InputError(
                f"{named(one.folder)} has the bands {' '.join(one.bands)}, {named(first.folder)} "
                f"{' '.join(first.bands)}; predict both with the same --bands"
            )
        if abs(abs(one.geobox.affine.a) - abs(first.geobox.affine.a)) > 1e-6:
            raise InputError(
                f"{named(one.folder)} has pixels of {abs(one.geobox.affine.a):g}, {named(first.folder)} of "
                f"{abs(first.geobox.affine.a):g}; predict both with the same --resolution"
            )


def _require_size(geobox: GeoBox, first: MosaicScene) -> None:
    height, width = geobox.shape
    if height * width * len(first.bands) > MAX_VALUES:
        raise InputError(
            f"the mosaic would have {len(first.bands)} bands of {describe_grid(geobox)}, more than {MAX_VALUES:,} "
            "values; give fewer scenes or bands, or an --area"
        )


def common_grid(scenes: Sequence[MosaicScene], crs: str | None = None) -> GeoBox:
    """Return the smallest grid that contains all scenes, on the pixels of the first scene of its CRS.

    Args:
        scenes: Scenes with CRS.
        crs: CRS of the grid; that of most scenes if omitted, of the first among equals.

    Raises:
        InputError: No scene has this CRS.
    """
    names = [_crs_name(one.geobox) for one in scenes]
    wanted = crs.upper() if crs else max(dict.fromkeys(names), key=names.count)
    first = next((one.geobox for one, name in zip(scenes, names, strict=True) if name == wanted), None)
    if first is None:
        raise InputError(f"no scene has the CRS {crs}, only {', '.join(sorted(set(names)))[:200]}; choose one of these")
    places = np.concatenate([places_in(one.geobox, first, transformer(one.geobox, first)) for one in scenes], axis=1)
    if not np.isfinite(places).all():
        raise InputError("the scenes are too far apart for one CRS; make several mosaics")
    low, high = np.floor(places.min(axis=1) + 1e-3).astype(int), np.ceil(places.max(axis=1) - 1e-3).astype(int)
    affine = first.affine * first.affine.translation(int(low[0]), int(low[1]))
    return GeoBox((int(high[1] - low[1]), int(high[0] - low[0])), affine, first.crs)


def _crs_name(geobox: GeoBox) -> str:
    assert geobox.crs is not None, "scenes without CRS are refused"
    return f"EPSG:{geobox.crs.epsg}" if geobox.crs.epsg else str(geobox.crs)


@contextmanager
def _opened(scenes: Sequence[MosaicScene], grid: GeoBox) -> Iterator[list[_Opened]]:
    with ExitStack() as stack:
        opened = []
        for one in scenes:
            names = ["clear", "provenance", *(["confidence"] if one.has_confidence else [])]
            files = {name: stack.enter_context(open_geotiff(one.folder / f"{name}.tif")) for name in names}
            opened.append(_Opened(one, grid, files, whole_shift(one.geobox, grid), transformer(grid, one.geobox)))
        yield opened


def _quality(
    provenance: Integer[np.ndarray, "y x"], confidence: Integer[np.ndarray, "1 y x"] | None
) -> Integer[np.ndarray, "y x"]:
    """Return the quality in per cent: 100 observed, less for predicted pixels, 0 without data."""
    predicted = np.full(provenance.shape, PREDICTED_PERCENT, np.uint8)
    if confidence is not None:
        scaled = (confidence[0].astype(np.uint16) * HIGHEST_PERCENT // 100).astype(np.uint8)
        predicted = np.where(confidence[0] == UNKNOWN_PERCENT, predicted, np.maximum(scaled, 1))
    quality = np.where(provenance == Provenance.OBSERVED, np.uint8(100), predicted)
    return np.asarray(np.where(provenance == Provenance.NO_DATA, np.uint8(0), quality))


def _overlap(
    source: tuple[int, ...], target: tuple[int, ...], corner: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the slices of target and source that coincide, for a source whose corner lies at ``corner``."""
    there, here = [], []
    for length, side, first in zip(source, target, corner, strict=True):
        low, high = max(first, 0), min(first + length, side)
        there.append(slice(low, max(high, low)))
        here.append(slice(low - first, max(high, low) - first))
    return (there[0], there[1]), (here[0], here[1])


# Levels: offsets of reflectance that make scenes agree on the ground that several observed.


def match_levels(
    opened: Sequence[_Opened], height: int, on_progress: ProgressCallback = no_progress
) -> Float64[np.ndarray, "scene band"]:
    """Return the reflectance to add to each band of each scene, so that overlaps agree and the mean stays.

    Medians of the differences of pixels that two scenes observed both, on rows spread over the mosaic; a least-squares
    solution for all scenes, weighted by the number of pixels.
    """
    differences: dict[tuple[int, int], list[NDArray[np.float32]]] = {}
    tops = np.unique(np.linspace(0, max(height - _PROBE_ROWS, 0), min(_PROBES, height)).astype(int)).tolist()
    for done, top in enumerate(tops, start=1):
        parts = [one.read(top, min(top + _PROBE_ROWS, height)) for one in opened]
        for i, j in combinations(range(len(opened)), 2):
            first, second = parts[i], parts[j]
            if first is None or second is None:
                continue
            both = (first.quality == 100) & (second.quality == 100)
            both[:, np.arange(both.shape[1]) % _PROBE_STEP != 0] = False
            if both.any():
                differences.setdefault((i, j), []).append(first.reflectance[:, both] - second.reflectance[:, both])
        on_progress("matching levels", done, len(tops))
    joined = {pair: np.concatenate(found, axis=1) for pair, found in differences.items()}
    medians = {
        pair: (np.median(one.astype(np.float64), axis=1), one.shape[1])
        for pair, one in joined.items()
        if one.shape[1] >= FEWEST_PX
    }
    return solve_levels(medians, len(opened), len(opened[0].scene.bands))


def solve_levels(
    medians: Mapping[tuple[int, int], tuple[NDArray[np.float64], int]], scenes: int, bands: int
) -> Float64[np.ndarray, "scene band"]:
    """Return the offsets that remove median differences in the least-squares sense, with mean 0 of connected scenes.

    Args:
        medians: Differences (first minus second) of each band, and number of pixels, by pair of scenes.
        scenes: Number of scenes.
        bands: Number of bands.
    """
    total = sum(count for _, count in medians.values())
    if not total:
        return np.zeros((scenes, bands))
    matrix, right = np.eye(scenes) * _RIDGE, np.zeros((scenes, bands))
    for (i, j), (difference, count) in medians.items():
        weight = count / total
        matrix[[i, j], [i, j]] += weight
        matrix[[i, j], [j, i]] -= weight
        right[i] -= weight * difference
        right[j] += weight * difference
    return np.asarray(np.linalg.solve(matrix, right))


# Composition.


def compose_scenes(
    parts: Sequence[_Part | None], levels: Float64[np.ndarray, "scene band"]
) -> tuple[Float32[np.ndarray, "band y x"], Integer[np.ndarray, "y x"], Integer[np.ndarray, "y x"]]:
    """Join rows of several scenes; return reflectance, provenance, and the number of the main scene from 1 (0: none).

    All sums are of integers, so that the result does not depend on the rows that are joined at once.
    """
    present = [(i, part) for i, part in enumerate(parts) if part is not None]
    shape = present[0][1].quality.shape
    best, label = np.full(shape, -1, np.int64), np.zeros(shape, np.int16)
    for i, part in present:
        score = np.where(part.quality > 0, box_sum(part.quality, SMOOTH_PX), -1)
        better = score > best
        best, label = np.where(better, score, best), np.where(better, np.int16(i + 1), label)
    total, sums = np.zeros(shape, np.float32), np.zeros((levels.shape[1], *shape), np.float32)
    for i, part in present:
        weight = (box_sum(label == i + 1, FEATHER_PX) * (part.quality > 0)).astype(np.float32)
        total += weight
        shifted = part.reflectance + levels[i].astype(np.float32)[:, None, None]
        sums += np.where(weight > 0, weight * shifted, np.float32(0))
    with np.errstate(invalid="ignore"):
        image = np.where(label > 0, sums / total, np.float32(np.nan))
    provenance = np.zeros(shape, np.uint8)
    for i, part in present:
        provenance = np.where(label == i + 1, part.provenance, provenance)
    return image, provenance, label


def box_sum(values: NDArray[Any], radius: int) -> Integer[np.ndarray, "y x"]:
    """Return the sum of integers over squares of side 2 ``radius`` + 1, with 0 beyond the edges."""
    found = values.astype(np.int64)
    for axis in (0, 1):
        padded = np.pad(np.cumsum(found, axis=axis), [(1, 0) if axis == k else (0, 0) for k in (0, 1)])
        length = found.shape[axis]
        last = np.minimum(np.arange(length) + radius + 1, length)
        first = np.maximum(np.arange(length) - radius, 0)
        found = np.take(padded, last, axis=axis) - np.take(padded, first, axis=axis)
    return found


def _write(
    work: Path,
    opened: Sequence[_Opened],
    target: TargetGrid,
    levels: Float64[np.ndarray, "scene band"],
    settings: MosaicSettings,
    on_progress: ProgressCallback,
) -> dict[str, Any]:
    """Write all files of a mosaic; return pixel counts by provenance and by scene."""
    grid, first, compression = target.geobox, opened[0].scene, settings.compression
    height, width = grid.shape
    lowest = tuple(min(steps) for steps in zip(*(one.scene.radiometry.offsets for one in opened), strict=True))
    radiometry = Radiometry(lowest, first.radiometry.dtype)
    names = {str(k): one.scene.name for k, one in enumerate(opened, start=1)}
    tags = {"UNCLOUDED_VERSION": __version__, "UNCLOUDED_SCENES": json.dumps([*names.values()])}
    offsets = radiometry.offset if any(radiometry.offsets) else ()
    codes = {f"VALUE_{code}": name.replace("_", " ") for code, name in CLASSES.items()}
    numbers = {f"VALUE_{number}": name for number, name in names.items()}
    layers = {
        "clear": Layer(first.bands, radiometry.dtype, NO_DATA, "average", radiometry.scale, offsets, tags, compression),
        "provenance": Layer(("provenance",), "uint8", 0, "nearest", tags=tags | codes, compression=compression),
        "source": Layer(("scene",), "uint8", 0, "nearest", tags=tags | numbers, compression=compression),
    }
    counts, chosen = np.zeros(max(Provenance) + 1, np.int64), np.zeros(len(opened) + 1, np.int64)
    margin, thumbs = SMOOTH_PX + FEATHER_PX, []
    with ExitStack() as stack:
        write = {
            name: stack.enter_context(open_cog(work / f"{name}.tif", layer, grid)) for name, layer in layers.items()
        }
        for top, bottom in row_ranges(height, STRIP_PX):
            low, high = max(top - margin, 0), min(bottom + margin, height)
            parts = [one.read(low, high) for one in opened]
            inner = slice(top - low, bottom - low)
            if any(part is not None for part in parts):
                image, provenance, label = (each[..., inner, :] for each in compose_scenes(parts, levels))
            else:
                image = np.full((len(first.bands), bottom - top, width), np.nan, np.float32)
                provenance, label = np.zeros(image.shape[1:], np.uint8), np.zeros(image.shape[1:], np.int16)
            outside = ~target.inside(top, bottom)
            image = np.where(outside, np.float32(np.nan), image)
            provenance, label = (np.where(outside, 0, one).astype(np.uint8) for one in (provenance, label))
            write["clear"](top, radiometry.encode(image))
            write["provenance"](top, provenance[None])
            write["source"](top, label[None])
            counts += np.bincount(provenance.ravel(), minlength=counts.size)
            chosen += np.bincount(label.ravel(), minlength=chosen.size)
            thumbs.append(image[:, :: max(1, height // 256), :: max(1, width // 256)])
            on_progress("joining scenes", bottom, height)
    _write_visual(work, first.bands, radiometry, np.concatenate(thumbs, axis=1), grid, tags)
    return {
        **{code.name.lower(): int(counts[code]) for code in Provenance},
        "by_scene": {name: int(chosen[int(number)]) for number, name in names.items()},
    }


def _write_visual(
    work: Path,
    bands: tuple[str, ...],
    radiometry: Radiometry,
    sample: Float32[np.ndarray, "band y x"],
    grid: GeoBox,
    tags: dict[str, str],
) -> None:
    """Write the picture in natural colours, or in grey if a colour is missing."""
    shown = [bands.index(band) for band in (RGB if set(RGB) <= set(bands) else bands[:1] * 3)]
    seen: Bool[np.ndarray, "y x"] = np.isfinite(sample).all(axis=0)
    stretch = stretch_of(sample[shown][:, seen])
    picked = radiometry.picked(shown)

    def strips() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        with open_geotiff(work / "clear.tif") as file:
            for top, bottom in row_ranges(grid.shape[0], STRIP_PX):
                stored = file.read([band + 1 for band in shown], window=((top, bottom), (0, grid.shape[1])))
                valid = picked.is_seen(stored).all(axis=0)
                colours = np.where(valid, stretch.brightness(picked.decode(stored)), 0)
                yield top, np.concatenate([colours, np.where(valid, 255, 0)[None]]).astype(np.uint8)

    write_picture(work / "visual.tif", strips(), tags, grid)


def _item(scenes: Sequence[MosaicScene], grid: GeoBox, summary: Mapping[str, Any], work: Path) -> pystac.Item:
    """Return the STAC item of a mosaic, whose time is the interval of its scenes."""
    geometry, bbox = outline(grid)
    times = sorted(one.acquired for one in scenes if one.acquired)
    item = pystac.Item(
        id=item_id(f"mosaic-{scenes[0].name}-{len(scenes)}"),
        geometry=geometry,
        bbox=bbox,
        datetime=times[0] if times else parse_utc("2015-06-27T00:00:00Z"),
        start_datetime=times[0] if times else None,
        end_datetime=times[-1] if times else None,
        properties={
            "title": f"Mosaic of {len(scenes)} scenes without clouds",
            "constellation": "sentinel-2",
            "gsd": abs(grid.affine.a),
            "unclouded:levels": summary["levels"],
            "unclouded:statistics": summary["pixels"],
        },
    )
    roles = {"clear": ["data", "reflectance"], "visual": ["visual", "overview"]}
    for path in sorted(work.glob("*.tif")):
        kind, more = pystac.MediaType.COG, {"file:size": path.stat().st_size, "file:checksum": f"1220{sha256(path)}"}
        asset = pystac.Asset(
            f"./{path.name}", media_type=kind, roles=roles.get(path.stem, ["metadata"]), extra_fields=more
        )
        item.add_asset(path.stem, asset)
    for one in scenes:
        item.add_link(pystac.Link("derived_from", one.name, title="scene without clouds"))
    return item


def _finished(out: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the summary of a folder that holds the same mosaic, whose files are intact."""
    try:
        summary = read_json_object(out / SUMMARY)
        intact = all(sha256(out / one["file"]) == one["sha256"] for one in summary["files"].values())
    except (InputError, KeyError, TypeError, AttributeError):
        return None
    same = all(summary.get(name) == json.loads(json.dumps(value)) for name, value in key.items())
    return summary if intact and same else None
