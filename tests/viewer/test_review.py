"""Decisions are kept in ``review.csv`` at once, and the manifest follows."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from products.viewer_example import PATCHES, write_patches

from unclouded.errors import BusyError, InputError
from unclouded.locks import held
from unclouded.patches.manifest import read_manifest
from unclouded.patches.review import Decision, read_review
from unclouded.viewer import review
from unclouded.viewer.http_server import Request
from unclouded.viewer.review import ReviewedDataset
from unclouded.viewer.routes import Viewer

REJECTION = {"name": PATCHES[1], "decision": "reject", "reason": "haze; thin", "reviewer": "JS"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patches(tmp_path_factory.mktemp("patches") / "data")


@pytest.fixture
def dataset(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReviewedDataset]:
    monkeypatch.setattr(review, "APPLY_AFTER_S", 3600.0)  # tests apply decisions themselves
    made = ReviewedDataset(Path(shutil.copytree(whole, tmp_path / "data")))
    yield made
    made.close()


def statuses(root: Path) -> dict[str, str]:
    return {str(row["patch"]): str(row["status"]) for row in read_manifest(root / "manifest.parquet")}


def test_patches_are_listed_with_region_and_status(dataset: ReviewedDataset) -> None:
    listed = dataset.json()
    assert [one["name"] for one in listed["patches"]] == list(PATCHES)
    assert listed["patches"][1]["roi"] == "ROIs0003_summer_2"
    assert listed["decisions"] == {}


def test_a_decision_is_on_disk_before_it_is_confirmed_and_the_manifest_follows(dataset: ReviewedDataset) -> None:
    answer = dataset.decide(REJECTION)
    assert read_review(dataset.root / "review.csv") == {PATCHES[1]: Decision(PATCHES[1], "reject", "haze, thin", "JS")}
    assert list(answer["decisions"]) == [PATCHES[1]]
    assert set(statuses(dataset.root).values()) == {"kept"}
    dataset.close()
    assert statuses(dataset.root)[PATCHES[1]] == "rejected"


def test_the_next_viewer_applies_the_decisions_of_one_that_was_killed(dataset: ReviewedDataset) -> None:
    dataset.decide(REJECTION)
    assert dataset._timer is not None
    dataset._timer.cancel()  # killed before the manifest followed
    assert statuses(dataset.root)[PATCHES[1]] == "kept"
    ReviewedDataset(dataset.root).close()
    assert statuses(dataset.root)[PATCHES[1]] == "rejected"


def test_a_withdrawn_decision_leaves_the_manifest_as_it_was(dataset: ReviewedDataset) -> None:
    before = read_manifest(dataset.root / "manifest.parquet")
    dataset.decide(REJECTION)
    dataset.apply()
    dataset.decide({"name": PATCHES[1], "decision": None})
    dataset.apply()
    assert read_review(dataset.root / "review.csv") == {}
    assert read_manifest(dataset.root / "manifest.parquet") == before


def test_two_windows_keep_the_decisions_of_each_other(dataset: ReviewedDataset) -> None:
    other = ReviewedDataset(dataset.root)
    dataset.decide(REJECTION)
    answer = other.decide({**REJECTION, "name": "ROIs0003_summer_1", "decision": "accept"})
    assert sorted(answer["decisions"]) == ["ROIs0003_summer_1", PATCHES[1]]
    other.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({**REJECTION, "name": "ROIs0003_summer_9_p1"}, "neither a patch nor a region"),
        ({**REJECTION, "decision": "maybe"}, "the decision accept or reject"),
        ({**REJECTION, "reviewer": " "}, "expected name, reason and reviewer"),
        ({**REJECTION, "reason": 7}, "expected name, reason and reviewer"),
        ({**REJECTION, "reason": "x" * 501}, "one short line"),
        ({**REJECTION, "reason": "a\u202eb"}, "one short line"),
        ({"decision": None}, "expected name"),
        ([], "expected name"),
        (None, "expected name"),
    ],
)
def test_decisions_of_another_form_are_refused(dataset: ReviewedDataset, given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataset.decide(given)
    assert not (dataset.root / "review.csv").exists()


def test_fault_34_a_data_set_that_is_being_written_is_not_reviewed(dataset: ReviewedDataset) -> None:
    with held(dataset.root), pytest.raises(BusyError):
        dataset.decide(REJECTION)


def test_the_routes_of_a_review(dataset: ReviewedDataset) -> None:
    viewer = Viewer(dataset.root)
    (name,) = viewer.datasets
    assert viewer.respond(Request("POST", f"/api/datasets/{name}/review", REJECTION)).status == 200
    assert viewer.respond(Request("POST", f"/api/datasets/{name}/review", {})).status == 422
    assert viewer.respond(Request("POST", f"/api/datasets/{name}")).status == 405
    assert b"haze, thin" in viewer.respond(Request("GET", f"/api/datasets/{name}/review")).content
    for kind, status in (("radar", 200), ("cloudy", 200), ("clear", 200), ("error", 404), ("x", 404)):
        assert viewer.respond(Request("GET", f"/api/datasets/{name}/pictures/0/{kind}")).status == status
    assert viewer.respond(Request("GET", f"/api/datasets/{name}/pictures/3/radar")).status == 422
    viewer.close()
    assert statuses(dataset.root)[PATCHES[1]] == "rejected"
