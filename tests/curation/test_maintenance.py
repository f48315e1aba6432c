from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.batch.executors import run_tasks, serially
from unclouded.batch.tasks import Task, TaskLedger
from unclouded.curation.maintenance import describing, verifying
from unclouded.io.geotiff import write_geotiff
from unclouded.patches.layouts import Inventory, find_triplets
from unclouded.patches.manifest import SCHEMA
from unclouded.patches.reading import images_of
from unclouded.patches.roi import PatchId, Roi
from unclouded.patches.screening import ScreeningSettings
from unclouded.sensors import SENTINEL1, SENTINEL2

GRID = GeoBox.from_bbox((0, 0, 160, 160), "EPSG:32632", resolution=10)


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """Patches 1 and 2 of two regions."""
    rng = np.random.default_rng(0)
    for number in (1, 106):
        for patch in (PatchId(Roi("ROIs1158", "spring", number), one) for one in (1, 2)):
            radar = rng.normal(-12, 2, (2, 16, 16)).astype(np.float32)
            write_geotiff(tmp_path / "data" / patch.path("s1"), radar, SENTINEL1.bands, GRID)
            for token in ("s2", "s2_cloudy"):
                optical = rng.integers(15, 80, (13, 16, 16)).astype(np.uint16)
                write_geotiff(tmp_path / "data" / patch.path(token), optical, SENTINEL2.bands, GRID)
    return find_triplets(tmp_path / "data")


def described(inventory: Inventory) -> list[Task]:
    parts = {"ROIs1158_spring_106_p1": "test"}
    return [*describing(inventory.root, images_of(inventory), parts, ScreeningSettings(), coverage=False)]


def test_a_region_is_a_task_and_its_id_changes_with_its_files(inventory: Inventory) -> None:
    before = described(inventory)
    assert [task.name for task in before] == ["ROIs1158_spring_1", "ROIs1158_spring_106"]
    inventory.triplets[0].sar.touch()
    after = described(inventory)
    assert before[0].id != after[0].id and before[1].id == after[1].id


def test_a_described_data_set_can_be_verified(inventory: Inventory, tmp_path: Path) -> None:
    tasks = described(inventory)
    assert run_tasks(tasks, TaskLedger(tmp_path / "work"), serially) == {}
    rows = [dict.fromkeys(SCHEMA.names) | row for row in TaskLedger(tmp_path / "work").rows(tasks)]
    assert [(row["patch"], row["status"], row["split"]) for row in rows] == [
        ("ROIs1158_spring_1_p1", "kept", None),
        ("ROIs1158_spring_1_p2", "kept", None),
        ("ROIs1158_spring_106_p1", "kept", "test"),
        ("ROIs1158_spring_106_p2", "kept", None),
    ]
    checks = verifying(inventory, rows, "hash")
    assert [found for task in checks for found in task.run()] == []
    path = inventory.triplets[3].cloudy
    path.write_bytes(path.read_bytes()[:-9])
    assert list(_kinds(checks)) == [("ROIs1158_spring_106", "damaged"), ("ROIs1158_spring_106", "changed")]


def _kinds(tasks: list[Task]) -> Iterator[tuple[str, str]]:
    for task in tasks:
        for row in task.run():
            yield task.name, "damaged" if "damaged" in row else row["reason"].partition(":")[0]


def test_patches_without_region_are_tasks_of_256(tmp_path: Path) -> None:
    for number in range(300):
        for token in ("s1", "s2_cloudfree", "s2_cloudy"):
            path = tmp_path / token / f"a{number}.tif"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    tasks = verifying(find_triplets(tmp_path), [], "")
    assert [(task.name, len(task.files)) for task in tasks] == [
        ("without region, part 0000", 256),
        ("without region, part 0001", 44),
    ]
