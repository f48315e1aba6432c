"""Three regions: one made by another list, one that failed, one that is done."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shapely.geometry import box, mapping

from unclouded.batch.tasks import TaskLedger
from unclouded.catalogue.triplets import SceneRecord
from unclouded.curation.leases import WORK, acquire_lease, choices_of
from unclouded.curation.region_task import CurateRegion
from unclouded.curation.regions import CurationSettings
from unclouded.curation.results import CurationPlan, plan, write_results
from unclouded.files import write_json, write_text
from unclouded.patches.manifest import read_manifest
from unclouded.settings import settings_from

THEIRS, LOST, OURS = (f"ROIs0001_fall_{number}" for number in (1, 2, 3))


def task(root: Path, roi: str) -> CurateRegion:
    region = {"roi": roi, "radar": "a", "clear": "b", "cloudy": "c.SAFE"}
    settings = settings_from(CurationSettings, {"regions": [region]})
    return CurateRegion(roi, f"ours of {roi}", root, settings.regions[0], settings)


def make(root: Path, roi: str, identity: str) -> None:
    acquire_lease(root, roi, identity)
    files = {token: f"{token}.tif" for token in ("s1", "s2", "s2_cloudy")}
    row = {"patch": f"{roi}_p1", "roi": roi, "status": "kept", "findings": [], **files}
    write_json(root / WORK / "done" / f"{identity}.json", {"rows": [row]})


def test_regions_of_other_lists_stay_and_only_missing_regions_fail(tmp_path: Path) -> None:
    make(tmp_path, THEIRS, "theirs")
    make(tmp_path, OURS, f"ours of {OURS}")
    for number, roi in enumerate((THEIRS, LOST, OURS, "ROIs0001_fall_9")):  # the last one has no record any more
        write_text(choices_of(tmp_path, roi), f"roi,place\n{roi},{number}\n")
    failures = {THEIRS: "made of other products", LOST: "damaged"}
    ledger, tasks = TaskLedger(tmp_path / WORK), [task(tmp_path, roi) for roi in (THEIRS, LOST, OURS)]
    (tmp_path / WORK / "locks").mkdir(exist_ok=True)
    rows = write_results(tmp_path, tasks, ledger, failures)
    listed = [(row["roi"], row["status"], row["reason"]) for row in read_manifest(tmp_path / "manifest.parquet")]
    assert listed == [(THEIRS, "kept", None), (LOST, "failed", "damaged"), (OURS, "kept", None)]
    assert sorted(row["roi"] for row in rows) == [THEIRS, LOST, OURS]
    assert (tmp_path / "choices.csv").read_text() == f"roi,place\n{THEIRS},0\n{LOST},1\n{OURS},2\n"


def test_the_last_of_two_runs_lists_the_regions_of_both(tmp_path: Path) -> None:
    make(tmp_path, THEIRS, "theirs")
    make(tmp_path, OURS, f"ours of {OURS}")
    ledger = TaskLedger(tmp_path / WORK)
    hashes = []
    for tasks in ([task(tmp_path, OURS)], []):
        write_results(tmp_path, tasks, ledger, {})
        hashes.append((tmp_path / "manifest.parquet").read_bytes())
    assert hashes[0] == hashes[1]
    assert not (tmp_path / "choices.csv").exists()  # nothing was there to choose


PATCH = 256 * 256 * (2 * 4 + 2 * 13 * 2)

FOLDERS = {"radar_from": "s1", "optical_from": "s2", "center": [11.0, 44.5]}


def planning_task(number: int, root: Path, *products: str, store: str = "patches", **region: Any) -> CurateRegion:
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
    return plan(tasks, TaskLedger(root / ".curation"), root)


def test_done_and_failed_regions_are_not_pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3 << 30))
    tasks = [planning_task(number, tmp_path, "R", "O1", "O2", **FOLDERS) for number in (1, 2, 3)]
    write_json(tmp_path / ".curation/done/id 1.json", {"rows": []})
    failure = {"reason": "damaged", "inputs": tasks[1].inputs_state()}
    write_json(tmp_path / ".curation/failed/id 2.json", failure)
    found = planned(tasks, tmp_path)
    assert (found.regions, found.done, found.failed, found.lacking) == (3, 1, 1, {})
    assert found.most_bytes == 2 * PATCH
    assert str(found).splitlines() == [
        "3 regions: 1 done, 1 failed, 1 pending",
        "at most  0.0 GiB to write, uncompressed, if no patch is rejected",
        "free     3.0 GiB",
    ]


def test_a_region_that_lost_its_files_is_left(tmp_path: Path) -> None:
    row = {"patch": "p1", "status": "kept", **dict.fromkeys(("s1", "s2", "s2_cloudy"), "a.tif"), "s1_sha256": "0"}
    row |= {"s2_sha256": "0", "s2_cloudy_sha256": "0"}
    write_json(tmp_path / ".curation/done/id 1.json", {"rows": [row]})
    tasks = [planning_task(1, tmp_path, "R", "O1", "O2", **FOLDERS)]
    assert planned(tasks, tmp_path).done == 0
    (tmp_path / "a.tif").touch()
    assert planned(tasks, tmp_path).done == 1


def test_scenes_store_a_pixel_once(tmp_path: Path) -> None:
    assert planned([planning_task(1, tmp_path, store="scenes", **FOLDERS)], tmp_path / "new").most_bytes == 1.5 * PATCH


def test_the_plan_lists_what_a_region_lacks(tmp_path: Path) -> None:
    for name in ("radar", "clear"):
        (tmp_path / name).touch()
    one_named = FOLDERS | {"clear": "clear"}
    tasks = [
        planning_task(1, tmp_path, radar="radar", clear="clear", cloudy="cloudy"),
        planning_task(2, tmp_path, "R", "O1", **FOLDERS),
        planning_task(3, tmp_path, "O1", "O2", **FOLDERS),
        planning_task(4, tmp_path, "R", "O1", **one_named),
    ]
    found = planned(tasks, tmp_path)
    assert found.lacking == {
        "ROIs0001_fall_1": "cloudy not found",
        "ROIs0001_fall_2": "1 radar and 1 optical products are eligible, expected 1 and 2",
        "ROIs0001_fall_3": "0 radar and 2 optical products are eligible, expected 1 and 2",
    }
    assert "3 without products\n  ROIs0001_fall_1: cloudy not found\n" in str(found)
