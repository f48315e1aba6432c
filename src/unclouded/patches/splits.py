"""Splits into train, val and test by whole regions: the official one, csv lists, and manifests."""

import csv
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from unclouded.errors import InputError
from unclouded.files import named, read_small
from unclouded.patches.layouts import CLOUDY, FLAT_CLEAR, SAR, IncompleteTriplet, Inventory, TripletFiles, section
from unclouded.patches.manifest import read_manifest
from unclouded.patches.roi import MANIFEST, Roi

SplitName = Literal["train", "train+val", "val", "test", "all"]
TRAIN_AND_VAL = "train+val"
"""Train and val joined, as in the paper, which has no validation part."""
PARTS = ("train", "val", "test")
"""The three parts, in the order of the numbers 1, 2, 3 of the csv lists."""
OUTSIDE = "outside"
"""Group of triplets that a split does not contain."""
Assigned = dict[str, tuple[TripletFiles, ...]]
"""Triplets by part: ``"train"``, ``"val"``, ``"test"`` and ``"outside"``."""

_ROW = "expected rows such as 3,s1,s2_cloudfree,s2_cloudy,NAME.tif"


@dataclass(frozen=True)
class Split:
    """Three groups of regions that share no region.

    Attributes:
        train: Regions for training.
        val: Regions for validation.
        test: Regions for testing.
    """

    train: Collection[Roi]
    val: Collection[Roi]
    test: Collection[Roi]

    def __post_init__(self) -> None:
        for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
            if shared := set(getattr(self, a)) & set(getattr(self, b)):
                regions = "1 region is" if len(shared) == 1 else f"{len(shared)} regions are"
                raise InputError(f"{regions} in both {a} and {b}, first {min(shared)}; keep each in one of them")

    def parts(self) -> dict[Roi, str]:
        """Return the part of each region: ``"train"``, ``"val"`` or ``"test"``."""
        return {roi: part for part in PARTS for roi in getattr(self, part)}


@cache
def _table() -> tuple[tuple[Roi, str, int], ...]:
    text = (package_files("unclouded.patches") / "data" / "sen12mscr_regions.csv").read_text(encoding="utf-8")
    return tuple(
        (Roi(row["seed"], row["season"], int(row["roi"])), row["split"], int(row["patches"]))
        for row in csv.DictReader(text.splitlines())
    )


@cache
def official_split() -> Split:
    """Return the split of the authors' toolbox: 155, 10 and 10 of the 175 regions of SEN12MS-CR.

    They hold 107,143, 7,176 and 7,899 patches. The paper (section III-A) counts 114,325 and 7,893 and has no
    validation part: the same total, six patches moved; ``"train+val"`` joins 114,319 patches of 165 regions. The paper
    counts 169 regions, the published data set has 175 folders; which folders it counts as one is not stated.
    """
    return Split(*(frozenset(roi for roi, part, _ in _table() if part == name) for name in PARTS))


@cache
def official_counts() -> Mapping[Roi, int]:
    """Return the number of triplets of each of the 175 regions of SEN12MS-CR as published."""
    return MappingProxyType({roi: patches for roi, _, patches in _table()})


def assign(triplets: Iterable[TripletFiles], split: Split) -> Assigned:
    """Group triplets by the part of their region; ``"outside"`` for regions that the split does not contain.

    Raises:
        InputError: The name of a triplet is not an official one, so its region is unknown.
    """
    return _by_region(triplets, split.parts())


def _by_region(triplets: Iterable[TripletFiles], part_of: Mapping[Roi, str]) -> Assigned:
    def part(files: TripletFiles) -> str:
        if files.roi is None:
            raise InputError(
                f"{files.name} contains no region, expected a name such as ROIs1158_spring_106_p30; "
                "list the parts in a data.csv, or use 'all'"
            )
        return part_of.get(files.roi, OUTSIDE)

    return _grouped(triplets, part)


def _grouped(triplets: Iterable[TripletFiles], part: Callable[[TripletFiles], str]) -> Assigned:
    groups: dict[str, list[TripletFiles]] = {name: [] for name in (*PARTS, OUTSIDE)}
    for files in triplets:
        groups[part(files)].append(files)
    return {name: tuple(found) for name, found in groups.items()}


def triplets_of(inventory: Inventory, part: SplitName) -> tuple[TripletFiles, ...]:
    """Return the complete triplets of one part, or of all.

    The csv list of a flat layout has precedence; otherwise the manifest of the data set decides, and
    :func:`official_split` for regions that it gives no part.

    Raises:
        InputError: The part is empty, or the parts of the triplets are unknown.
    """
    if part == TRAIN_AND_VAL:
        joined = {one.name for own in ("train", "val") for one in _of_part(inventory, own, may_be_empty=own == "val")}
        return tuple(one for one in inventory.triplets if one.name in joined)
    return _of_part(inventory, part)


def _of_part(inventory: Inventory, part: str, *, may_be_empty: bool = False) -> tuple[TripletFiles, ...]:
    triplets = inventory.require_triplets()
    if part == "all":
        return triplets
    if inventory.split_list:
        assigned = _assign_listed(triplets, inventory.split_list)
    else:
        assigned = _by_region(triplets, _parts(inventory))
    if not assigned[part] and not may_be_empty:
        sizes = ", ".join(f"{name} {len(found):,}" for name, found in assigned.items())
        raise InputError(f"{inventory.root} has no triplet in {part} (found {sizes}); use another split or 'all'")
    return assigned[part]


def incomplete_of(inventory: Inventory, part: SplitName) -> tuple[IncompleteTriplet, ...]:
    """Return the incomplete triplets of one part, or of all; see :func:`triplets_of`."""
    if part == "all":
        return inventory.incomplete
    if inventory.split_list:
        listed = read_split_list(inventory.split_list)
        return tuple(one for one in inventory.incomplete if listed.get(f"{one.name}.tif") in parts_in(part))
    known = _parts(inventory)
    return tuple(one for one in inventory.incomplete if one.roi and known.get(one.roi) in parts_in(part))


def parts_in(part: SplitName) -> tuple[str, ...]:
    """Return the parts that a name stands for: two for ``"train+val"``, all three for ``"all"``."""
    return PARTS if part == "all" else tuple(part.split("+"))


@dataclass(frozen=True)
class SplitCheck:
    """Faults of the csv list or the manifest that defines the split of a data set.

    Attributes:
        faults: Messages of faults that other commands refuse.
        absent: File names of rows without files.
        unlisted: Complete triplets without a row, which belong to no part.
    """

    faults: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether every row is valid and has files."""
        return not (self.faults or self.absent)

    def lines(self) -> list[str]:
        """Return the lines of a report that names every row."""
        found = section("faults of the split", self.faults, len(self.faults))
        found += section("rows of the split list without files", self.absent, len(self.absent))
        return found + section("triplets in no row of the split list", self.unlisted)


def check_split(inventory: Inventory) -> SplitCheck:
    """Check the split of a data set and collect all faults, where other commands stop at the first."""
    if not inventory.split_list:
        try:
            _parts(inventory)
        except InputError as error:
            return SplitCheck((str(error),))
        return SplitCheck()
    try:
        listed, faults = examine_split_list(inventory.split_list)
    except InputError as error:
        return SplitCheck((str(error),))
    try:
        _require_apart(_assigned(inventory.triplets, listed), inventory.split_list)
    except InputError as error:
        faults.append(str(error))
    there = {f"{one.name}.tif" for one in inventory.triplets} | {f"{one.name}.tif" for one in inventory.incomplete}
    absent = tuple(name for name in listed if name not in there)
    unlisted = tuple(one.name for one in inventory.triplets if f"{one.name}.tif" not in listed)
    return SplitCheck(tuple(faults), absent, unlisted)


def parts_by_name(inventory: Inventory) -> dict[str, str]:
    """Return the part of each complete triplet, see :func:`triplets_of`; ``"outside"`` for none."""
    if inventory.split_list:
        assigned = _assign_listed(inventory.triplets, inventory.split_list)
    else:
        known = _parts(inventory)
        assigned = _grouped(inventory.triplets, lambda files: known.get(files.roi, OUTSIDE) if files.roi else OUTSIDE)
    return {files.name: part for part, found in assigned.items() for files in found}


def _parts(inventory: Inventory) -> Mapping[Roi, str]:
    """Return the part of each region: as in the manifest, and as published for regions that it gives no part."""
    known, manifest = official_split().parts(), inventory.root / MANIFEST
    if not manifest.is_file():
        return known
    listed: dict[Roi, str] = {}
    for row in read_manifest(manifest):
        if (
            row["roi"]
            and row["split"] in PARTS
            and listed.setdefault(Roi.parse(row["roi"]), row["split"]) != row["split"]
        ):
            raise InputError(f"{named(manifest)} has {row['roi']} in two parts, expected one; create it again")
    return dict(known) | listed


def _assign_listed(triplets: Iterable[TripletFiles], path: Path) -> Assigned:
    assigned = _assigned(triplets, read_split_list(path))
    _require_apart(assigned, path)
    return assigned


def _assigned(triplets: Iterable[TripletFiles], listed: Mapping[str, str]) -> Assigned:
    return _grouped(triplets, lambda files: listed.get(f"{files.name}.tif", OUTSIDE))


def _require_apart(assigned: Assigned, path: Path) -> None:
    """Check that no region of a list is in two parts."""
    try:
        Split(*({files.roi for files in assigned[part] if files.roi} for part in PARTS))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_split_list(path: Path) -> dict[str, str]:
    """Read a csv list of rows such as ``3,s1,s2_cloudfree,s2_cloudy,NAME.tif``: 1 is train, 2 val, 3 test.

    Returns:
        The part of each file name. Names are only compared with those in the folders and never opened.

    Raises:
        InputError: A row has another format, holds a path instead of a file name, or assigns a file to a second part.
    """
    listed, faults = examine_split_list(path)
    if faults:
        more = f" (and {len(faults) - 1:,} more rows, listed by 'unclouded data check')" if len(faults) > 1 else ""
        raise InputError(f"{faults[0]}{more}")
    return listed


def examine_split_list(path: Path) -> tuple[dict[str, str], list[str]]:
    """Read a csv list like :func:`read_split_list`, and collect the faults of all rows.

    Returns:
        The part of each file name in valid rows, and a message for each invalid row.

    Raises:
        InputError: The file is not a csv list.
    """
    try:
        lines = read_small(path, limit=64 << 20).decode("utf-8-sig").splitlines()
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, strict=True)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a csv list: {error}; {_ROW}") from error
    listed: dict[str, str] = {}
    faults: list[str] = []
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        try:
            name, part = _row(path, number, row)
        except InputError as error:
            faults.append(str(error))
        else:
            if listed.setdefault(name, part) != part:
                faults.append(f"{path}, row {number}: {name} is in {listed[name]} already; keep one of the two rows")
    return listed, faults


def _row(path: Path, number: int, row: list[str]) -> tuple[str, str]:
    if len(row) != 5 or row[0] not in ("1", "2", "3") or row[1] != SAR or row[2] not in FLAT_CLEAR or row[3] != CLOUDY:
        raise InputError(f"{path}, row {number}: found {','.join(row)[:80]!r}; {_ROW}")
    if row[4] in ("", ".", "..") or any(character in row[4] for character in "/\\\0"):
        raise InputError(f"{path}, row {number}: {row[4][:80]!r} is not a plain file name; {_ROW}")
    return row[4], PARTS[int(row[0]) - 1]


def read_patch_list(path: Path) -> list[str]:
    """Return the names of a list of patches, one a line; names of a flat layout may have blanks in them.

    Raises:
        InputError: The list is missing, empty, no text, or names a patch twice.
    """
    try:
        lines = read_small(path, limit=64 << 20).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text, expected names of patches, one a line; check the path") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise InputError(f"{path} names no patch, expected one a line; fill it or leave it out")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} names {twice} more than once, expected each patch once; delete the repetition")
    return names
