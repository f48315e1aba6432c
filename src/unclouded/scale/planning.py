"""What curating would do, before it begins: how far it is, which regions lack products, how much room it may take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.files import free_bytes
from unclouded.patches.archives import PATCH_BYTES
from unclouded.patches.cutting import PATCH_PX, windows
from unclouded.patches.layouts import section
from unclouded.scale.choosing import open_to
from unclouded.scale.curation import CurateRegion
from unclouded.scale.outcome import lost
from unclouded.scale.regions import CurationSettings
from unclouded.scale.tasks import TaskFolder


@dataclass(frozen=True)
class CurationPlan:
    """What is done, and what is left.

    Attributes:
        regions: How many there are.
        done: How many of them are made.
        aside: How many were set aside.
        lacking: Of those left, which cannot be made as things are, and why.
        most_bytes: Of all patches that are left, were each of them kept, before they are compressed.
        free_bytes: Room on the disk.
    """

    regions: int
    done: int
    aside: int
    lacking: Mapping[str, str]
    most_bytes: int
    free_bytes: int

    def __str__(self) -> str:
        """Return the plan in a few lines."""
        left = self.regions - self.done - self.aside
        return "\n".join(
            [
                f"{self.regions:,} regions: {self.done:,} done, {self.aside:,} set aside, {left:,} left",
                f"at most  {self.most_bytes / 2**30:,.1f} GiB to write, uncompressed and were nothing rejected",
                f"free     {self.free_bytes / 2**30:,.1f} GiB",
                *section("without products", [f"{name}: {why}" for name, why in self.lacking.items()], self.regions),
            ]
        )


def plan(tasks: Sequence[CurateRegion], notes: TaskFolder, root: Path) -> CurationPlan:
    """Say what there is to do; no pixel is looked at, so that clouds may leave more regions without products.

    Args:
        tasks: All regions.
        notes: What is known of them.
        root: Of the data set; need not be there.
    """
    left = {task.name for task in (*notes.left(tasks), *lost(tasks, notes))}
    open_tasks = [task for task in tasks if task.name in left]
    aside = len(notes.failures(tasks))
    return CurationPlan(
        regions=len(tasks),
        done=len(tasks) - len(left) - aside,
        aside=aside,
        lacking={task.name: why for task in open_tasks if (why := _lacking(task))},
        most_bytes=sum(_most_bytes(task.settings) for task in open_tasks),
        free_bytes=free_bytes(root),
    )


def _lacking(task: CurateRegion) -> str:
    """Return what a region lacks, in words; nothing where all may be there."""
    if task.absent:
        return f"{' and '.join(task.absent)} not found"
    found = open_to(task.region, task.candidates, task.settings)
    radar, optical = (sum(one.kind == kind for one in found) for kind in ("radar", "optical"))
    named = task.region.named
    radar_wanted, optical_wanted = 1 - ("radar" in named), 2 - len({"clear", "cloudy"} & named.keys())
    if radar >= radar_wanted and optical >= optical_wanted:
        return ""
    return f"{radar} radar and {optical} optical products may be chosen, expected {radar_wanted} and {optical_wanted}"


def _most_bytes(settings: CurationSettings) -> int:
    """Return the bytes of a region's patches, or of its scenes, uncompressed."""
    grid = GeoBox((settings.rows, settings.columns), Affine.identity(), None)
    patch_bytes = sum(PATCH_BYTES.values())
    if settings.store == "patches":
        return len(windows(grid, settings.stride_px)) * patch_bytes
    return settings.rows * settings.columns * patch_bytes // PATCH_PX**2
