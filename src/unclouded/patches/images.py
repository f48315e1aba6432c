"""The images of every patch of a data set, complete or not: what screening and the manifest look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unclouded.geotiff import ImageFile
from unclouded.patches.identity import PatchId, natural
from unclouded.patches.layouts import (
    CLEAR,
    CLOUDY,
    FLAT_CLEAR,
    SAR,
    IncompleteTriplet,
    Inventory,
    TripletFiles,
)

TOKENS = (SAR, CLEAR, CLOUDY)
"""What the images are called here, whatever their folders are called: radar, clear and cloudy."""


@dataclass(frozen=True)
class PatchImages:
    """The images of one place that are there.

    Attributes:
        name: As in :class:`~unclouded.patches.layouts.TripletFiles`.
        patch: None where the name is not an official one.
        paths: By token of :data:`TOKENS`; none where scenes are incomplete.
        lacks: Tokens that are not there, in the words of the layout.
    """

    name: str
    patch: PatchId | None
    paths: Mapping[str, ImageFile]
    lacks: tuple[str, ...] = ()


def images_of(inventory: Inventory) -> list[PatchImages]:
    """Return the images of all patches in natural order, also of those that lack some."""
    found = [_complete(files) for files in inventory.triplets]
    found += [_incomplete(inventory, one) for one in inventory.incomplete]
    return sorted(found, key=lambda images: natural(images.name))


def _complete(files: TripletFiles) -> PatchImages:
    assert files.clear
    return PatchImages(files.name, files.patch, {SAR: files.sar, CLEAR: files.clear, CLOUDY: files.cloudy})


def _incomplete(inventory: Inventory, one: IncompleteTriplet) -> PatchImages:
    absent = {CLEAR if token in FLAT_CLEAR else token for token in one.lacks}
    there = [token for token in TOKENS if token not in absent]
    patch = PatchId.parse(one.name) if one.roi else None
    if patch and inventory.layout == "official":
        return PatchImages(one.name, patch, {token: inventory.root / patch.path(token) for token in there}, one.lacks)
    if inventory.layout == "scenes":
        return PatchImages(one.name, patch, {}, one.lacks)
    folders = {SAR: SAR, CLOUDY: CLOUDY, CLEAR: _clear_folder(inventory.root)}
    paths = {token: inventory.root / folders[token] / f"{one.name}.tif" for token in there}
    return PatchImages(one.name, patch, paths, one.lacks)


def _clear_folder(root: Path) -> str:
    return next((name for name in FLAT_CLEAR if (root / name).is_dir()), FLAT_CLEAR[0])
