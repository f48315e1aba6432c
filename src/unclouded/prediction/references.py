"""Other dates of the place of a scene: named, opened on its grid, checked, mapped, and read with its rows.

:func:`identify_references` examines the paths, :func:`open_references` opens the images, :func:`map_references` maps
their clouds and shadows, which are gaps, and :func:`evaluate_references` states what each contributed.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from unclouded import __version__
from unclouded.clouds.map import PRODUCT, PRODUCT_L2A, SCENE_CLASSES, CloudMapSettings
from unclouded.errors import InputError
from unclouded.files import content_hash, named
from unclouded.io.raster import describe_grid
from unclouded.models.references.regression import DEFAULT as REGRESSION
from unclouded.models.references.remover import AdaptedToReferences
from unclouded.models.remover import CloudRemover
from unclouded.prediction.auto_remover import SelectedRemover
from unclouded.prediction.cloud_mapping import SceneMap, map_scene
from unclouded.prediction.products import percent_text
from unclouded.prediction.sources import RadarSettings, ReferenceReader, ReferenceRows, Sources, open_radar_on
from unclouded.prediction.tiling import StripCheckpoint
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.identify import GeoTiff, Source, identify
from unclouded.sentinel.optical import MAYBE_OFFSET, OpticalSettings, open_optical
from unclouded.sentinel.optical_scene import OpticalScene
from unclouded.sentinel.radar import RadarScene
from unclouded.tensors.observation import positions

ReferencePath = Path | str | tuple[Path | str, Path | str | None]
"""Image of another date, or pair of such an image and a radar image of about that date."""


@dataclass(frozen=True)
class ReferenceFiles:
    """Files of one reference.

    Attributes:
        optical: Sentinel-2 product or GeoTIFF.
        sha256: SHA-256 of the optical image.
        sar: Sentinel-1 product or GeoTIFF; None if there is none.
        sar_sha256: SHA-256 of the radar image; None without one.
    """

    optical: Source
    sha256: str
    sar: Source | None = None
    sar_sha256: str | None = None

    @property
    def name(self) -> str:
        """Name of the optical image."""
        return self.optical.path.name

    def record(self) -> dict[str, Any]:
        """Return names and hashes, on which the products depend."""
        sar = None if self.sar is None else {"name": self.sar.path.name, "sha256": self.sar_sha256}
        return {"name": self.name, "sha256": self.sha256, "sar": sar}


def identify_references(references: Sequence[ReferencePath], cloudy: Path) -> tuple[ReferenceFiles, ...]:
    """Return the files of references, ordered by hash: the order in which they are given does not matter.

    Args:
        references: Images of other dates.
        cloudy: Optical image of the scene.

    Raises:
        InputError: A path is not readable, or an image is given twice or is that of the scene.
    """
    seen = {content_hash(cloudy): "the cloudy scene"} if references else {}
    found = []
    for one in references:
        optical, sar = one if isinstance(one, tuple) else (one, None)
        source, radar = identify(optical, SENTINEL2), None if sar is None else identify(sar, SENTINEL1)
        files = ReferenceFiles(
            source, content_hash(source.path), radar, None if radar is None else content_hash(radar.path)
        )
        if (same := seen.get(files.sha256)) is not None:
            raise InputError(
                f"the reference {named(source.path)} has the same content as {same}; give images of other dates, each "
                "once"
            )
        seen[files.sha256] = f"the reference {named(source.path)}"
        found.append(files)
    return tuple(sorted(found, key=lambda files: files.sha256))


@dataclass(frozen=True, eq=False)
class ReferenceScene:
    """Open reference on the grid of the scene.

    Attributes:
        files: Its files.
        optical: Optical image.
        reading: Settings by which the optical image is read.
        radar: Radar image of about that date; None if there is none.
        scene_map: Cloud map; None before :func:`map_references`.
        clear_share: Share of the pixels of the scene that the reference shows without cloud; None before.
    """

    files: ReferenceFiles
    optical: OpticalScene
    reading: OpticalSettings
    radar: RadarScene | None = None
    scene_map: SceneMap | None = None
    clear_share: float | None = None

    @property
    def title(self) -> str:
        """Name and date, for messages."""
        taken = self.optical.acquired
        return f"{self.files.name} of {taken:%Y-%m-%d}" if taken else f"{self.files.name}, undated"

    def rows(self, top: int, bottom: int, bands: tuple[str, ...]) -> ReferenceRows:
        """Read some bands of the rows from ``top`` to before ``bottom``; see :data:`ReferenceReader`."""
        assert self.scene_map is not None, "references are mapped before they are read"
        picked = positions(bands, self.optical.bands)
        return ReferenceRows(
            self.files.name,
            self.optical.acquired.date() if self.optical.acquired else None,
            self.optical.stored(top, bottom)[picked],
            self.optical.radiometry.picked(picked),
            self.scene_map.cloud_map(top, bottom),
            None if self.radar is None else self.radar.read(top, bottom),
        )


@contextmanager
def open_references(
    references: Sequence[ReferenceFiles],
    sources: Sources,
    optical: OpticalSettings,
    radar: RadarSettings,
    work_folder: Path,
    *,
    align: bool = False,
    on_progress: ProgressCallback = no_progress,
    require_offset: bool = False,
) -> Iterator[tuple[ReferenceScene, ...]]:
    """Open references on the grid of a scene and check them; ordered by date, undated ones last.

    Args:
        references: Files of the references.
        sources: Images of the scene, whose thread opens, reads and closes those of the references.
        optical: Reading of the optical images; the offset is that of GeoTIFFs without tags.
        radar: Resampling and correction of the radar images.
        work_folder: Folder for decoded bands of products.
        align: Whether to warp an optical image on another grid.
        on_progress: Called with (stage, completed, total).
        require_offset: Refuse a GeoTIFF whose offset is in doubt.

    Raises:
        InputError: An image cannot be used, is of another level, place, grid or band set, or is not of another date.
    """
    with ExitStack() as closed:
        stack = ExitStack()
        closed.callback(lambda: sources.in_reader(stack.close))
        found = []
        for done, files in enumerate(references, start=1):
            source = files.optical
            to_open = open_optical(
                source,
                resampling=optical.resampling,
                allow_l2a=sources.optical.level == "L2A",
                offset=optical.offset if isinstance(source, GeoTiff) else None,
                work_folder=work_folder,
                require_offset=require_offset,
            )
            scene = sources.in_reader(partial(stack.enter_context, to_open))
            _require_level(scene, sources.optical)
            one = ReferenceScene(files, sources.target.optical(scene, align=align), optical)
            if files.sar is not None:
                radar_to_open = open_radar_on(sources.target, files.sar, radar, work_folder)
                one = replace(one, radar=sources.in_reader(partial(stack.enter_context, radar_to_open)))
            found.append(one)
            on_progress("opening references", done, len(references))
        yield _ordered(found, sources.optical)


def _require_level(scene: OpticalScene, cloudy: OpticalScene) -> None:
    if scene.level != cloudy.level:
        raise InputError(
            f"the reference {named(scene.path)} is {scene.level}, but the cloudy scene is {cloudy.level}; give "
            "references of the same level"
        )


def _ordered(references: Sequence[ReferenceScene], cloudy: OpticalScene) -> tuple[ReferenceScene, ...]:
    """Return references by date, undated ones last.

    Raises:
        InputError: One is of the date of the scene, or two are of one date.
    """
    dated = sorted(
        (one for one in references if one.optical.acquired), key=lambda one: (_moment(one), one.files.sha256)
    )
    for one in dated:
        if cloudy.acquired and _moment(one).date() == cloudy.acquired.date():
            raise InputError(f"the reference {one.title} is of the date of the cloudy scene; give another date")
    for before, after in pairwise(dated):
        if _moment(before).date() == _moment(after).date():
            raise InputError(f"the references {before.title} and {after.title} are of one date; give one of them")
    return (*dated, *(one for one in references if not one.optical.acquired))


def _moment(reference: ReferenceScene) -> datetime:
    assert reference.optical.acquired is not None
    return reference.optical.acquired


def remarks_of(references: Sequence[ReferenceScene], cloudy: OpticalScene) -> Iterator[str]:
    """Yield warnings about open references: of unknown date or offset, or as their readers remark."""
    if references and cloudy.acquired is None:
        yield "the date of the cloudy scene is unknown, and so are the days to its references"
    for one in references:
        if one.optical.acquired is None:
            yield f"the date of the reference {one.files.name} is unknown; it may be of the same date"
        for remark in (*one.optical.remarks, *(one.radar.remarks if one.radar else ())):
            text = _OFFSET_OF_REFERENCE if remark == MAYBE_OFFSET else remark
            yield f"the reference {one.files.name}: {text}"


_OFFSET_OF_REFERENCE = (
    "it has no offset tag, and no band in its middle is dark: its reflectance may be 0.1 too high, which its cloud map "
    "depends on; give it scale and offset tags"
)


# Cloud maps of references.


def map_references(
    references: Sequence[ReferenceScene],
    sources: Sources,
    bands: tuple[str, ...],
    settings: CloudMapSettings,
    folder: Path,
    on_progress: ProgressCallback = no_progress,
) -> tuple[tuple[ReferenceScene, ...], tuple[str, ...]]:
    """Map clouds and shadows of references; leave out those without clear ground.

    Args:
        references: Open references.
        sources: Images of the scene.
        bands: Bands of the remover.
        settings: Settings of the map of the scene; a map of ones is replaced by the product map.
        folder: Folder for the strips of the maps, created if missing; those that are there are not computed again.
        on_progress: Called with (stage, completed, total), counted in rows.

    Returns:
        References with clear ground, and warnings.
    """
    if settings.mode == "ones":
        of_l2a = sources.optical.level == "L2A"
        settings = SCENE_CLASSES if of_l2a else settings.model_copy(update={"mode": PRODUCT.mode})
    mapped, remarks = [], []
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(references, start=1):

        def progress(_: str, completed: int, total: int, number: int = number) -> None:
            on_progress(f"mapping reference {number} of {len(references)}", completed, total)

        clouds = settings
        if clouds.mode == "scl" and not one.optical.has_classes:
            clouds = PRODUCT_L2A
        as_scene = replace(sources, optical=one.optical, radar=one.radar or sources.radar, references=())
        store = StripCheckpoint(folder, f"reference-{_map_key(one, as_scene, bands, clouds)}")
        scene_map = map_scene(as_scene, bands, clouds, store, progress)
        seen, clear = _shares(scene_map)
        if clear == 0:
            remarks.append(f"the reference {one.title} shows no clear ground of the scene; it was left out")
            continue
        if seen < _MOST:
            remarks.append(f"the reference {one.title} covers {percent_text(seen)} of the scene; the rest is a gap")
        mapped.append(replace(one, scene_map=scene_map, clear_share=clear))
    return tuple(mapped), tuple(remarks)


def _map_key(reference: ReferenceScene, as_scene: Sources, bands: tuple[str, ...], settings: CloudMapSettings) -> str:
    """Return a hash of everything that the map of a reference depends on."""
    radar = reference.files.sar_sha256 or (as_scene.radar and str(as_scene.radar.path))
    parts = reference.files.sha256, describe_grid(as_scene.geobox), bands, settings.model_dump_json(), radar
    return hashlib.sha256(repr((*parts, reference.reading.model_dump_json(), __version__)).encode()).hexdigest()[:32]


_MOST = 0.95
"""Share of a scene below which the coverage of a reference is worth a warning."""


def _shares(scene_map: SceneMap) -> tuple[float, float]:
    """Return the shares of pixels with data and of clear ones."""
    seen, clear, pixels = 0, 0, 0
    for strip in scene_map.strips:
        here = scene_map.seen(*strip)
        seen, pixels = seen + int(np.count_nonzero(here)), pixels + here.size
        clear += int(np.count_nonzero(scene_map.is_clear(*strip)))
    return seen / pixels, clear / pixels


def readers(references: Sequence[ReferenceScene]) -> tuple[ReferenceReader, ...]:
    """Return the row readers of mapped references, for :attr:`Sources.references`."""
    return tuple(one.rows for one in references)


# Contribution of each reference to the result.


@dataclass(frozen=True)
class ReferenceUse:
    """Contribution of a reference to a scene.

    Attributes:
        name: Name of the image.
        sha256: SHA-256 of the image.
        acquired: Time of acquisition, UTC; None if unknown.
        days: Days from the scene to the reference, negative before it; None if a date is unknown.
        clear_share: Share of the pixels of the scene that the reference shows without cloud.
        weight: Share of the predicted pixels in which this reference has the largest weight.
        error: Mean absolute error, reflectance, of a prediction from this reference alone on held-out clear ground of
            the scene; None if unknown.
        error_without: Error of a prediction without references on the same pixels; None if unknown.
        sar: Name of the radar image of about that date; None if there is none.
        sar_sha256: SHA-256 of the radar image; None without one.
    """

    name: str
    sha256: str
    acquired: datetime | None
    days: int | None
    clear_share: float
    weight: float
    error: float | None
    error_without: float | None
    sar: str | None = None
    sar_sha256: str | None = None

    @property
    def disagrees(self) -> bool:
        """Whether a prediction from the reference is hardly better than one without."""
        return (
            self.error is not None
            and self.error_without is not None
            and self.error > REGRESSION.unrelated * self.error_without
        )

    @property
    def remark(self) -> str | None:
        """Warning about a reference that does not agree with the scene; None if it agrees or nothing is known."""
        if not self.disagrees:
            return None
        gap = "" if self.days is None else f", {abs(self.days)} days {'before' if self.days < 0 else 'after'} the scene"
        return (
            f"the reference {self.name}{gap}, does not agree with the clear ground of the scene: its held-out error is "
            f"{self.error:.4f} in reflectance, and {self.error_without:.4f} without it, so that it hardly counts; "
            "check its season and place"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self) | {"acquired": self.acquired.isoformat() if self.acquired else None}


def evaluate_references(
    references: Sequence[ReferenceScene],
    cloudy: OpticalScene,
    used: CloudRemover | None,
    counts: Sequence[int],
    predicted: int,
) -> tuple[ReferenceUse, ...]:
    """Return the contribution of each reference.

    Args:
        references: Mapped references, in the order of the observations.
        cloudy: Optical image of the scene.
        used: Adapted remover.
        counts: Pixels in which each reference has the largest weight.
        predicted: Predicted pixels.
    """
    compared = used.references if isinstance(used, SelectedRemover) else None  # if another one was selected
    adapted = adapted_to_references(used) or compared
    errors = adapted.dates if adapted else ()
    known: Mapping[int, tuple[float, float]] = {
        k: (error.error, error.without) for k, error in enumerate(errors) if np.isfinite(error.error)
    }
    return tuple(
        ReferenceUse(
            name=one.files.name,
            sha256=one.files.sha256,
            acquired=one.optical.acquired,
            days=_days(cloudy.acquired, one.optical.acquired),
            clear_share=one.clear_share or 0.0,
            weight=int(count) / predicted if predicted else 0.0,
            error=known[k][0] if k in known else None,
            error_without=known[k][1] if k in known else None,
            sar=None if one.files.sar is None else one.files.sar.path.name,
            sar_sha256=one.files.sar_sha256,
        )
        for k, (one, count) in enumerate(zip(references, counts, strict=True))
    )


def adapted_to_references(remover: CloudRemover | None) -> AdaptedToReferences | None:
    """Return the adapted reference remover that a remover consists of; None if it uses no references."""
    if isinstance(remover, SelectedRemover):
        remover = remover.remover
    return remover if isinstance(remover, AdaptedToReferences) else None


def _days(scene: datetime | None, reference: datetime | None) -> int | None:
    return (reference.date() - scene.date()).days if scene and reference else None
