"""Products of one pass that belong together: slices of Sentinel-1, and parts of a tile of Sentinel-2."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.scenes.archive import is_zip
from unclouded.scenes.stack import looks_whole

ONE_PASS = timedelta(minutes=5)
"""Slices of one pass begin 25 s apart; a satellite is at the same place again after 12 hours at the earliest."""

_NAME = re.compile(r"S1[A-D]_IW_GRDH_1S\w{2}_(\d{8}T\d{6})_.*")


_PART = re.compile(
    r"(S2[A-D])_MSI(L1C|L2A)_(\d{8}T\d{6})_N\d{4}_(R\d{3})_(T\d\d[A-Z]{3})_(\d{8}T\d{6})(?:\.SAFE|\.zip)*"
)


def parts_in(folder: Path) -> list[Path]:
    """Return the Sentinel-2 products in a folder that is none itself, earliest first: parts of one tile in one pass.

    The ground station and the ends of datastrips cut a tile into two products that complement each other.

    Args:
        folder: SAFE folders or zips with the names that Copernicus gives them; products with other names do not count.

    Raises:
        InputError: The products are of several satellites, levels, orbits, tiles or passes, or one is there twice.
    """
    if not folder.is_dir() or (folder / "manifest.safe").exists():
        return []
    found = sorted((match[3], match[6], path, match) for path, match in _products(folder, _PART))
    kinds = {match.group(1, 2, 4, 5) for *_, match in found}
    times = [_moment(taken) for taken, *_ in found]
    if len(kinds) > 1 or (times and times[-1] - times[0] > ONE_PASS):
        names = " and ".join(path.name for *_, path, _ in (found[0], found[-1]))
        raise InputError(
            f"{named(folder)} holds {names}, expected one Sentinel-2 product, or parts of one tile in one pass; give "
            "one of them, or a folder with those of one tile and pass"
        )
    for first, second in pairwise(found):
        if first[:2] == second[:2]:
            names = f"{first[2].name} and {second[2].name}"
            raise InputError(f"{named(folder)} holds {names}, which are one product; give one of them")
    return [path for *_, path, _ in found]


def is_split(folder: Path) -> bool:
    """Whether a folder holds two or more parts of one tile in one pass, and no other Sentinel-2 products."""
    try:
        return len(parts_in(folder)) > 1
    except InputError:
        return False


def slices_in(folder: Path) -> list[Path]:
    """Return the Sentinel-1 products in a folder that is none itself, in the order they were taken; none for others.

    Args:
        folder: Holds SAFE folders or zips with the names that Copernicus gives them.

    Raises:
        InputError: The products are of more than one pass.
    """
    if not folder.is_dir() or (folder / "manifest.safe").exists():
        return []
    taken = sorted(_taken(folder))
    if taken and taken[-1][0] - taken[0][0] > ONE_PASS:
        first, last = (f"{moment:%Y-%m-%d %H:%M}" for moment, _ in (taken[0], taken[-1]))
        raise InputError(
            f"{named(folder)} holds Sentinel-1 products from {first} to {last}, expected slices of one pass; give "
            "one of them, or a folder with those of one pass"
        )
    return [path for _, path in taken]


def _taken(folder: Path) -> Iterator[tuple[datetime, Path]]:
    for path, match in _products(folder, _NAME):
        yield _moment(match[1]), path


def _products(folder: Path, name: re.Pattern[str]) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in folder.iterdir():
        found = name.fullmatch(path.name)
        if found and ((path.is_dir() and looks_whole(path)) or (path.is_file() and is_zip(path))):
            yield path, found


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
