"""Audit of two lists of patches for leakage: shared names, regions, or ground.

Membership by substring, ``"ROIs1158_spring_s1/s1_1" in path``, also finds ``s1_106``: with the published split it takes
4,764 of the 7,899 test patches into training. Here names are parsed into values; what a substring test would take is
only counted.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from odc.geo.geobox import GeoBox
from rasterio.warp import transform
from scipy.spatial import cKDTree
from shapely import Polygon

from unclouded.errors import InputError
from unclouded.files import named, read_small
from unclouded.io.geotiff import read_grid
from unclouded.patches.geographic_split import unit_vectors
from unclouded.patches.layouts import Inventory, find_triplets, section
from unclouded.patches.roi import PatchId, Roi
from unclouded.patches.splits import PARTS, SplitName, official_counts, read_split_list, triplets_of
from unclouded.progress import ProgressCallback, no_progress

MAX_LIST_BYTES = 64 << 20

_ANY_SENSOR = r"(?:s2_cloud[Ff]ree|s2_cloudy|s2|s1)"

_REGION = re.compile(rf"(ROIs[0-9]{{4}}_(?:spring|summer|fall|winter))_(?:{_ANY_SENSOR}_)?([0-9]{{1,6}})")

_FOLDER = re.compile(rf"(?:.*/)?(ROIs[0-9]{{4}}_(?:spring|summer|fall|winter))_({_ANY_SENSOR})/\2_([0-9]{{1,6}})/?")


@dataclass(frozen=True)
class Listing:
    """Contents of a list of patches.

    Attributes:
        source: Name of the list.
        patches: Patches with official names.
        regions: Regions, including those of the patches.
        others: Names that are not official, such as those of a flat layout.
        grids: Grids of the patches by name; empty if unknown.
    """

    source: str
    patches: frozenset[PatchId]
    regions: frozenset[Roi]
    others: frozenset[str] = frozenset()
    grids: Mapping[str, GeoBox] = field(default_factory=dict)

    def summary(self) -> str:
        """Return a summary in one line."""
        counts = {"patches": self.patches, "regions": self.regions, "other names": self.others}
        held = ", ".join(f"{len(names):,} {what}" for what, names in counts.items() if names)
        return f"{self.source}: {held}, {len(self.grids):,} footprints"

    def patches_in(self, regions: Iterable[Roi]) -> int:
        """Return the number of patches in some regions; for a region listed as a whole, all published ones."""
        selected, listed = frozenset(regions), {patch.roi for patch in self.patches}
        own = sum(patch.roi in selected for patch in self.patches)
        return own + sum(official_counts().get(roi, 0) for roi in selected & self.regions - listed)


@dataclass(frozen=True)
class Audit:
    """Entries that two lists share.

    Attributes:
        first, second: The lists.
        names: Shared names of patches.
        regions: Shared regions.
        on_the_ground: Pairs of patches with different names but common ground, one of each list.
        by_substring: Regions of the second list that only a substring test confuses with one of the first.
    """

    first: Listing
    second: Listing
    names: tuple[str, ...]
    regions: tuple[Roi, ...]
    on_the_ground: tuple[str, ...]
    by_substring: tuple[Roi, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is shared."""
        return not (self.names or self.regions or self.on_the_ground)

    def report(self) -> str:
        """Return a report of the shared entries, and of comparisons that were not possible."""
        first, second = self.first, self.second
        lines = [first.summary(), second.summary()]
        lines += section("names in both", self.names) or ["no name in both"]
        lines += section("regions in both", self.regions) or ["no region in both"]
        if without := [one.source for one in (first, second) if not one.grids]:
            lines.append(f"footprints not compared: {' and '.join(without)} contains no georeference")
        else:
            lines += section("pairs with common ground", self.on_the_ground) or ["no common ground"]
        if self.by_substring:
            taken, total = second.patches_in(self.by_substring), second.patches_in(second.regions)
            lines.append(
                f"a substring test would take {taken:,} of {total:,} patches ({taken / max(total, 1):.1%}), in "
                f"{len(self.by_substring)} of {len(second.regions)} regions of {second.source}, "
                f"for some of {first.source}"
            )
        return "\n".join(lines)


def audit(first: Listing, second: Listing) -> Audit:
    """Compare two lists by name, region and footprint."""
    names = sorted(map(str, first.patches & second.patches)) + sorted(first.others & second.others)
    shared = first.regions & second.regions
    ground = [
        f"{name} and {other} ({share:.0%} of the smaller one)"
        for name, other, share in overlapping(first.grids, second.grids)
        if name != other
    ]
    spelled = [_spelling(roi) for roi in first.regions]
    confused = (roi for roi in second.regions - shared if any(text in _spelling(roi) for text in spelled))
    return Audit(first, second, tuple(names), tuple(sorted(shared)), tuple(ground), tuple(sorted(confused)))


def _spelling(roi: Roi) -> str:
    """Return the folder of a region as spelled by loaders that test for substrings."""
    return f"{roi.collection}_s1/s1_{roi.number}"


def read_listing(text: str, on_progress: ProgressCallback = no_progress) -> Listing:
    """Read a list of patches: a text file with one name per line, a csv list, or the root of a data set.

    Args:
        text: Path; the suffix ``:train``, ``:val`` or ``:test`` selects a part of a csv list or data set.
        on_progress: Called with (stage, completed, total) after each located file of a data set.

    Raises:
        InputError: The path is none of these, or a line is not a name.
    """
    head, colon, last = text.rpartition(":")
    part: SplitName = last if colon and last in PARTS else "all"  # type: ignore[assignment]
    path = Path(head if part != "all" else text)
    if path.is_dir():
        return _of_root(text, find_triplets(path), part, on_progress)
    if path.suffix.lower() == ".csv":
        listed = read_split_list(path)
        return _of_names(text, (name for name, of in listed.items() if part in ("all", of)))
    if part != "all":
        raise InputError(f"{named(path)} has no parts, expected a csv list or the root of a data set before ':{part}'")
    lines = read_small(path, MAX_LIST_BYTES).decode("utf-8", errors="replace").splitlines()
    return _of_names(text, (line for line in map(str.strip, lines) if line and not line.startswith("#")))


def _of_root(source: str, inventory: Inventory, part: SplitName, on_progress: ProgressCallback) -> Listing:
    if part == "all":
        found = {files.name: files.sar for files in inventory.observations}
    else:
        found = {files.name: files.sar for files in triplets_of(inventory, part)}
    incomplete = [one.name for one in inventory.incomplete if part == "all"]
    grids = {}
    for done, (name, path) in enumerate(found.items(), start=1):
        if (grid := read_grid(path)).crs is not None:
            grids[name] = grid
        on_progress("locating", done, len(found))
    listing = _of_names(source, [*found, *incomplete], plain=True)
    return Listing(source, listing.patches, listing.regions, listing.others, grids)


def _of_names(source: str, names: Iterable[str], *, plain: bool = False) -> Listing:
    patches: set[PatchId] = set()
    regions: set[Roi] = set()
    others: set[str] = set()
    for name in names:
        last = name.replace("\\", "/").rstrip("/").rpartition("/")[2].removesuffix(".tif")
        try:
            patches.add(PatchId.parse(last))
        except InputError:
            if match := _REGION.fullmatch(last):
                regions.add(Roi.parse(f"{match[1]}_{match[2]}"))
            elif match := _FOLDER.fullmatch(name):
                regions.add(Roi.parse(f"{match[1]}_{match[3]}"))
            elif not plain and ("/" in name or "ROIs" in name or not last.isprintable()):
                raise InputError(
                    f"{source} lists {name[:80]!r}, "
                    "expected names such as ROIs1158_spring_106_p30 or ROIs1158_spring_106"
                ) from None
            else:
                others.add(last)
    if not (patches or regions or others):
        raise InputError(f"{source} is empty; expected one name per line")
    return Listing(source, frozenset(patches), frozenset(regions | {one.roi for one in patches}), frozenset(others))


# Overlap on the ground.


LEAST_SHARE = 1e-3
"""Minimum share of the smaller patch; less is rounding between patches that touch."""


def overlapping(first: Mapping[str, GeoBox], second: Mapping[str, GeoBox]) -> Iterator[tuple[str, str, float]]:
    """Yield the names of overlapping grids, one of each group, and the overlap as a share of the smaller one.

    Candidates are found by distance on the sphere, which works across UTM zones and the antimeridian; then the second
    outline is transformed to the coordinate system of the first.

    Args:
        first: Grids by name, all with a coordinate system.
        second: Grids by name, all with a coordinate system.
    """
    if not (first and second):
        return
    (centres, radii), (others, other_radii) = _balls(first.values()), _balls(second.values())
    near = cKDTree(others).query_ball_point(centres, radii + other_radii.max())
    names = list(second)
    for name, candidates in zip(first, near, strict=True):
        for other in (names[candidate] for candidate in sorted(candidates)):
            share = shared_ground(first[name], second[other])
            if share > LEAST_SHARE:
                yield name, other, share


def shared_ground(first: GeoBox, second: GeoBox) -> float:
    """Return the overlap of two grids as a share of the smaller one."""
    one, other = Polygon(_corners(first, str(first.crs))), Polygon(_corners(second, str(first.crs)))
    return float(one.intersection(other).area / min(one.area, other.area))


def _corners(grid: GeoBox, crs: str) -> Float64[np.ndarray, "corner 2"]:
    """Return the corners of a grid as easting and northing, or longitude and latitude, in the order of the outline."""
    height, width = grid.shape
    pixels = ((0, 0), (width, 0), (width, height), (0, height))
    corners = np.array([grid.affine @ corner for corner in pixels], np.float64)
    return corners if crs == str(grid.crs) else np.stack(transform(str(grid.crs), crs, *corners.T), axis=1)


def _balls(grids: Iterable[GeoBox]) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, " n"]]:
    """Return centre and radius of a ball around each grid, in Earth radii."""
    corners = [unit_vectors(_corners(grid, "EPSG:4326")) for grid in grids]
    centres = np.array([one.mean(axis=0) for one in corners])
    radii = [np.linalg.norm(one - centre, axis=1).max() for one, centre in zip(corners, centres, strict=True)]
    return centres, np.array(radii)
