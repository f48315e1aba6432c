"""A whole scene without its clouds: mapped, sampled, cleared line by line, and written, whole or not at all."""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from unclouded import __version__
from unclouded.clouds.map import CloudMapSettings
from unclouded.errors import InputError, MachineError
from unclouded.files import content_hash, named, require_apart, require_room, sha256, write_json
from unclouded.io.geotiff import mask_beside
from unclouded.locks import held
from unclouded.models.network import Level, NetworkRemover, level_of
from unclouded.models.remover import CloudRemover, ConfidentRemover
from unclouded.models.weights import MapChoice, choose_map
from unclouded.prediction.alignment import AlignmentQuality, assess_alignment
from unclouded.prediction.clearing import Statistics, adapt_removers, losses_of, remove_clouds, sample_of
from unclouded.prediction.cloud_mapping import SceneMap, map_scene
from unclouded.prediction.forecast import forecast
from unclouded.prediction.products import PRODUCTS, Product, products_of, write_products
from unclouded.prediction.products import percent_text as percent
from unclouded.prediction.scene_report import SceneReport
from unclouded.prediction.sources import RadarSettings, Sources, open_sources
from unclouded.prediction.tiling import StripCheckpoint, work_folder
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sentinel.optical import OpticalSettings
from unclouded.sentinel.safe import product_of
from unclouded.settings import Settings
from unclouded.strict_json import read_json_object
from unclouded.tensors.observation import positions

SUMMARY = "summary.json"
"""Written last: a folder that holds it is done."""
_FORMAT = 3

_logger = logging.getLogger(__name__)

Clock = Callable[[], float]
"""Returns seconds, such as ``time.perf_counter``."""


class SceneSettings(Settings):
    """How a scene is cleared.

    Attributes:
        window_px: Side of a window, without its margins; the result does not depend on it, speed and memory do.
        statistics: ``scene`` adapts a remover to the scene; ``window`` to every window by itself, as in the paper.
        uncertainty: Whether the spread of an ensemble is written, too; takes five times as long.
        clouds: How the map m is made; what is not set is as in the training of the weights.
        cloud_map: A map m that the user brings instead: GeoTIFF on the grid of the scene, 0 clear to 1 cloudy.
        optical: What the user says of the optical image.
        radar: How the radar comes to the optical grid.
    """

    window_px: int = Field(1024, ge=8, le=4096, multiple_of=4)
    statistics: Statistics = "scene"
    uncertainty: bool = False
    clouds: CloudMapSettings = CloudMapSettings()
    cloud_map: Path | None = None
    optical: OpticalSettings = OpticalSettings()
    radar: RadarSettings = RadarSettings()


@dataclass(frozen=True)
class PredictedScene:
    """What a run leaves in its folder.

    Attributes:
        folder: The folder.
        files: GeoTIFFs by name: ``clear``, ``cloud_map``, ``provenance``, and ``uncertainty`` or ``confidence``.
        summary: What ``summary.json`` says.
    """

    folder: Path
    files: dict[str, Path]
    summary: dict[str, Any]


def predict_scene(
    remover: CloudRemover,
    cloudy: Path | str,
    sar: Path | str,
    out: Path | str,
    settings: SceneSettings | None = None,
    *,
    others: Sequence[CloudRemover] = (),
    on_progress: ProgressCallback = no_progress,
    estimate: bool = False,
    clock: Clock = time.perf_counter,
    require_offset: bool = False,
) -> PredictedScene:
    """Remove the clouds of one scene.

    An interrupted run resumes where it stopped. A finished folder with the same settings and inputs is returned as it
    is; one with others is replaced. Remarks about the images are logged as warnings and stand in the summary.

    Args:
        remover: Network or baseline.
        cloudy: Sentinel-2 product or GeoTIFF.
        sar: Sentinel-1 product or GeoTIFF.
        out: Folder of the products.
        settings: How.
        others: Further removers of the same bands, such as other weights, for the uncertainty.
        on_progress: Called with (stage, completed, total).
        estimate: Time every stage on one window first, and log the disk space and the time needed at most.
        clock: Source of the seconds in the summary.
        require_offset: Refuse an optical GeoTIFF whose offset is in doubt, instead of a warning.

    Raises:
        BusyError: Somebody else writes into the folder.
        InputError: Images that cannot be used, or do not fit.
        MachineError: No room, or a folder that cannot be written.
    """
    settings = settings or SceneSettings()
    cloudy, sar, out = product_of(Path(cloudy)), product_of(Path(sar)), Path(out)
    removers = (remover, *others)
    if any(other.bands != remover.bands for other in others):
        raise InputError(
            f"expected removers of the bands {' '.join(remover.bands)}, found others; choose weights alike"
        )
    for source in filter(None, (cloudy, sar, settings.cloud_map)):
        for name in PRODUCTS:
            require_apart(out / f"{name}.tif", source)
    with _left_as_found(out), held(out):
        began = clock()
        choice = choose_map(removers, settings.clouds, settings.cloud_map)
        settings = settings.model_copy(update={"clouds": choice.used})
        record = _record(removers, cloudy, sar, settings)
        key = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        if (done := _done(out, key)) is not None:
            _logger.info("%s already holds this scene; nothing to do", named(out))
            return done
        work = work_folder(out, key)
        if found := len([*work.glob("*.strip")]):
            _logger.info("resuming an interrupted run with %d finished strip%s", found, "" if found == 1 else "s")
        asked = settings.radar, _level(removers), settings.optical, on_progress, require_offset
        with open_sources(cloudy, sar, work, *asked) as sources:
            positions(remover.bands, sources.optical.bands)
            needed = needed_bytes(sources, remover, settings)
            require_room(out, needed, "clear this scene")
            if estimate:
                clouds = None if settings.cloud_map else settings.clouds
                _logger.info(forecast(sources, removers, clouds, settings.window_px, needed, settings.uncertainty))
            run = _Run(sources, removers, settings, choice, work, on_progress, cloudy, clock)
            made = run.make(record | {"key": key})
        return _publish(out, work, made, lambda: clock() - began)


def _level(removers: Sequence[CloudRemover]) -> Level:
    """Return which products the removers were made for."""
    levels = {level_of(one) for one in removers}
    if len(levels) > 1:
        raise InputError("expected weights of one product level, found L1C and L2A; choose weights alike")
    return levels.pop()


@contextmanager
def _left_as_found(out: Path) -> Iterator[None]:
    """Leave no new folder behind where the input was no good."""
    there = out.exists()
    try:
        yield
    except (InputError, MachineError):
        if not there and not any(out.glob(".rows-*/*.strip")):
            shutil.rmtree(out, ignore_errors=True)
        raise


def _record(removers: Sequence[CloudRemover], cloudy: Path, sar: Path, settings: SceneSettings) -> dict[str, Any]:
    """Everything that the products depend on."""
    files = {"cloudy": cloudy, "sar": sar, "cloud_map": settings.cloud_map, "heights": settings.radar.heights}
    masks = {role: mask for role, path in files.items() if path is not None and (mask := mask_beside(path))}
    return {
        "format": _FORMAT,
        "unclouded": __version__,
        "torch": torch.__version__,
        "s2cloudless": version("s2cloudless"),
        "cloudy": {"name": cloudy.name, "sha256": content_hash(cloudy)},
        "sar": {"name": sar.name, "sha256": content_hash(sar)},
        "cloud_map": content_hash(own) if (own := settings.cloud_map) else None,
        "heights": content_hash(heights) if (heights := settings.radar.heights) else None,
        "masks": {role: content_hash(mask) for role, mask in masks.items()},
        "removers": [describe_remover(one) for one in removers],
        "settings": settings.model_dump(mode="json"),
    }


def describe_remover(remover: CloudRemover) -> dict[str, Any]:
    """Return what identifies a remover: its name and bands, and a network's settings and the hash of its weights."""
    told: dict[str, Any] = {"name": remover.name, "bands": list(remover.bands)}
    if not isinstance(remover, NetworkRemover):
        return told | {"is": repr(remover)}
    digest = hashlib.sha256()
    for name, tensor in sorted(remover.generator.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    settings = remover.settings.model_dump(mode="json")
    return told | {
        "weights": digest.hexdigest(),
        "settings": settings,
        "precision": remover.computes_in,
        "engine": remover.engine,
    }


def _done(out: Path, key: str) -> PredictedScene | None:
    """The scene of a folder that holds it already, every file of it whole."""
    with suppress(InputError, ValueError, KeyError, TypeError):
        summary = read_json_object(out / SUMMARY)
        files = {name: out / one["file"] for name, one in summary["files"].items()}
        whole = all(sha256(files[name]) == one["sha256"] for name, one in summary["files"].items())
        if summary["key"] == key and whole:
            return PredictedScene(out, files, summary)
    return None


def needed_bytes(sources: Sources, remover: CloudRemover, settings: SceneSettings) -> int:
    """Return the most disk space that a scene takes while it is made: rows, products, and one of these unfinished."""
    products = _products(sources, remover, settings, {}, confidence=isinstance(remover, ConfidentRemover))
    sizes = [product.pixel_bytes for product in products]
    height, width = sources.shape
    return int(height * width * (1 + sum(sizes) + sum(sizes) * 4 / 3 + max(sizes) * 4 / 3)) + (8 << 20)


def _products(
    sources: Sources, remover: CloudRemover, settings: SceneSettings, tags: dict[str, str], *, confidence: bool
) -> list[Product]:
    radiometry = sources.radiometry(remover.bands)
    return products_of(remover.bands, radiometry, tags, uncertainty=settings.uncertainty, confidence=confidence)


@dataclass(frozen=True, eq=False)
class _Run:
    """One scene being made in its work folder."""

    sources: Sources
    removers: tuple[CloudRemover, ...]
    settings: SceneSettings
    choice: MapChoice
    work: Path
    on_progress: ProgressCallback
    cloudy: Path
    clock: Clock

    def make(self, record: dict[str, Any]) -> tuple[dict[str, Path], dict[str, Any]]:
        """Make everything; return the finished files in the work folder, and the summary without them."""
        remover, clock, seconds = self.removers[0], self.clock, {}
        began = clock()
        bands, clouds = remover.bands, self.settings.clouds
        store, own = StripCheckpoint(self.work, "map"), self.settings.cloud_map
        scene_map = map_scene(self.sources, bands, clouds, store, self.on_progress, own)
        seconds["mapping"] = -began + (began := clock())
        fit, remarks = self._compared(scene_map)
        seconds["comparing"] = -began + (began := clock())
        sample = sample_of(self.sources, scene_map, bands)
        sampled = [[*one.origin_px, *one.cloudy.shape[-2:]] for one in sample]
        statistics, uncertainty = self.settings.statistics, self.settings.uncertainty
        ensemble = adapt_removers(self.removers, sample, statistics, uncertainty=uncertainty) if sample else None
        del sample
        seconds["adapting"] = -began + (began := clock())
        cleared = StripCheckpoint(self.work, "cleared")
        tops = remove_clouds(
            self.sources, scene_map, ensemble, bands, self.settings.window_px, cleared, self.on_progress
        )
        seconds["clearing"] = -began + (began := clock())
        used = ensemble.removers[0].name if ensemble else remover.name
        products = _products(
            self.sources,
            remover,
            self.settings,
            _tags(record, used),
            confidence=bool(ensemble and ensemble.tells_confidence),
        )
        files = write_products(self.work, products, cleared, scene_map, tops, self.sources.geobox, self.on_progress)
        losses = losses_of(cleared, tops)
        remarks += _logged(tuple(_gaps(self.sources, scene_map, losses, used)))
        report = SceneReport(self.sources, products, files, bands, ensemble, record, self.cloudy, fit, remarks, losses)
        facts = report.facts()
        written = report.write(self.work)
        files |= {"report": written.report, "item": written.item}
        seconds["writing"] = clock() - began
        summary = record | {
            "scene": {"acquired": None} | self.sources.optical.metadata(),
            "used": facts.remover,
            "choice": facts.choice or None,
            "expected_error": facts.expected.as_json() if facts.expected else None,
            "radar": {"acquired": None} | self.sources.radar.metadata(),
            "trained_map": self.choice.trained and self.choice.trained.to_json(),
            "fit": fit.told(),
            "remarks": list(remarks),
            "sample": sampled,
            "pixels": {**written.statistics.counts, **losses, **written.statistics.coverage()},
            "seconds": seconds,
        }
        return files, summary

    def _compared(self, scene_map: SceneMap) -> tuple[AlignmentQuality, tuple[str, ...]]:
        """Return the alignment of radar and optical image, and remarks about both; log the remarks."""
        optical, radar = self.sources.optical, self.sources.radar
        fit = assess_alignment(self.sources, scene_map)
        remarks = (
            *filter(None, [self.choice.remark]),
            *optical.remarks,
            *radar.remarks,
            *fit.remarks(radar.processing, radar.remarks),
        )
        return fit, _logged(remarks)


def _logged(remarks: tuple[str, ...]) -> tuple[str, ...]:
    for remark in remarks:
        _logger.warning("%s", remark)
    return remarks


def _gaps(sources: Sources, scene_map: SceneMap, losses: Mapping[str, int], used: str) -> Iterator[str]:
    """Yield what cannot be judged, where the radar has gaps, and what was done there."""
    pixels = sources.shape[0] * sources.shape[1]
    unjudged = scene_map.unjudged()
    if any(unjudged.pixels):
        unless = ", but no data where the radar has none" if losses["radar_gaps"] else ""
        yield (
            f"{percent(unjudged.pixels[0] / pixels)} of the scene cannot be judged, because "
            f"{unjudged.reasons(sources.optical.bands)} there; it is made by {used} as under opaque cloud{unless}"
        )
    if losses["no_data_radar"] or losses["radar_gaps"] >= 0.001 * pixels:
        yield (
            f"the radar has no data in {percent(losses['radar_gaps'] / pixels)} of the scene (areas of exactly 0 dB, "
            "no power and fill values such as -9999 count as no data): what had to be made there, "
            f"{percent(losses['no_data_radar'] / pixels)} of the scene, is no data; what is clear is as observed"
        )


def _tags(record: dict[str, Any], used: str) -> dict[str, str]:
    return {
        "UNCLOUDED_VERSION": record["unclouded"],
        "UNCLOUDED_REMOVER": used,
        "UNCLOUDED_CLOUDS": record["cloud_map"] or json.dumps(record["settings"]["clouds"]),
        "UNCLOUDED_KEY": record["key"],
    }


def _publish(out: Path, work: Path, made: tuple[dict[str, Path], dict[str, Any]], spent: Clock) -> PredictedScene:
    """Put finished files into their place, then the summary, then forget the rows."""
    files, summary = made
    (out / SUMMARY).unlink(missing_ok=True)
    listed = {}
    for name, path in files.items():
        listed[name] = {"file": path.name, "sha256": sha256(path), "bytes": path.stat().st_size}
        path.replace(out / path.name)
    summary |= {"files": listed}
    summary["seconds"]["all"] = spent()
    write_json(out / SUMMARY, summary)
    shutil.rmtree(work)
    return PredictedScene(out, {name: out / path.name for name, path in files.items()}, summary)
