"""Data sets that store each pixel of a region once: three scenes a region, and patches that are rectangles of them.

ROOT/scenes/ROIs0001_summer_12/ROIs0001_summer_s1_12.tif    radar; s2 and s2_cloudy beside it, on one grid
ROOT/manifest.parquet                                       first row and column of every patch
"""

from collections.abc import Iterator
from pathlib import Path

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.geotiff import ImageFile, ImageWindow
from unclouded.patches.cutting import PATCH_PX
from unclouded.patches.identity import MANIFEST, SCENES, SENSORS, PatchId
from unclouded.patches.manifest import read_manifest


def patches_in_scenes(root: Path) -> Iterator[tuple[ImageFile, str, PatchId | None]]:
    """Yield image, token and patch for all that the manifest lists as kept and whose scene is there.

    What lies among the scenes and belongs to no such patch comes without token and patch.

    Raises:
        InputError: There is no manifest, it is damaged, or it does not say where a patch lies.
    """
    if not (root / MANIFEST).is_file():
        raise InputError(
            f"{named(root)} holds scenes without {MANIFEST}, which says where their patches lie; "
            "let 'unclouded curate' come to its end"
        )
    patches = list(_listed(root / MANIFEST))
    expected = {root / patch.roi.scene_path(token) for patch, _, _ in patches for token in SENSORS}
    there = {path for path in (root / SCENES).glob("*/*") if not path.name.startswith(".")}
    yield from ((path, "", None) for path in sorted(there - expected))
    for patch, top, left in patches:
        for token in SENSORS:
            if (path := root / patch.roi.scene_path(token)) in there:
                yield ImageWindow(path, top, left, (PATCH_PX, PATCH_PX)), token, patch


def _listed(manifest: Path) -> Iterator[tuple[PatchId, int, int]]:
    for row in read_manifest(manifest):
        if row["status"] == "kept":
            if row["row_px"] is None or row["column_px"] is None:
                raise InputError(
                    f"{named(manifest)} does not say where {row['patch']} lies in its scene; make it again"
                )
            yield PatchId.parse(row["patch"]), row["row_px"], row["column_px"]
