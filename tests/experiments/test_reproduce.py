"""All three tables at smoke size, once: trained, evaluated, read and written."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.evaluation.features import feature_extractor
from unclouded.experiments.execution import estimate
from unclouded.experiments.reproduce import RECORD, Reproduction, leak_free
from unclouded.experiments.row_scores import EvaluationDevice, chunks_folder, feature_settings, score_row
from unclouded.experiments.rows import find_experiments
from unclouded.experiments.runs import Part, parts_of
from unclouded.locks import held
from unclouded.training.forecast import total_steps


def smoke(table: str, runs: Path) -> Reproduction:
    return Reproduction(find_experiments(), table, "smoke", runs)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for table in ("table_2", "table_3", "table_4"):
        smoke(table, folder).complete(lambda *_: None)
    return folder


def test_an_interrupted_evaluation_continues_and_gives_the_same_scores(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "smoke", tmp_path / "smoke")
    path = tmp_path / "smoke" / "table_2" / "ours_0" / "scores_observed.json"
    expected = json.loads(path.read_text())
    path.unlink()
    one = smoke("table_2", tmp_path)
    row = next(row for row in one.rows if row.key == "ours_0")
    size, chunks = one.experiments.size("smoke"), chunks_folder(row, "observed", one.folder)
    parts = parts_of(row, size, one.folder / "simulated", one.folder)
    extractor = feature_extractor(feature_settings(size))
    score_row(row, "observed", parts, size, extractor, folder=chunks)
    first, second = sorted(chunks.iterdir())  # a chunk for each fold
    before = first.stat().st_mtime_ns
    second.unlink()
    threads = EvaluationDevice(batch=2, workers=2)
    again = score_row(row, "observed", parts, size, extractor, folder=chunks, device=threads)
    assert first.stat().st_mtime_ns == before and second.is_file()
    assert [patch.name for patch in again.patches] == list(expected["patches"])
    assert again.mean("all")["mae"] == pytest.approx(expected["mean"]["all"]["mae"], rel=1e-6)
    second.unlink()
    one.complete(lambda *_: None)
    assert json.loads(path.read_text()) == expected
    assert not chunks.exists()


def test_a_row_that_another_process_computes_is_left_to_it(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "smoke", tmp_path / "smoke")
    for scores in (tmp_path / "smoke" / "table_2").rglob("scores_observed.json"):
        scores.unlink()
    with held(tmp_path / "smoke" / "table_2" / "ours_0"):
        assert smoke("table_2", tmp_path).complete(lambda *_: None) == ("ours_0",)
    table, _ = smoke("table_2", tmp_path).read()
    assert [line.values is None for line in table.lines] == [True, False]


def test_the_estimate_follows_from_measured_steps(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {False: 1.0, True: 3.0}
    monkeypatch.setattr("unclouded.experiments.execution.step_seconds", lambda _, *, paired: seconds[paired])
    monkeypatch.setattr(Part, "steps_left", lambda part: total_steps(part.settings, part.patches))
    one = smoke("table_2", runs)
    size = one.experiments.size("smoke")
    (part, _) = parts_of(one.rows[0], size, one.folder / "simulated", one.folder)
    long = part.settings.schedule.model_copy(update={"epochs_constant": 1800})  # of two patches
    half = part.settings.model_copy(update={"schedule": long, "paired_percent": 50.0})
    lines = estimate([replace(part, settings=half)])
    assert lines[0].endswith("about 2.0 hours for 3,600 steps at 2.00 s a step")
    assert "not included" in lines[1]
    assert estimate([part]) == []  # a few steps


def test_without_runs_every_cell_is_marked_as_not_run(tmp_path: Path) -> None:
    table, checked = smoke("table_3", tmp_path).read()
    assert all(set(table.cells(line)) == {"not run"} for line in table.lines)
    assert {one.verdict for one in checked} == {"not tested"}


@pytest.mark.parametrize(("name", "lines"), [("table_2", 2), ("table_3", 7), ("table_4", 10)])
def test_a_table_is_written_four_times_and_every_cell_leads_to_its_scores(runs: Path, name: str, lines: int) -> None:
    reproduction = smoke(name, runs)
    table, _ = reproduction.read()
    assert len(table.lines) == lines
    paths = reproduction.write(table)
    assert [path.suffix for path in paths] == [".md", ".csv", ".tex", ".html"]
    rows = list(csv.DictReader(io.StringIO(paths[1].read_text(encoding="utf-8"))))
    for row, line in zip(rows, table.lines, strict=True):
        scores = json.loads((reproduction.folder / row["scores"]).read_text())
        assert float(row["f1"]) == pytest.approx(scores["precision_recall"]["f1"])
        assert f"{scores['precision_recall']['precision']:.3f}" in table.cells(line)


def test_complete_runs_are_not_trained_again(runs: Path) -> None:
    weights = sorted(runs.rglob("weights.safetensors"))
    before = [path.stat().st_mtime_ns for path in weights]
    assert len(weights) == 2 * (2 + 2 + 4)  # folds; ours, ablations, painted
    smoke("table_4", runs).complete(lambda *_: None)
    assert [path.stat().st_mtime_ns for path in weights] == before


def test_radar_is_compared_with_grey_and_has_the_same_patches(runs: Path) -> None:
    scores = json.loads((runs / "smoke" / "table_3" / "s1_vv" / "scores_observed.json").read_text())
    assert scores["precision_recall"]["protocol"]["target"] == "grey"
    assert scores["clear_pixels"] == "network"
    assert len(scores["patches"]) == 4


def test_rows_with_different_protocols_form_no_table(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "smoke", tmp_path / "smoke")
    path = tmp_path / "smoke" / "table_3" / "s2_cloudy" / "scores_observed.json"
    content = json.loads(path.read_text())
    content["precision_recall"]["protocol"]["k"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="do not compare: k is"):
        smoke("table_3", tmp_path).read()


def test_scores_of_other_weights_are_rejected(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "smoke", tmp_path / "smoke")
    one, other = sorted((tmp_path / "smoke" / "table_2").rglob("weights.safetensors"))[1:3]
    shutil.copy(other, one)
    with pytest.raises(InputError, match="scores other weights"):
        smoke("table_2", tmp_path).read()


def test_a_run_with_other_settings_is_not_taken_for_the_row(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "smoke", tmp_path / "smoke")
    settings = next((tmp_path / "smoke" / "table_2" / "ours_100").rglob("settings.toml"))
    settings.write_text(settings.read_text().replace("paired_percent = 100.0", "paired_percent = 50.0"))
    with pytest.raises(InputError, match="was trained with another paired_percent"):
        smoke("table_2", tmp_path).complete(lambda *_: None)


def test_folds_are_free_of_leaks_and_that_can_be_seen(runs: Path) -> None:
    folder = runs / "smoke" / "table_2" / "ours_0"
    tested = list(json.loads((folder / "scores_observed.json").read_text())["patches"])
    assert leak_free(folder, tested)[0] == "yes"


def test_the_sample_size_needs_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name it with --root"):
        Reproduction(find_experiments(), "table_2", "sample", tmp_path).complete(lambda *_: None)


A, B, SAME_REGION = "ROIs1158_spring_1_p1", "ROIs1158_spring_106_p1", "ROIs1158_spring_1_p2"


def run(folder: Path, *trained: str) -> Path:
    (folder / "patches.txt").write_text("\n".join(trained))
    return folder


def record(folder: Path, trained: dict[str, str], tested: dict[str, str]) -> Path:
    (folder / RECORD).write_text(json.dumps({"parts": [{"trained": trained, "tested": tested}]}))
    return folder


def test_other_regions_are_not_a_leak_even_with_similar_names(tmp_path: Path) -> None:
    assert leak_free(run(tmp_path, A), [B]) == (
        "yes",
        "test and training patches share no region (1 training regions)",
    )


def test_a_training_patch_in_the_test_is_a_leak(tmp_path: Path) -> None:
    assert leak_free(run(tmp_path, A, B), [B]) == ("no", f"1 test patches were used in training, first {B}")


def test_another_patch_of_a_region_is_a_leak(tmp_path: Path) -> None:
    answer, reason = leak_free(run(tmp_path, A), [SAME_REGION])
    assert (answer, reason) == ("no", "1 regions of the test patches were used in training, first ROIs1158_spring_1")


def test_without_a_record_leak_freedom_is_unknown(tmp_path: Path) -> None:
    assert leak_free(tmp_path, [A])[0] == "unknown"


def test_names_without_region_prove_nothing(tmp_path: Path) -> None:
    assert leak_free(run(tmp_path, "x"), ["y"])[0] == "unknown"
    assert leak_free(record(tmp_path, {"x": "A"}, {"y": "B"}), ["y"])[0] == "yes"


def test_a_test_patch_missing_from_the_record_is_unknown(tmp_path: Path) -> None:
    assert leak_free(record(tmp_path, {"x": "A"}, {"y": "B"}), ["y", "z"])[0] == "unknown"


def test_without_training_patches_there_is_no_leak(tmp_path: Path) -> None:
    assert leak_free(record(tmp_path, {}, {"y": "B"}), ["y"]) == ("yes", "no patch was used in training")


@pytest.mark.parametrize("text", ["[]", "{", '{"parts": [{"trained": 1, "tested": {}}]}', '{"parts": 3}'])
def test_a_damaged_record_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(InputError, match=r"is not a record of training patches|is not JSON"):
        leak_free(tmp_path, [A])
