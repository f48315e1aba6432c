from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from unclouded.errors import InputError
from unclouded.files import write_json
from unclouded.patches.identity import PatchId
from unclouded.scale.claims import WORK, claim, regions_held, rows_of_others, tidy, work_folder
from unclouded.scale.tasks import TaskFolder

ROI = "ROIs0001_fall_7"


def made(root: Path, roi: str) -> Path:
    path = root / PatchId.parse(f"{roi}_p1").path("s1")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("patch")
    return path


def test_fault_35_of_several_who_claim_a_region_at_once_one_has_it_and_the_others_are_refused(tmp_path: Path) -> None:
    def attempt(identity: str) -> str:
        try:
            claim(tmp_path, ROI, identity)
        except InputError as error:
            return str(error)
        return identity

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(attempt, "abcdefgh"))
    (winner,) = [answer for answer in told if len(answer) == 1]
    assert sum(f"holds {ROI} made of other products or settings" in answer for answer in told) == 7
    assert attempt(winner) == winner  # again, after it was killed


def test_what_was_made_of_a_region_that_was_set_aside_goes_and_its_claim_with_it(tmp_path: Path) -> None:
    files = {roi: made(tmp_path, roi) for roi in (ROI, "ROIs0001_fall_70")}
    for roi in files:
        claim(tmp_path, roi, "a")
    tidy(tmp_path, dict.fromkeys(files, "a"), {ROI: "damaged"})
    assert [path.exists() for path in files.values()] == [False, True]
    claim(tmp_path, ROI, "b")  # made of a whole product
    with pytest.raises(InputError, match="made of other products"):
        claim(tmp_path, "ROIs0001_fall_70", "b")


def test_fault_35_a_region_of_somebody_else_stays_when_ours_is_refused(tmp_path: Path) -> None:
    claim(tmp_path, ROI, "theirs")
    path = made(tmp_path, ROI)
    tidy(tmp_path, {ROI: "ours"}, {ROI: "holds it made of other products"})
    assert path.exists()


def test_folders_and_files_that_nobody_works_on_are_removed(tmp_path: Path) -> None:
    dead, alive = (work_folder(tmp_path, identity) / "unpacked" for identity in ("dead", "alive"))
    for folder in (dead, alive):
        folder.mkdir(parents=True)
    notes = tmp_path / WORK / "regions"
    notes.mkdir()
    for name in (".manifest.1-a.partial.parquet", f".curation/regions/.{ROI}.1-a.partial.txt"):
        (tmp_path / name).touch()
    (notes / ".ROIs0001_fall_70.1-a.partial.txt").touch()  # of another list
    (tmp_path / WORK / "locks").mkdir()
    with FileLock(tmp_path / WORK / "locks" / "alive"):
        tidy(tmp_path, {ROI: "dead"}, {})
    assert not dead.parent.exists() and alive.exists()
    assert [path.name for path in tmp_path.rglob("*.partial*")] == [".ROIs0001_fall_70.1-a.partial.txt"]


def test_rows_of_another_list_are_those_of_its_done_regions(tmp_path: Path) -> None:
    notes = TaskFolder(tmp_path / WORK)
    for number, identity in ((7, "a"), (8, "b"), (9, "c")):
        claim(tmp_path, f"ROIs0001_fall_{number}", identity)
    for identity in "abx":  # c is at work, and x was made with settings that nobody has any more
        write_json(tmp_path / WORK / "done" / f"{identity}.json", {"rows": [{"patch": identity}]})
    assert rows_of_others(tmp_path, notes, {ROI: "a"}) == [{"patch": "b"}]
    changed = {ROI: "made with other settings", "ROIs0001_fall_8": "b"}
    assert rows_of_others(tmp_path, notes, changed) == [{"patch": "a"}]  # what is there stays
    assert regions_held(tmp_path) == {ROI, "ROIs0001_fall_8", "ROIs0001_fall_9"}
    assert rows_of_others(tmp_path / "new", TaskFolder(tmp_path / "new" / WORK), {}) == []
