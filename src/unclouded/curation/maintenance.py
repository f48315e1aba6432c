"""Maintenance tasks of a data set, one per region: describe its patches for a manifest, or verify them against it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unclouded.batch.tasks import Row, content_id
from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.files import resolved
from unclouded.io.geotiff import file_of
from unclouded.patches.layouts import Inventory, TripletFiles
from unclouded.patches.manifest_rows import describe_patch
from unclouded.patches.reading import PatchImages, read_triplet
from unclouded.patches.screening import ScreeningSettings, same_scene
from unclouded.patches.verification import verify_rows

WITHOUT_REGION = 256
"""Number of patches without a region per task."""


@dataclass(frozen=True)
class DescribeRegion:
    """Description of the patches of one region; see :class:`~unclouded.batch.tasks.Task`."""

    name: str
    id: str
    root: Path
    images: tuple[PatchImages, ...]
    parts: Mapping[str, str]
    settings: ScreeningSettings
    coverage: bool

    def run(self) -> list[Row]:
        """Return a row of the manifest for each patch."""
        cache = ProbabilityCache()
        return [
            describe_patch(
                self.root,
                images,
                self.settings,
                split=self.parts.get(images.name),
                coverage=self.coverage,
                cache=cache,
            )
            for images in self.images
        ]


def describing(
    root: Path,
    images: Iterable[PatchImages],
    parts: Mapping[str, str],
    settings: ScreeningSettings,
    *,
    coverage: bool = True,
) -> list[DescribeRegion]:
    """Return the tasks that describe a data set; their ids depend on sizes and times of the files."""
    return [
        DescribeRegion(
            name=name,
            id=content_id("describe 1", name, _state(root, group), settings.model_dump(mode="json"), coverage),
            root=root,
            images=tuple(group),
            parts={one.name: parts[one.name] for one in group if one.name in parts},
            settings=settings,
            coverage=coverage,
        )
        for name, group in _by_region(images).items()
    ]


@dataclass(frozen=True)
class VerifyRegion:
    """Verification of one region: reads its triplets and hashes the files in its manifest rows.

    See :class:`~unclouded.batch.tasks.Task`.
    """

    name: str
    id: str
    root: Path
    files: tuple[TripletFiles, ...]
    rows: tuple[Mapping[str, Any], ...]

    def run(self) -> list[Row]:
        """Return a row for each unreadable triplet, each repeated image, and each difference from the manifest."""
        found: list[Row] = []
        for files in self.files:
            try:
                images = read_triplet(files)
            except InputError as error:
                found.append({"damaged": files.name, "reason": str(error)})
                continue
            if images.clear is not None:
                repeated = same_scene(images.clear, images.cloudy, ScreeningSettings())
                found += [{"same_scene": files.name, "detail": finding.detail} for finding in repeated]
        return found + [vars(fault) for fault in verify_rows(self.root, self.rows)]


def verifying(inventory: Inventory, rows: Sequence[Mapping[str, Any]], manifest: str) -> list[VerifyRegion]:
    """Return the tasks that verify a data set.

    Args:
        inventory: Files of the data set.
        rows: Rows of its manifest; empty if it has none.
        manifest: Hash of the manifest, part of the ids.
    """
    files = {one.name: one for one in inventory.observations}
    listed = {str(row["patch"]): row for row in rows}
    names = {str(row["patch"]): row["roi"] for row in rows} | {
        one.name: str(one.roi) if one.roi else None for one in inventory.observations
    }
    return [
        VerifyRegion(
            name=name,
            id=content_id("verify 2", str(resolved(inventory.root)), name, manifest, group),
            root=inventory.root,
            files=tuple(files[one] for one in group if one in files),
            rows=tuple(_hashes(listed[one]) for one in group if one in listed),
        )
        for name, group in _grouped(names).items()
    ]


def _hashes(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the columns of a row needed for verification; the others need not be sent to the workers."""
    return {key: row[key] for key in row if key == "patch" or key.startswith(("s1", "s2"))}


def _by_region(images: Iterable[PatchImages]) -> dict[str, list[PatchImages]]:
    by_name = {one.name: one for one in images}
    regions = _grouped({name: str(one.patch.roi) if one.patch else None for name, one in by_name.items()})
    return {region: [by_name[name] for name in group] for region, group in regions.items()}


def _grouped(regions: Mapping[str, str | None]) -> dict[str, list[str]]:
    """Return the names of patches by region; those without a region in groups of :data:`WITHOUT_REGION`."""
    groups: dict[str, list[str]] = defaultdict(list)
    without = 0
    for name, region in regions.items():
        if region is None:
            region, without = f"without region, part {without // WITHOUT_REGION:04d}", without + 1
        groups[region].append(name)
    return dict(groups)


def _state(root: Path, images: Iterable[PatchImages]) -> list[list[Any]]:
    files = (file_of(path) for one in images for path in one.paths.values())
    stats = ((path, path.stat()) for path in files)
    return [[path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns] for path, stat in stats]
