"""Three regions: one that somebody else made, one that could not be made, one that was."""

from pathlib import Path

from unclouded.files import write_json, write_text
from unclouded.patches.manifest import read_manifest
from unclouded.scale.claims import WORK, choices_of, claim
from unclouded.scale.curation import CurateRegion
from unclouded.scale.outcome import write_outcome
from unclouded.scale.regions import CurationSettings
from unclouded.scale.tasks import TaskFolder
from unclouded.settings import settings_from

THEIRS, LOST, OURS = (f"ROIs0001_fall_{number}" for number in (1, 2, 3))


def task(root: Path, roi: str) -> CurateRegion:
    region = {"roi": roi, "radar": "a", "clear": "b", "cloudy": "c.SAFE"}
    settings = settings_from(CurationSettings, {"regions": [region]})
    return CurateRegion(roi, f"ours of {roi}", root, settings.regions[0], settings)


def make(root: Path, roi: str, identity: str) -> None:
    claim(root, roi, identity)
    row = {"patch": f"{roi}_p1", "roi": roi, "status": "kept", "findings": []}
    write_json(root / WORK / "done" / f"{identity}.json", {"rows": [row]})


def test_what_somebody_else_made_stays_and_only_what_nobody_made_is_set_aside(tmp_path: Path) -> None:
    make(tmp_path, THEIRS, "theirs")
    make(tmp_path, OURS, f"ours of {OURS}")
    for number, roi in enumerate((THEIRS, LOST, OURS, "ROIs0001_fall_9")):  # of the last one nobody knows any more
        write_text(choices_of(tmp_path, roi), f"roi,place\n{roi},{number}\n")
    failures = {THEIRS: "made of other products", LOST: "damaged"}
    notes, tasks = TaskFolder(tmp_path / WORK), [task(tmp_path, roi) for roi in (THEIRS, LOST, OURS)]
    (tmp_path / WORK / "locks").mkdir(exist_ok=True)
    rows = write_outcome(tmp_path, tasks, notes, failures)
    told = [(row["roi"], row["status"], row["reason"]) for row in read_manifest(tmp_path / "manifest.parquet")]
    assert told == [(THEIRS, "kept", None), (LOST, "set_aside", "damaged"), (OURS, "kept", None)]
    assert sorted(row["roi"] for row in rows) == [THEIRS, LOST, OURS]
    assert (tmp_path / "choices.csv").read_text() == f"roi,place\n{THEIRS},0\n{LOST},1\n{OURS},2\n"


def test_the_last_to_write_lists_the_same_whoever_began(tmp_path: Path) -> None:
    make(tmp_path, THEIRS, "theirs")
    make(tmp_path, OURS, f"ours of {OURS}")
    notes = TaskFolder(tmp_path / WORK)
    hashes = []
    for tasks in ([task(tmp_path, OURS)], []):
        write_outcome(tmp_path, tasks, notes, {})
        hashes.append((tmp_path / "manifest.parquet").read_bytes())
    assert hashes[0] == hashes[1]
    assert not (tmp_path / "choices.csv").exists()  # nothing was there to choose
