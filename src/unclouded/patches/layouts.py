"""Layouts of data sets on disk: find the triplets by file names alone, without opening images.

Four layouts are supported: ``official``, the folders of SEN12MS-CR; ``flat``, one folder per sensor; ``scenes``, where
each region has three scenes and the manifest lists the windows of its patches; and ``series``, the folders of
SEN12MS-CR-TS with a manifest, which lists one triplet per cloudy date of a patch.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from unclouded.errors import InputError
from unclouded.files import named, require_folder
from unclouded.io.geotiff import ImageFile, ImageWindow, file_of
from unclouded.patches.cutting import PATCH_PX
from unclouded.patches.manifest import read_manifest, withdrawn_patches
from unclouded.patches.roi import CHOICES, MANIFEST, REVIEW, SCENES, SENSORS, PatchId, Roi, natural

SAR, CLEAR, CLOUDY = "s1", "s2", "s2_cloudy"

FLAT_CLEAR = ("s2_cloudfree", "s2_cloudFree")
"""Both spellings of the cloud-free folder in the flat layout."""

Layout = Literal["official", "flat", "scenes", "series"]

SHOWN = 5
"""Maximum number of names listed in a report."""

_COLLECTION = re.compile(r"(?P<seed>ROIs[0-9]{4})_(?P<season>spring|summer|fall|winter)_(?P<sensor>s1|s2|s2_cloudy)")

_SERIES = re.compile(r"ROIs[0-9]{4}")

_EXPECTED = "folders such as ROIs1158_spring_s1/s1_1 (official layout) or s1, s2_cloudy, s2_cloudfree (flat layout)"


@dataclass(frozen=True)
class TripletFiles:
    """The files of one patch: radar, cloudy and, except for prediction, clear image.

    Attributes:
        name: Unique name: that of the patch in the official layout, the file name without ``.tif`` in the flat one.
        patch: Patch; None if the name is not an official one.
        sar: Sentinel-1 file, or its window in the scene of a region.
        cloudy: Cloudy Sentinel-2 file.
        clear: Cloud-free Sentinel-2 file; None only in :attr:`Inventory.without_clear`.
    """

    name: str
    patch: PatchId | None
    sar: ImageFile
    cloudy: ImageFile
    clear: ImageFile | None

    @property
    def roi(self) -> Roi | None:
        """Region; None if the name is not an official one."""
        return self.patch.roi if self.patch else None


@dataclass(frozen=True)
class IncompleteTriplet:
    """A patch with missing files.

    Attributes:
        name: Unique name, see :class:`TripletFiles`.
        lacks: Missing images, named as in the layout: ``s1``, ``s2_cloudy``, ``s2`` or ``s2_cloudfree``.
    """

    name: str
    lacks: tuple[str, ...]

    @property
    def roi(self) -> Roi | None:
        """Region; None if the name is not an official one."""
        patch = _official_name(self.name)
        return patch.roi if patch else None

    def __str__(self) -> str:
        return f"{self.name} lacks {', '.join(self.lacks)}"


@dataclass(frozen=True)
class ClearImage:
    """The clear image of a patch without radar or cloudy image.

    Attributes:
        name: Unique name, see :class:`TripletFiles`.
        path: Cloud-free Sentinel-2 file.
    """

    name: str
    path: ImageFile


@dataclass(frozen=True)
class Inventory:
    """Contents of a data set.

    Attributes:
        root: Root folder.
        layout: ``"official"``, ``"flat"``, or ``"scenes"``, where patches are windows of the scenes of their region.
        triplets: Complete triplets, in natural order (patch 9 before patch 10).
        without_clear: Radar and cloudy image without clear target, sufficient for prediction; also in ``incomplete``.
        incomplete: Patches with one or two missing files.
        unexpected_files: Files and folders that are not part of the layout, relative to the root.
        split_list: csv list of a flat layout that assigns files to the parts of the split.
        clear_alone: Clear images without radar or cloudy image; also in ``incomplete``.
        withdrawn: Patches that the manifest rejects although their files exist; in none of the other groups.
    """

    root: Path
    layout: Layout
    triplets: tuple[TripletFiles, ...]
    without_clear: tuple[TripletFiles, ...]
    incomplete: tuple[IncompleteTriplet, ...]
    unexpected_files: tuple[str, ...]
    split_list: Path | None
    clear_alone: tuple[ClearImage, ...] = ()
    withdrawn: tuple[str, ...] = ()

    @property
    def observations(self) -> tuple[TripletFiles, ...]:
        """Patches with radar and cloudy image, with or without clear target, in natural order."""
        return tuple(sorted(self.triplets + self.without_clear, key=lambda files: natural(files.name)))

    @property
    def clear_images(self) -> tuple[ClearImage, ...]:
        """Clear images, with or without radar and cloudy image, in natural order."""
        paired = tuple(ClearImage(files.name, files.clear) for files in self.triplets if files.clear is not None)
        return tuple(sorted(paired + self.clear_alone, key=lambda one: natural(one.name)))

    @property
    def unpredictable(self) -> tuple[IncompleteTriplet, ...]:
        """Patches without radar or cloudy image."""
        there = {files.name for files in self.without_clear}
        return tuple(patch for patch in self.incomplete if patch.name not in there)

    def require_triplets(self) -> tuple[TripletFiles, ...]:
        """Return the complete triplets.

        Raises:
            InputError: There is none; the message names the first incomplete ones.
        """
        return self._required(self.triplets, "complete triplet")

    def require_observations(self) -> tuple[TripletFiles, ...]:
        """Return the patches with radar and cloudy image.

        Raises:
            InputError: There is none; the message names the first incomplete ones.
        """
        return self._required(self.observations, "radar image with its cloudy image")

    def _required(self, found: tuple[TripletFiles, ...], what: str) -> tuple[TripletFiles, ...]:
        if not found:
            first = "; ".join(_shown(self.incomplete))
            raise InputError(f"{self.root} holds no {what}: {first}; fetch the missing files")
        return found

    def summary(self) -> str:
        """Return a summary in one line."""
        regions = {files.roi for files in self.triplets if files.roi}
        where = f" of {_count(len(regions), 'region')}" if regions else ""
        left_out = f", {len(self.withdrawn):,} rejected in the manifest" if self.withdrawn else ""
        return f"{self.root}: {self.layout} layout, {_count(len(self.triplets), 'complete triplet')}{where}{left_out}"

    def report(self) -> str:
        """Return a report of a few lines: counts, and the first names of incomplete patches and unexpected files."""
        return "\n".join(
            [self.summary(), *section("incomplete", self.incomplete), *section("unexpected", self.unexpected_files)]
        )


def find_triplets(root: Path | str, *, withdrawn: bool = False) -> Inventory:
    """Find the triplets of a data set in the official, the flat or the scenes layout.

    Only names are listed; for the scenes layout the manifest is read as well. Only names below ``root`` matter, not the
    path of ``root`` itself. Names that begin with a dot, such as unfinished files, are ignored. Patches that the
    manifest rejects after a review, or because another part has their ground, are left out.

    Args:
        root: Folder with ``ROIs1158_spring_s1`` and similar folders, or with ``s1``, ``s2_cloudy`` and
            ``s2_cloudfree``, or with ``scenes`` and ``manifest.parquet``.
        withdrawn: Include the patches that the manifest rejects.

    Raises:
        InputError: The folder is missing or holds no patch.
    """
    root = Path(root)
    require_folder(root)
    entries = _listed(root)
    names = {entry.name for entry in entries}
    rejected = withdrawn_patches(root / MANIFEST) if MANIFEST in names and not withdrawn else set()
    if any(map(_COLLECTION.fullmatch, names)):
        inventory = _inventory(root, "official", CLEAR, _official(entries), None, rejected)
    elif MANIFEST in names and any(map(_SERIES.fullmatch, names)):
        inventory = _inventory(root, "series", CLEAR, _series(root, entries), None, rejected)
    elif SCENES in names and not names & {SAR, CLOUDY}:
        inventory = _inventory(root, "scenes", CLEAR, _scenes(root, entries), None, rejected)
    else:
        inventory = _inventory(
            root, "flat", _flat_clear(root, names), _flat(entries), _split_list(root, names), rejected
        )
    if not (inventory.triplets or inventory.incomplete or inventory.withdrawn):
        held = ", ".join(sorted(names)[:SHOWN]) or "nothing"
        raise InputError(f"{root} holds no patch; expected {_EXPECTED}, found {held}")
    return inventory


class _Sighting(NamedTuple):
    """A listed file or folder; without token if it is not part of the layout."""

    path: ImageFile
    token: str = ""
    name: str = ""
    patch: PatchId | None = None


def _official(entries: Iterable[os.DirEntry[str]]) -> Iterator[_Sighting]:
    for entry in entries:
        collection = _COLLECTION.fullmatch(entry.name)
        if not (collection and entry.is_dir()):
            yield _Sighting(Path(entry.path))
            continue
        for folder in _listed(Path(entry.path)):
            if roi := _region(collection, folder):
                yield from _region_files(roi, collection["sensor"], Path(folder.path))
            else:
                yield _Sighting(Path(folder.path))


def _region(collection: re.Match[str], folder: os.DirEntry[str]) -> Roi | None:
    """Return the region of a folder such as ``s1_106``; names are compared as a whole, so ``s1_1`` is another one."""
    sensor, _, number = folder.name.rpartition("_")
    if sensor != collection["sensor"] or not _is_number(number) or not folder.is_dir():
        return None
    return Roi(collection["seed"], collection["season"], int(number))


def _region_files(roi: Roi, sensor: str, folder: Path) -> Iterator[_Sighting]:
    start = PatchId(roi, 0).file_name(sensor).removesuffix("0.tif")
    for file in _listed(folder):
        number = file.name[len(start) : -len(".tif")]
        if file.name == f"{start}{number}.tif" and _is_number(number):
            patch = PatchId(roi, int(number))
            yield _Sighting(folder / file.name, sensor, str(patch), patch)
        else:
            yield _Sighting(folder / file.name)


def _scenes(root: Path, entries: Iterable[os.DirEntry[str]]) -> Iterator[_Sighting]:
    yield from (_Sighting(Path(entry.path)) for entry in entries if entry.name != SCENES)
    for image, token, patch in patches_in_scenes(root):
        yield _Sighting(image, token, str(patch or ""), patch)


def _series(root: Path, entries: Iterable[os.DirEntry[str]]) -> Iterator[_Sighting]:
    """Yield the images that the manifest lists, and all other files."""
    rows = [row for row in read_manifest(root / MANIFEST) if row[SAR]]
    there = {path for entry in entries if _SERIES.fullmatch(entry.name) for path in Path(entry.path).rglob("*.tif")}
    listed = {root / row[token] for row in rows for token in SENSORS}
    yield from (_Sighting(path) for path in sorted(there - listed))
    yield from (_Sighting(Path(entry.path)) for entry in entries if not _SERIES.fullmatch(entry.name))
    for row in rows:
        patch = PatchId.parse(row["patch"])
        for token in SENSORS:
            if (path := root / row[token]) in there:
                yield _Sighting(path, token, str(patch), patch)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text


def _flat(entries: Iterable[os.DirEntry[str]]) -> Iterator[_Sighting]:
    for entry in entries:
        if entry.name not in (SAR, CLOUDY, *FLAT_CLEAR) or not entry.is_dir():
            yield _Sighting(Path(entry.path))
            continue
        for file in _listed(Path(entry.path)):
            name = file.name.removesuffix(".tif")
            if name != file.name and name.isprintable() and file.is_file():
                yield _Sighting(Path(file.path), entry.name, name, _official_name(name))
            else:
                yield _Sighting(Path(file.path))


def _official_name(name: str) -> PatchId | None:
    try:
        return PatchId.parse(name)
    except InputError:
        return None


def _flat_clear(root: Path, names: set[str]) -> str:
    """Return the spelling of the cloud-free folder in a flat layout."""
    spellings = [spelling for spelling in FLAT_CLEAR if spelling in names]
    if len(spellings) > 1:
        raise InputError(f"{root} holds both {' and '.join(spellings)}, expected one of them; merge the two")
    return spellings[0] if spellings else FLAT_CLEAR[0]


def _split_list(root: Path, names: set[str]) -> Path | None:
    """Return ``data.csv``, or the only csv file of the folder; None if there is none."""
    lists = [name for name in names if name.endswith(".csv") and name not in (CHOICES, REVIEW)]
    chosen = "data.csv" if "data.csv" in lists else lists[0] if len(lists) == 1 else None
    return root / chosen if chosen else None


def _inventory(
    root: Path, layout: Layout, clear: str, sightings: Iterable[_Sighting], split_list: Path | None, rejected: set[str]
) -> Inventory:
    found: dict[str, dict[str, _Sighting]] = defaultdict(dict)
    unexpected_files: list[str] = []
    for sighting in sightings:
        if sighting.token:
            found[sighting.name][sighting.token] = sighting
        elif sighting.path not in (split_list, root / MANIFEST, root / CHOICES, root / REVIEW):
            unexpected_files.append(named(file_of(sighting.path).relative_to(root)))
    triplets: list[TripletFiles] = []
    without_clear: list[TripletFiles] = []
    clear_alone: list[ClearImage] = []
    incomplete: list[IncompleteTriplet] = []
    for name in sorted(found.keys() - rejected, key=natural):
        seen = found[name]
        if SAR in seen and CLOUDY in seen:
            target = seen[clear].path if clear in seen else None
            files = TripletFiles(name, seen[SAR].patch, seen[SAR].path, seen[CLOUDY].path, target)
            (triplets if target else without_clear).append(files)
        elif clear in seen:
            clear_alone.append(ClearImage(name, seen[clear].path))
        if lacks := tuple(token for token in (SAR, CLOUDY, clear) if token not in seen):
            incomplete.append(IncompleteTriplet(name, lacks))
    return Inventory(
        root,
        layout,
        tuple(triplets),
        tuple(without_clear),
        tuple(incomplete),
        tuple(unexpected_files),
        split_list,
        tuple(clear_alone),
        tuple(sorted(found.keys() & rejected, key=natural)),
    )


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except PermissionError as error:
        raise InputError(f"{folder} cannot be listed; check its permissions") from error


def section(title: str, found: Sequence[object], shown: int = SHOWN) -> list[str]:
    """Return a section of a report: a count, the first entries, and the number of further ones."""
    return [f"{len(found):,} {title}", *(f"  {line}" for line in _shown(found, shown))] if found else []


def _shown(found: Sequence[object], shown: int = SHOWN) -> list[str]:
    more = [f"and {len(found) - shown:,} more"] if len(found) > shown else []
    return [*map(str, found[:shown]), *more]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# The scenes layout, which stores each pixel of a region once:
#
#     ROOT/scenes/ROIs0001_summer_12/ROIs0001_summer_s1_12.tif    radar; s2 and s2_cloudy beside it, on one grid
#     ROOT/manifest.parquet                                       first row and column of every patch


def patches_in_scenes(root: Path) -> Iterator[tuple[ImageFile, str, PatchId | None]]:
    """Yield image, token and patch of each kept patch of the manifest whose scene exists.

    Other files among the scenes are yielded without token and patch.

    Raises:
        InputError: The manifest is missing or damaged, or lacks the window of a patch.
    """
    if not (root / MANIFEST).is_file():
        raise InputError(
            f"{named(root)} holds scenes without {MANIFEST}, which lists the windows of their patches; "
            "let 'unclouded curate' finish"
        )
    patches = list(_listed_scenes(root / MANIFEST))
    expected = {root / patch.roi.scene_path(token) for patch, _, _ in patches for token in SENSORS}
    there = {path for path in (root / SCENES).glob("*/*") if not path.name.startswith(".")}
    yield from ((path, "", None) for path in sorted(there - expected))
    for patch, top, left in patches:
        for token in SENSORS:
            if (path := root / patch.roi.scene_path(token)) in there:
                yield ImageWindow(path, top, left, (PATCH_PX, PATCH_PX)), token, patch


def _listed_scenes(manifest: Path) -> Iterator[tuple[PatchId, int, int]]:
    for row in read_manifest(manifest):
        if row["status"] == "kept":
            if row["row_px"] is None or row["column_px"] is None:
                raise InputError(f"{named(manifest)} lacks the window of {row['patch']} in its scene; create it again")
            yield PatchId.parse(row["patch"]), row["row_px"], row["column_px"]
