"""Processing level of a scene: the removers, the bands and the cloud map that fit it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unclouded.clouds.csmask import NOT_INSTALLED
from unclouded.clouds.detectors import find_detector
from unclouded.clouds.map import PRODUCT, PRODUCT_L2A, SCENE_CLASSES, CloudMapSettings
from unclouded.errors import InputError
from unclouded.files import named
from unclouded.models.network import level_of
from unclouded.models.references.remover import ReferenceRemover
from unclouded.models.remover import CloudRemover, SceneRemover
from unclouded.prediction.auto_remover import AutoRemover
from unclouded.sensors import SENTINEL2, SENTINEL2_L2A, Level, optical_sensor
from unclouded.sentinel.optical_scene import NO_CLASSES
from unclouded.sentinel.sentinel2 import ProcessingLevel


def common_level(removers: Sequence[CloudRemover]) -> Level | None:
    """Return the processing level that removers are for; None for both.

    Raises:
        InputError: They are for different levels.
    """
    levels = {level_of(one) for one in removers} - {None}
    if len(levels) > 1:
        raise InputError("expected weights of one product level, found L1C and L2A; choose weights of one level")
    return next(iter(levels), None)


def with_bands_of(level: Level, remover: CloudRemover) -> CloudRemover:
    """Return a remover for all 13 bands with all bands of a level; one for some of the bands unchanged."""
    if level == "L1C" or remover.bands != SENTINEL2.bands:
        return remover
    found: CloudRemover = _with_bands(remover, optical_sensor(level).bands)
    return found


def _with_bands(remover: Any, bands: tuple[str, ...]) -> Any:
    match remover:
        case AutoRemover():
            others = tuple(_with_bands(one, bands) for one in remover.others)
            return replace(remover, preferred=_with_bands(remover.preferred, bands), others=others)
        case ReferenceRemover():
            fallback: SceneRemover | None = remover.fallback and _with_bands(remover.fallback, bands)
            return replace(remover, bands=bands, fallback=fallback)
    return replace(remover, bands=bands)


def map_of_level(found: ProcessingLevel, requested: CloudMapSettings | None = None) -> CloudMapSettings:
    """Return the cloud map of products that are made without weights: that of the classes of an L2A product, if any.

    Args:
        found: Level of the image.
        requested: Settings of the user; a detector that was set takes the place of the classes.
    """
    if found.level == "L1C":
        return PRODUCT
    by_classes = found.has_classes and (requested is None or "detector" not in requested.model_fields_set)
    return SCENE_CLASSES if by_classes else PRODUCT_L2A


def require_map(path: Path, found: ProcessingLevel, settings: CloudMapSettings) -> None:
    """Check that a cloud map can be computed for an image of a level, before it is read.

    Raises:
        InputError: The detector needs B10, which L2A does not have, or is not installed, or there is no scene
            classification.
    """
    if settings.mode == "scl" and not found.has_classes:
        raise InputError(f"{named(path)} has no scene classification (SCL), as L2A products have; {NO_CLASSES}")
    if settings.mode in ("scl", "ones") or found.level == "L1C":
        return
    if missing := set(find_detector(settings.detector).bands) - set(SENTINEL2_L2A.bands):
        otherwise = "--clouds scl or " if found.has_classes else ""
        raise InputError(
            f"{settings.detector} needs {' '.join(sorted(missing))}, which {named(path)}, a Level-2A image, does not "
            f"have; use {otherwise}--detector csmask-l2a"
        )
    if find_detector(settings.detector).version == NOT_INSTALLED:
        raise InputError(
            f"the clouds of {named(path)}, a Level-2A image, are mapped by {settings.detector}, which is not "
            "installed: pip install 'unclouded[csmask]', or give a map of your own (--cloud-map)"
        )
