"""Regions of 256 x 384 px: two patches of 3,932,160 bytes at a stride of 128 px."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shapely.geometry import box, mapping

from unclouded.files import write_json
from unclouded.scale.curation import CurateRegion
from unclouded.scale.planning import CurationPlan, plan
from unclouded.scale.regions import CurationSettings
from unclouded.scale.tasks import TaskFolder
from unclouded.scenes.candidates import SceneRecord
from unclouded.settings import settings_from

PATCH = 256 * 256 * (2 * 4 + 2 * 13 * 2)
FOLDERS = {"radar_from": "s1", "optical_from": "s2", "center": [11.0, 44.5]}


def task(number: int, root: Path, *products: str, store: str = "patches", **region: Any) -> CurateRegion:
    """Return a region with candidates: R for radar and O for optical, of September."""
    given = {"roi": f"ROIs0001_fall_{number}", **region}
    content = {"regions": [given], "rows": 256, "columns": 384, "store": store}
    settings = settings_from(CurationSettings, content)
    around = dict(mapping(box(10, 44, 12, 45)))
    candidates = tuple(
        SceneRecord(name, "radar" if name[0] == "R" else "optical", datetime(2021, 9, 8, tzinfo=UTC), around)
        for name in products
    )
    placed = settings.regions[0].within(root)
    return CurateRegion(given["roi"], f"id {number}", root, placed, settings, candidates)


def planned(tasks: list[CurateRegion], root: Path) -> CurationPlan:
    return plan(tasks, TaskFolder(root / ".curation"), root)


def test_what_is_done_and_set_aside_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3 << 30))
    tasks = [task(number, tmp_path, "R", "O1", "O2", **FOLDERS) for number in (1, 2, 3)]
    write_json(tmp_path / ".curation/done/id 1.json", {"rows": []})
    write_json(tmp_path / ".curation/failed/id 2.json", {"reason": "damaged"})
    found = planned(tasks, tmp_path)
    assert (found.regions, found.done, found.aside, found.lacking) == (3, 1, 1, {})
    assert found.most_bytes == 2 * PATCH
    assert str(found).splitlines() == [
        "3 regions: 1 done, 1 set aside, 1 left",
        "at most  0.0 GiB to write, uncompressed and were nothing rejected",
        "free     3.0 GiB",
    ]


def test_a_region_that_lost_its_files_is_left(tmp_path: Path) -> None:
    row = {"s1": "a.tif", "s1_sha256": "0"}
    write_json(tmp_path / ".curation/done/id 1.json", {"rows": [row]})
    tasks = [task(1, tmp_path, "R", "O1", "O2", **FOLDERS)]
    assert planned(tasks, tmp_path).done == 0
    (tmp_path / "a.tif").touch()
    assert planned(tasks, tmp_path).done == 1


def test_scenes_store_a_pixel_once(tmp_path: Path) -> None:
    assert planned([task(1, tmp_path, store="scenes", **FOLDERS)], tmp_path / "new").most_bytes == 1.5 * PATCH


def test_what_a_region_lacks_is_told_before_the_work(tmp_path: Path) -> None:
    for name in ("radar", "clear"):
        (tmp_path / name).touch()
    one_named = FOLDERS | {"clear": "clear"}
    tasks = [
        task(1, tmp_path, radar="radar", clear="clear", cloudy="cloudy"),
        task(2, tmp_path, "R", "O1", **FOLDERS),
        task(3, tmp_path, "O1", "O2", **FOLDERS),
        task(4, tmp_path, "R", "O1", **one_named),
    ]
    found = planned(tasks, tmp_path)
    assert found.lacking == {
        "ROIs0001_fall_1": "cloudy not found",
        "ROIs0001_fall_2": "1 radar and 1 optical products may be chosen, expected 1 and 2",
        "ROIs0001_fall_3": "0 radar and 2 optical products may be chosen, expected 1 and 2",
    }
    assert "3 without products\n  ROIs0001_fall_1: cloudy not found\n" in str(found)
