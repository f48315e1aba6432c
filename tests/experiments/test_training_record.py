import json
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.experiments.training_record import NAME, leak_free

A, B, SAME_REGION = "ROIs1158_spring_1_p1", "ROIs1158_spring_106_p1", "ROIs1158_spring_1_p2"


def run(folder: Path, *learnt: str) -> Path:
    (folder / "patches.txt").write_text("\n".join(learnt))
    return folder


def record(folder: Path, learnt: dict[str, str], judged: dict[str, str]) -> Path:
    (folder / NAME).write_text(json.dumps({"parts": [{"learnt": learnt, "judged": judged}]}))
    return folder


def test_other_regions_are_no_leak_however_their_names_begin(tmp_path: Path) -> None:
    assert leak_free(run(tmp_path, A), [B]) == (
        "yes",
        "judged patches share no region with those learnt from (1 regions)",
    )


def test_a_patch_that_was_learnt_from_is_a_leak(tmp_path: Path) -> None:
    assert leak_free(run(tmp_path, A, B), [B]) == ("no", f"1 judged patches were learnt from, first {B}")


def test_another_patch_of_a_region_is_a_leak(tmp_path: Path) -> None:
    answer, reason = leak_free(run(tmp_path, A), [SAME_REGION])
    assert (answer, reason) == ("no", "1 regions of the judged patches were learnt from, first ROIs1158_spring_1")


def test_without_a_record_nobody_knows(tmp_path: Path) -> None:
    assert leak_free(tmp_path, [A])[0] == "unknown"


def test_names_without_region_prove_nothing(tmp_path: Path) -> None:
    assert leak_free(run(tmp_path, "x"), ["y"])[0] == "unknown"
    assert leak_free(record(tmp_path, {"x": "A"}, {"y": "B"}), ["y"])[0] == "yes"


def test_a_patch_that_no_part_judged_is_unknown(tmp_path: Path) -> None:
    assert leak_free(record(tmp_path, {"x": "A"}, {"y": "B"}), ["y", "z"])[0] == "unknown"


def test_who_learnt_from_nothing_leaks_nothing(tmp_path: Path) -> None:
    assert leak_free(record(tmp_path, {}, {"y": "B"}), ["y"]) == ("yes", "it learnt from no patch")


@pytest.mark.parametrize("text", ["[]", "{", '{"parts": [{"learnt": 1, "judged": {}}]}', '{"parts": 3}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(InputError, match=r"is no record of a training|is not JSON"):
        leak_free(tmp_path, [A])
