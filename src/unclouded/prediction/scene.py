"""Cloud removal for a whole scene, from the two images to the finished products.

:func:`predict_scene` maps the clouds, measures the alignment of radar and optical image, adapts the remover to a sample
of windows, removes the clouds line by line, and writes GeoTIFFs, report, STAC item and summary. Intermediate rows are
kept on disk, so that an interrupted run resumes; the products appear all at once at the end.
"""

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BeforeValidator, Field

from unclouded import __version__
from unclouded.clouds.map import CloudMapSettings
from unclouded.errors import InputError, MachineError
from unclouded.files import content_hash, named, require_apart, require_room, sha256, write_json
from unclouded.io.geotiff import mask_beside
from unclouded.locks import held
from unclouded.models.identity import describe_remover
from unclouded.models.network import level_of
from unclouded.models.references.baselines import ReferenceBaseline
from unclouded.models.remover import CloudRemover, ConfidentRemover, needs_radar, uses_references
from unclouded.models.weights import MapChoice, choose_map
from unclouded.prediction.alignment import AlignmentQuality, assess_alignment
from unclouded.prediction.auto_remover import AutoRemover, ExpectedError, RemoverSpec, expected_error
from unclouded.prediction.clearing import (
    Statistics,
    adapt_removers,
    read_sample,
    remove_clouds,
    sum_losses,
    sum_reference_pixels,
)
from unclouded.prediction.cloud_mapping import SceneMap, map_scene
from unclouded.prediction.forecast import forecast
from unclouded.prediction.levels import common_level, map_of_level, require_map, with_bands_of
from unclouded.prediction.pictures import PICTURES, write_pictures
from unclouded.prediction.products import (
    PRODUCTS,
    OutputSettings,
    Product,
    Provenance,
    percent_text,
    scene_products,
    write_products,
)
from unclouded.prediction.references import (
    ReferenceFiles,
    ReferencePath,
    ReferenceScene,
    ReferenceUse,
    evaluate_references,
    identify_references,
    map_references,
    open_references,
    readers,
    remarks_of,
)
from unclouded.prediction.remover_remarks import remarks_on
from unclouded.prediction.scene_report import report_data, write_report
from unclouded.prediction.sources import RadarSettings, Sources, open_sources
from unclouded.prediction.tiling import StripCheckpoint, work_folder
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.identify import identify
from unclouded.sentinel.optical import Offset, OpticalSettings, read_level
from unclouded.settings import Settings
from unclouded.strict_json import read_json_object
from unclouded.sun import Sun
from unclouded.tensors.observation import Observation, positions

SUMMARY = "summary.json"
"""Written last: a folder with this file is finished."""
_FORMAT = 5
"""Version of the products; part of the key, so that folders of an older version are replaced."""

NO_RADAR = (
    "no radar image was given: what lies under the clouds is estimated from the clear ground of this scene and typical "
    "spectra alone, so that rivers, fields and towns hidden by cloud do not appear; add a Sentinel-1 image with --sar"
)

_logger = logging.getLogger(__name__)

Clock = Callable[[], float]
"""Function that returns seconds, such as ``time.perf_counter``."""


class SceneSettings(Settings):
    """Settings for the prediction of a scene.

    Attributes:
        window_px: Side of a window without its margins; affects speed and memory, not the result.
        statistics: ``scene`` adapts a remover to the scene; ``window`` to every window separately, as in the paper.
        uncertainty: Write the standard deviation of an ensemble, too; takes five times as long.
        clouds: Settings of the cloud map m; fields that are not set are taken from the training of the weights, or
            without weights from the product map.
        sun: Azimuth and elevation of the sun in degrees, such as ``"155,42"``, for the shadows of the product map; if
            omitted, from the metadata of a product or the time and place of a GeoTIFF.
        cloud_map: Cloud map m of the user's own: GeoTIFF on the grid of the scene, 0 clear to 1 cloudy.
        optical: Reading of the optical image.
        radar: Resampling and correction of the radar image to the optical grid.
        align_references: Warp references on another grid; their pixels need not coincide with those of the scene.
        reference_offset: RADIO_ADD_OFFSET of references that are GeoTIFFs without tags.
        output: Compression, separate bands, and pictures.
        area: GeoJSON file with polygons in degrees; only their area is read, predicted and written.
        resolution_m: Pixel size; 20 m has a quarter of the pixels to predict, means of those of 10 m.
    """

    window_px: int = Field(1024, ge=8, le=4096, multiple_of=4)
    statistics: Statistics = "scene"
    uncertainty: bool = False
    clouds: CloudMapSettings = CloudMapSettings()
    sun: Annotated[Sun | None, BeforeValidator(lambda sun: Sun.parse(sun) if isinstance(sun, str) else sun)] = None
    cloud_map: Path | None = None
    optical: OpticalSettings = OpticalSettings()
    radar: RadarSettings = RadarSettings()
    align_references: bool = False
    reference_offset: Offset | None = None
    output: OutputSettings = OutputSettings()
    area: Path | None = None
    resolution_m: Literal[10, 20] = 10


@dataclass(frozen=True)
class PredictedScene:
    """Output of :func:`predict_scene`.

    Attributes:
        folder: Output folder.
        files: Files by name: ``clear``, ``cloud_map``, ``provenance``, if any ``uncertainty`` and ``confidence``,
            pictures (``visual``, ``observed_visual``, ``thumbnail``, and styles), ``report`` and ``item``.
        summary: Content of ``summary.json``.
    """

    folder: Path
    files: dict[str, Path]
    summary: dict[str, Any]


def predict_scene(
    remover: CloudRemover | Path | str,
    cloudy: Path | str,
    sar: Path | str | None = None,
    out: Path | str = "out",
    settings: SceneSettings | None = None,
    *,
    others: Sequence[CloudRemover] = (),
    references: Sequence[ReferencePath] = (),
    map_cache: Path | None = None,
    on_progress: ProgressCallback = no_progress,
    estimate: bool = False,
    clock: Clock = time.perf_counter,
    require_offset: bool = False,
) -> PredictedScene:
    """Remove the clouds of one scene.

    An interrupted run resumes where it stopped. A finished folder with the same settings and inputs is returned as it
    is; one with others is replaced. Remarks about the images are logged as warnings and stand in the summary.

    Args:
        remover: Remover, weights file of a network, or name of a remover without weights: ``auto``,
            ``scene-adapted`` or a baseline.
        cloudy: Sentinel-2 product or GeoTIFF.
        sar: Sentinel-1 product or GeoTIFF; without one, clouds are removed from the optical image alone, which only
            removers that do not need radar can do.
        out: Output folder; ``out`` in the current folder if omitted.
        settings: Settings; the defaults if omitted.
        others: Further ensemble members for the same bands, such as other weights, for the uncertainty.
        references: Images of other dates of the place, each a Sentinel-2 product or GeoTIFF of the same level, or a
            pair of it and a radar image of about that date. Removers that use none ignore them, with a warning.
        map_cache: Folder for the cloud maps of references, which scenes with the same references share; the maps are
            deleted with the rows of this scene if omitted.
        on_progress: Called with (stage, completed, total).
        estimate: Time every stage on one window first, and log the disk space and the time needed at most.
        clock: Source of the seconds in the summary.
        require_offset: Refuse an optical GeoTIFF whose offset is in doubt, instead of a warning.

    Raises:
        BusyError: Another process is writing into the folder.
        InputError: There is no such remover, it needs radar and there is none, an image cannot be used, or the images
            do not fit together.
        MachineError: Not enough disk space, or the folder is not writable.
    """
    settings = settings or SceneSettings()
    if isinstance(remover, Path | str):
        remover = RemoverSpec(str(remover)).find()
    if references and isinstance(remover, AutoRemover):
        remover = remover.with_references()
    level = common_level((remover, *others))
    optical, radar = identify(cloudy, SENTINEL2), identify(sar, SENTINEL1) if sar is not None else None
    found = read_level(optical)
    if level is None:
        remover, *others = (with_bands_of(found.level, one) for one in (remover, *others))
    removers, out = (remover, *others), Path(out)
    if not references and any(isinstance(one, ReferenceBaseline) for one in removers):
        raise InputError(f"{remover.name} copies or combines other dates; give at least one with --reference")
    if references and not any(uses_references(one) for one in removers):
        _logger.warning("%s uses no references; they are ignored", remover.name)
        references = ()
    if sar is None:
        require_radar_free(removers)
    cloudy, sar = optical.path, radar.path if radar is not None else None
    if any(other.bands != remover.bands for other in others):
        raise InputError(
            f"expected removers of the bands {' '.join(remover.bands)}, found others; choose weights for the same bands"
        )
    listed = identify_references(references, cloudy)
    of_references = (image.path for one in listed for image in (one.optical, one.sar) if image is not None)
    for source in filter(None, (cloudy, sar, settings.cloud_map, *of_references)):
        for name in (*PRODUCTS, *PICTURES):
            require_apart(out / f"{name}.tif", source)
    with _no_new_folder_on_error(out), held(out):
        started = clock()
        choice = choose_map(removers, settings.clouds, settings.cloud_map, map_of_level(found, settings.clouds))
        if level in (None, found.level) and settings.cloud_map is None:
            require_map(optical.path, found, choice.used)
        settings = settings.model_copy(update={"clouds": choice.used})
        _require_fine_for_detectors(settings)
        record = _record(removers, cloudy, sar, settings, listed)
        key = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        if (finished := _finished_scene(out, key)) is not None:
            _logger.info("%s already holds this scene; nothing to do", named(out))
            return finished
        work = work_folder(out, key)
        if strips := len([*work.glob("*.strip")]):
            _logger.info("resuming an interrupted run with %d finished strip%s", strips, "" if strips == 1 else "s")
        with (
            open_sources(
                *(optical, radar, work, settings.radar, level, settings.optical, on_progress, require_offset),
                area=settings.area,
                resolution_m=settings.resolution_m,
            ) as sources,
            open_references(
                listed,
                sources,
                settings.optical.model_copy(update={"offset": settings.reference_offset}),
                settings.radar,
                work,
                align=settings.align_references,
                on_progress=on_progress,
                require_offset=require_offset,
            ) as opened,
        ):
            positions(remover.bands, sources.optical.bands)
            needed = needed_bytes(sources, remover, settings, len(opened))
            require_room(out, needed, "predict this scene")
            if estimate:
                clouds = None if settings.cloud_map else settings.clouds
                _logger.info(
                    forecast(sources, removers, clouds, settings.window_px, needed, settings.uncertainty, len(opened))
                )
            run = _Run(sources, removers, settings, choice, work, on_progress, cloudy, clock, opened, map_cache)
            files, summary = run.execute(record | {"key": key})
        return _publish(out, work, files, summary, lambda: clock() - started)


def require_radar_free(removers: Sequence[CloudRemover], scene: str = "this scene") -> None:
    """Check that all removers can predict a scene without radar.

    Raises:
        InputError: One of them needs radar.
    """
    if needing := [one.name for one in removers if needs_radar(one)]:
        verb = "needs" if len(needing) == 1 else "need"
        raise InputError(
            f"{' and '.join(needing)} {verb} radar, and no Sentinel-1 image was given for {scene}; add one (--sar, or "
            "the column sar), or name no remover to use the best one without radar"
        )


def read_scene_sample(
    remover: CloudRemover, cloudy: Path, sar: Path, settings: SceneSettings | None = None
) -> list[Observation]:
    """Read the windows of a scene that a remover would be adapted to; nothing is written.

    Args:
        remover: Remover.
        cloudy: Sentinel-2 product or GeoTIFF.
        sar: Sentinel-1 product or GeoTIFF.
        settings: Settings; the defaults if omitted.

    Raises:
        InputError: An image cannot be used, or radar and optical data overlap nowhere.
    """
    settings = settings or SceneSettings()
    optical, radar = identify(cloudy, SENTINEL2), identify(sar, SENTINEL1)
    usual = map_of_level(read_level(optical), settings.clouds)
    clouds = choose_map([remover], settings.clouds, settings.cloud_map, usual).used
    with (
        tempfile.TemporaryDirectory(prefix="unclouded-") as folder,
        open_sources(
            *(optical, radar, Path(folder), settings.radar, level_of(remover), settings.optical, no_progress, False),
            area=settings.area,
            resolution_m=settings.resolution_m,
        ) as sources,
    ):
        store = StripCheckpoint(Path(folder), "map")
        scene_map = map_scene(sources, remover.bands, clouds, store, no_progress, settings.cloud_map, settings.sun)
        sample = read_sample(sources, scene_map, remover.bands)
    if not sample:
        raise InputError(f"{named(cloudy)} and {named(sar)} have data together nowhere; choose images of one place")
    return sample


def _require_fine_for_detectors(settings: SceneSettings) -> None:
    """Refuse cloud maps of coarse pixels that are defined by distances of 10 m pixels.

    Raises:
        InputError: The map is one of a network.
    """
    fine_only = settings.cloud_map is None and settings.clouds.mode in ("continuous", "binary")
    if settings.resolution_m > 10 and fine_only:
        raise InputError(
            f"the cloud map {settings.clouds.mode}, with which networks are trained, is for pixels of 10 m, found "
            f"{settings.resolution_m}; choose --clouds product or ones, or a remover without weights"
        )


@contextmanager
def _no_new_folder_on_error(out: Path) -> Iterator[None]:
    """Remove a folder that was created for a run that failed before any strip was finished."""
    existed = out.exists()
    try:
        yield
    except (InputError, MachineError):
        if not existed and not any(out.glob(".rows-*/*.strip")):
            shutil.rmtree(out, ignore_errors=True)
        raise


def _record(
    removers: Sequence[CloudRemover],
    cloudy: Path,
    sar: Path | None,
    settings: SceneSettings,
    references: Sequence[ReferenceFiles],
) -> dict[str, Any]:
    """Return everything that the products depend on; its hash is the key of the scene."""
    files = {"cloudy": cloudy, "sar": sar, "cloud_map": settings.cloud_map, "heights": settings.radar.heights}
    masks = {role: mask for role, path in files.items() if path is not None and (mask := mask_beside(path))}
    return {
        "format": _FORMAT,
        "unclouded": __version__,
        "torch": torch.__version__,
        "s2cloudless": version("s2cloudless"),
        "cloudy": {"name": cloudy.name, "sha256": content_hash(cloudy)},
        "sar": {"name": sar.name, "sha256": content_hash(sar)} if sar is not None else None,
        "cloud_map": content_hash(user_map) if (user_map := settings.cloud_map) else None,
        "heights": content_hash(heights) if (heights := settings.radar.heights) else None,
        "incidence": content_hash(incidence) if (incidence := settings.radar.incidence) else None,
        "area": content_hash(settings.area) if settings.area else None,
        "references": [one.record() for one in references],
        "masks": {role: content_hash(mask) for role, mask in masks.items()},
        "removers": [describe_remover(one) for one in removers],
        "settings": settings.model_dump(mode="json") | {"area": settings.area.name if settings.area else None},
    }


def _finished_scene(out: Path, key: str) -> PredictedScene | None:
    """Return the scene of a folder that is finished with the same key and whose files are intact; else None."""
    with suppress(InputError, ValueError, KeyError, TypeError):
        summary = read_json_object(out / SUMMARY)
        files = {name: out / one["file"] for name, one in summary["files"].items()}
        intact = all(sha256(files[name]) == one["sha256"] for name, one in summary["files"].items())
        if summary["key"] == key and intact:
            return PredictedScene(out, files, summary)
    return None


def needed_bytes(sources: Sources, remover: CloudRemover, settings: SceneSettings, references: int = 0) -> int:
    """Return the peak disk space of a run: rows of all products, finished products, and one that is being written.

    Args:
        sources: Images of the scene.
        remover: Remover.
        settings: Settings of the scene.
        references: Number of references; each has a cloud map with masks.
    """
    products = _products(sources, remover, settings, {}, confidence=isinstance(remover, ConfidentRemover))
    sizes = [product.pixel_bytes for product in products]
    rows = sum(product.pixel_bytes for product in products if product.band is None)
    pictures = 4 if settings.output.pictures else 0  # two pictures of 3 bands and a mask; JPEG takes a half of noise
    height, width = sources.shape
    pixel = 1 + 6 * references + rows + (sum(sizes) + pictures) * 4 / 3 + max(sizes) * 4 / 3
    return int(height * width * pixel) + (8 << 20)


def _products(
    sources: Sources, remover: CloudRemover, settings: SceneSettings, tags: dict[str, str], *, confidence: bool
) -> list[Product]:
    radiometry = sources.radiometry(remover.bands)
    return scene_products(
        remover.bands,
        radiometry,
        tags,
        uncertainty=settings.uncertainty,
        confidence=confidence,
        output=settings.output,
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """One run in its work folder."""

    sources: Sources
    removers: tuple[CloudRemover, ...]
    settings: SceneSettings
    choice: MapChoice
    work: Path
    on_progress: ProgressCallback
    cloudy: Path
    clock: Clock
    opened: tuple[ReferenceScene, ...] = ()
    map_cache: Path | None = None

    def execute(self, record: dict[str, Any]) -> tuple[dict[str, Path], dict[str, Any]]:
        """Run all stages; return the finished files in the work folder, and the summary without them."""
        sources, remover, settings, on_progress = self.sources, self.removers[0], self.settings, self.on_progress
        clock, seconds = self.clock, {}
        started = clock()
        bands, map_strips = remover.bands, StripCheckpoint(self.work, "map")
        scene_map = map_scene(
            sources, bands, settings.clouds, map_strips, on_progress, settings.cloud_map, settings.sun
        )
        maps = self.map_cache or self.work
        references, found = map_references(self.opened, sources, bands, settings.clouds, maps, on_progress)
        seconds["mapping"] = -started + (started := clock())
        alignment, remarks = self._align(scene_map)
        remarks += _logged((*remarks_of(self.opened, sources.optical), *found))
        seconds["comparing"] = -started + (started := clock())
        with_references = replace(sources, references=readers(references))
        radar_needed = any(needs_radar(one) for one in self.removers)
        sample = read_sample(with_references, scene_map, bands, needs_radar=radar_needed)
        sampled = [[*one.origin_px, *one.cloudy.shape[-2:]] for one in sample]
        statistics, uncertainty = settings.statistics, settings.uncertainty
        ensemble = adapt_removers(self.removers, sample, statistics, uncertainty=uncertainty) if sample else None
        if ensemble is not None:
            remarks += _logged(tuple(remarks_on(self.removers, ensemble.removers, sample)))
        expected = self._expected_error(sample)
        del sample
        seconds["adapting"] = -started + (started := clock())
        cleared = StripCheckpoint(self.work, "cleared")
        tops = remove_clouds(with_references, scene_map, ensemble, bands, settings.window_px, cleared, on_progress)
        seconds["clearing"] = -started + (started := clock())
        used = ensemble.removers[0] if ensemble else remover
        uses = self._uses(references, used, cleared, tops)
        confidence = bool(ensemble and ensemble.has_confidence)
        tags = _tags(record, used.name, uses)
        products = _products(sources, remover, settings, tags, confidence=confidence)
        files = write_products(self.work, products, cleared, scene_map, tops, sources.target, on_progress)
        losses = sum_losses(cleared, tops)
        radar_needed = needs_radar(used)
        remarks += _logged(tuple(_gaps(sources, scene_map, losses, used.name, needs_radar=radar_needed)))
        remarks += _logged(tuple(filter(None, (one.remark for one in uses))))
        data = report_data(
            *(sources, products, files, used, record),
            optical=self.cloudy,
            alignment=alignment,
            remarks=remarks,
            losses=losses,
            expected=expected,
            references=uses,
        )
        if settings.output.pictures:
            pictures = write_pictures(self.work, data, sources, tags, on_progress)
            data = replace(data, files={**data.files, **pictures})
        files |= {name: one.path for name, one in data.files.items()} | write_report(self.work, data)
        seconds["writing"] = clock() - started
        summary = record | {
            "scene": {"acquired": None} | sources.optical.metadata(),
            "radar": {"acquired": None} | sources.radar.metadata() if sources.radar else None,
            "trained_map": self.choice.trained and self.choice.trained.to_json(),
            **data.summary(),
            "sample": sampled,
            "seconds": seconds,
        }
        return files, summary

    def _uses(
        self, references: Sequence[ReferenceScene], used: CloudRemover, cleared: StripCheckpoint, tops: Sequence[int]
    ) -> tuple[ReferenceUse, ...]:
        """Return the contribution of each reference to the cleared lines."""
        if not references:
            return ()
        strips = (cleared.get(top, {"provenance"}) for top in tops)
        predicted = sum(int((strip["provenance"] >= Provenance.BLENDED).sum()) for strip in strips if strip is not None)
        counts = sum_reference_pixels(cleared, tops)
        return evaluate_references(references, self.sources.optical, used, counts, predicted)

    def _align(self, scene_map: SceneMap) -> tuple[AlignmentQuality | None, tuple[str, ...]]:
        """Return the alignment of radar and optical image, and remarks about both; log the remarks."""
        radar, alignment = self.sources.radar, assess_alignment(self.sources, scene_map)
        remarks = (*filter(None, [self.choice.remark]), *self.sources.optical.remarks)
        if radar is None or alignment is None:
            remarks = remarks if self.opened else (*remarks, NO_RADAR)
        else:
            remarks = (*remarks, *radar.remarks, *alignment.remarks(radar.processing, radar.remarks))
        return alignment, _logged(remarks)

    def _expected_error(self, sample: Sequence[Observation]) -> ExpectedError | None:
        """Return the expected error of a remover without radar that was named by the user; else None.

        An automatic selection brings the expected errors of its candidates.
        """
        remover = self.removers[0]
        if self.sources.radar is not None or isinstance(remover, AutoRemover) or not sample:
            return None
        return expected_error([remover], sample, np.random.default_rng(0))


def _logged(remarks: tuple[str, ...]) -> tuple[str, ...]:
    for remark in remarks:
        _logger.warning("%s", remark)
    return remarks


def _gaps(
    sources: Sources, scene_map: SceneMap, losses: Mapping[str, int], used: str, *, needs_radar: bool
) -> Iterator[str]:
    """Yield remarks about pixels of unknown cloudiness and about gaps in the radar image."""
    pixels = sources.shape[0] * sources.shape[1]
    unknown = scene_map.unknown_cloud()
    if any(unknown.pixels):
        unless = ", but no data where the radar has none" if losses["radar_gaps"] and needs_radar else ""
        yield (
            f"{percent_text(unknown.pixels[0] / pixels)} of the scene {unknown.state}, because "
            f"{unknown.reasons(sources.optical.bands)} there; {used} predicts it as under opaque cloud{unless}"
        )
    if sources.radar is not None and (losses["no_data_radar"] or losses["radar_gaps"] >= 0.001 * pixels):
        gaps, lost = (percent_text(losses[name] / pixels) for name in ("radar_gaps", "no_data_radar"))
        result = (
            f"cloudy pixels there, {lost} of the scene, have no data in the result"
            if needs_radar
            else f"{used} predicts cloudy pixels there from the optical image alone ('without radar' in the provenance)"
        )
        yield (
            f"the radar has no data in {gaps} of the scene (areas of exactly 0 dB, no power and fill values such as "
            f"-9999 count as no data): {result}; clear pixels remain as observed"
        )


def _tags(record: dict[str, Any], used: str, references: Sequence[ReferenceUse]) -> dict[str, str]:
    listed = {"UNCLOUDED_REFERENCES": json.dumps([one.as_json() for one in references])} if references else {}
    return listed | {
        "UNCLOUDED_VERSION": record["unclouded"],
        "UNCLOUDED_REMOVER": used,
        "UNCLOUDED_RADAR": record["sar"]["name"] if record["sar"] else "none",
        "UNCLOUDED_CLOUDS": record["cloud_map"] or json.dumps(record["settings"]["clouds"]),
        "UNCLOUDED_KEY": record["key"],
    }


def _publish(out: Path, work: Path, files: dict[str, Path], summary: dict[str, Any], elapsed: Clock) -> PredictedScene:
    """Move finished files into the output folder, write the summary last, and delete the work folder."""
    (out / SUMMARY).unlink(missing_ok=True)
    listed = {}
    for name, path in files.items():
        listed[name] = {"file": path.name, "sha256": sha256(path), "bytes": path.stat().st_size}
        path.replace(out / path.name)
    summary |= {"files": listed}
    summary["seconds"]["all"] = elapsed()
    write_json(out / SUMMARY, summary)
    shutil.rmtree(work)
    return PredictedScene(out, {name: out / path.name for name, path in files.items()}, summary)
