import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unclouded.errors import InputError
from unclouded.evaluation.results_io import write_scores
from unclouded.evaluation.scores import AREAS, METRICS, PatchScores, Provenance, Scores
from unclouded.experiments.leaderboard import (
    find_entries,
    leaderboard_html,
    leaderboard_markdown,
    other_files,
    published,
)
from unclouded.patches.reading import DamagedTriplet
from unclouded.sensors import RGB

ROI = "ROIs1158_spring_106"


def write(path: Path, name: str, value: float, **changes: object) -> Path:
    values = dict.fromkeys(METRICS, value) if math.isfinite(value) else dict.fromkeys(METRICS, 0.0) | {"psnr": value}
    patch = PatchScores(f"{ROI}_p1", 0.5, dict.fromkeys(AREAS, 9), dict.fromkeys(AREAS, values), 0.1, "ab", ROI)
    scores = Scores(RGB, "kept", (patch,), provenance=Provenance(name, "test", "cd"))
    write_scores(path, replace(scores, **changes), np.random.default_rng(0))  # type: ignore[arg-type]
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "one" / "s.json", "one", 0.2)
    write(tmp_path / "two" / "s.json", "<b>two|</b>", 0.3)
    write(tmp_path / "three.json", "three", 0.4, clear_pixels="network")
    (tmp_path / "one" / "patches.txt").write_text("ROIs1158_spring_1_p1\n")
    (tmp_path / "two" / "patches.txt").write_text(f"{ROI}_p7\n")
    (tmp_path / "other.json").write_text("{}")
    return tmp_path


def table_lines(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|") and word in line]


def test_each_result_states_whether_the_test_regions_were_in_training(folder: Path) -> None:
    found = {entry.name: entry.leak_free for entry in find_entries(folder)}
    assert found == {"one": "yes", "<b>two|</b>": "no", "three": "unknown"}


def test_only_results_of_the_same_protocol_share_a_table(folder: Path) -> None:
    text = leaderboard_markdown(find_entries(folder), published())
    ours, _, theirs = text.partition("## Published")
    assert ours.count("\n## ") == 2  # kept and network
    assert ours.index("| three") < ours.index("two\\|")  # by PSNR
    assert "GLF-CR" not in ours and "one" not in [line.split("|")[1].strip() for line in table_lines(theirs, "|")]


def test_other_json_files_are_listed_and_skipped(folder: Path) -> None:
    (folder / "word.json").write_text('{"definition": "a word"}')
    (folder / "list.json").write_text("[1]")
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    (folder / "gone.json").symlink_to("nowhere")
    (folder / "round.json").symlink_to("round.json")
    assert len(find_entries(folder)) == 3
    assert other_files(folder) == [
        "folder.json", "gone.json", "list.json", "other.json", "pipe.json", "round.json", "word.json"
    ]  # fmt: skip


def test_exact_patches_are_counted_and_results_that_skipped_patches_have_their_own_table(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "exact", math.inf)
    write(tmp_path / "b.json", "good", 0.5)
    write(tmp_path / "c.json", "less", 0.4, skipped=(DamagedTriplet("p9", "torn"),))
    entries = find_entries(tmp_path)
    assert [one.name for one in entries] == ["exact", "good", "less"]
    text = leaderboard_markdown(entries, ())
    assert text.count("\n## ") == 3  # two groups, and the published
    assert "1 patch skipped, first p9" in text
    assert "| – (1 exact) |" in table_lines(text, "exact")[0]


def test_a_hostile_name_stays_a_name(folder: Path) -> None:
    entries = find_entries(folder)
    (line,) = table_lines(leaderboard_markdown(entries, ()), "two\\|")
    assert r"\<b\>two\|\</b\>" in line
    assert "<b>" not in leaderboard_html(entries, ())


def test_hostile_names_are_text_on_the_page(tmp_path: Path) -> None:
    write(tmp_path / "a.json", '"><script>alert(1)</script>', 0.5)
    others = [replace(published()[0], method="<script>", source="\" onclick='x'", bands="")]
    page = leaderboard_html(find_entries(tmp_path), others)
    assert "<td>&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;</td>" in page
    assert "<td>&lt;script&gt;</td>" in page and "<td>&#34; onclick=&#39;x&#39;</td>" in page
    assert "<script" not in page and page.count("<h2>") == 2


def test_an_inconsistent_result_is_rejected(folder: Path) -> None:
    path = folder / "three.json"
    content = json.loads(path.read_text())
    content["mean"]["all"]["psnr"] = 99.0
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="contradicts itself"):
        find_entries(folder)


@pytest.mark.parametrize(("training_overlap", "answer"), [((), "yes"), ((ROI,), "no"), (None, "unknown")])
def test_the_regions_in_weights_are_used_for_the_leak_check(
    training_overlap: tuple[str, ...] | None, answer: str, tmp_path: Path
) -> None:
    write(tmp_path / "s.json", "x", 0.1, provenance=Provenance("x", "test", "cd", training_overlap=training_overlap))
    (entry,) = find_entries(tmp_path)
    assert entry.leak_free == answer


def test_a_baseline_without_training_is_leak_free(tmp_path: Path) -> None:
    write(tmp_path / "s.json", "x", 0.1, provenance=Provenance("clear-mean", "test"))
    (entry,) = find_entries(tmp_path)
    assert entry.leak_free == "yes"


def test_precision_that_was_not_measured_is_a_dash(tmp_path: Path) -> None:
    write(tmp_path / "s.json", "x", 0.1, precision_recall={"protocol": {}, "precision": None, "recall": 0.25})
    (line,) = table_lines(leaderboard_markdown(find_entries(tmp_path), ()), "x ")
    assert line.endswith("| – | 0.250 | – |")


def test_an_empty_folder_has_no_leaderboard(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no scores"):
        find_entries(tmp_path)


def test_the_published_numbers_are_those_that_were_published() -> None:
    self_reported = {one.method: one.values for one in published() if one.source.startswith("self-reported")}
    assert self_reported["DSen2-CR"] == {"mae": "0.0290", "psnr": "28.7", "ssim": "0.875", "sam": "8.15"}
    assert self_reported["ECRformer"] == {"mae": "0.0164", "psnr": "33.37", "ssim": "0.932", "sam": "4.693"}
    exact = {one.method: one.values for one in published() if one.split == "exact ids"}
    assert exact == {
        "GeoCR": {"psnr": "29.29", "ssim": "0.866"},
        "GeoCR (LoRA)": {"psnr": "29.19", "ssim": "0.866"},
        "UnCRtainTS": {"psnr": "28.77", "ssim": "0.884"},
        "EMRDM": {"psnr": "28.70", "ssim": "0.873"},
        "GACR": {"psnr": "27.76", "ssim": "0.828"},
    }


def test_every_published_number_has_its_source_and_its_split() -> None:
    assert len(published()) == 12
    assert all(one.source and one.split and one.leak_free and one.reason for one in published())
    assert {one.bands for one in published()} == {"13"}
    by_substring = {one.method for one in published() if one.split == "substring"}
    assert by_substring == {"UnCRtainTS", "EMRDM", "ECRformer"}
    (inferred,) = (one for one in published() if "inferred" in one.leak_free)
    assert inferred.method == "DiffCR"
    later = next(one for one in published() if one.values["psnr"] == "27.76" and one.method == "DSen2-CR")
    assert "not its authors' run" in later.source
