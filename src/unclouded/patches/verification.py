"""Verification of a data set: file checksums against the manifest, patch counts against the published ones."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unclouded.files import sha256
from unclouded.io.geotiff import file_of
from unclouded.patches.reading import TOKENS, PatchImages
from unclouded.patches.roi import Roi
from unclouded.patches.splits import official_counts


@dataclass(frozen=True)
class Fault:
    """A difference between a data set and its manifest.

    Attributes:
        patch: Patch name.
        file: Path relative to the root.
        reason: ``absent``, ``changed``, or ``not in the manifest``, with details.
    """

    patch: str
    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


def verify_rows(root: Path, rows: Iterable[Mapping[str, Any]]) -> list[Fault]:
    """Compare the files of manifest rows with size and checksum; a file in several rows is hashed once."""
    listed = {
        (row[token], row[f"{token}_bytes"], row[f"{token}_sha256"]): (row, token)
        for row in rows
        for token in TOKENS
        if row[token]
    }
    return [fault for row, token in listed.values() for fault in _verify_file(root, row, token)]


def _verify_file(root: Path, row: Mapping[str, Any], token: str) -> Iterator[Fault]:
    path, size = root / row[token], row[f"{token}_bytes"]
    try:
        found = path.stat().st_size
        if found != size:
            yield Fault(row["patch"], row[token], f"changed: {found:,} bytes, expected {size:,} as in the manifest")
        elif sha256(path) != row[f"{token}_sha256"]:
            yield Fault(row["patch"], row[token], "changed: SHA-256 differs from the manifest")
    except OSError as error:
        yield Fault(row["patch"], row[token], f"absent or unreadable ({error.strerror})")


def unlisted(root: Path, rows: Iterable[Mapping[str, Any]], found: Iterable[PatchImages]) -> list[Fault]:
    """Return the images that are not in the manifest."""
    listed = {row[token] for row in rows for token in TOKENS if row[token]}
    paths = (
        (images.name, file_of(path).relative_to(root).as_posix()) for images in found for path in images.paths.values()
    )
    return [Fault(name, path, "not in the manifest") for name, path in paths if path not in listed]


@dataclass(frozen=True)
class Count:
    """Number of complete triplets of a region.

    Attributes:
        roi: Region.
        found: Number in this data set.
        published: Number in SEN12MS-CR.
    """

    roi: Roi
    found: int
    published: int


def published_counts(complete: Iterable[PatchImages], *, everywhere: bool = False) -> list[Count]:
    """Count complete triplets by region of SEN12MS-CR.

    Args:
        complete: Patches; incomplete ones and those of other regions are ignored.
        everywhere: Include regions without patches.
    """
    found = Counter(images.patch.roi for images in complete if images.patch and not images.lacks)
    known = sorted(official_counts().items())
    return [Count(roi, found[roi], total) for roi, total in known if everywhere or roi in found]


def count_lines(counts: Iterable[Count]) -> list[str]:
    """Return a table of seasons, and one line for every region whose count differs from the published one."""
    counts = list(counts)
    lines = []
    for season in sorted({count.roi.season for count in counts}):
        group = [count for count in counts if count.roi.season == season]
        here, there = sum(count.found for count in group), sum(count.published for count in group)
        lines.append(f"  {season:<8}{len(group):>4} regions {here:>8,} of {there:,} published triplets")
    lines += [f"  {one.roi}: {one.found:,} of {one.published:,}" for one in counts if one.found != one.published]
    return lines
