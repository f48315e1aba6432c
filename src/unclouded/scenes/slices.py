"""Slices of one pass of Sentinel-1: a tile of Sentinel-2 seldom lies within a single one of them."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.scenes.archive import is_zip

ONE_PASS = timedelta(minutes=5)
"""Slices of one pass begin 25 s apart; a satellite is at the same place again after 12 hours at the earliest."""

_NAME = re.compile(r"S1[A-D]_IW_GRDH_1S\w{2}_(\d{8}T\d{6})_.*")


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
    for path in folder.iterdir():
        found = _NAME.fullmatch(path.name)
        if found and ((path / "manifest.safe").is_file() or (path.is_file() and is_zip(path))):
            yield datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC), path
