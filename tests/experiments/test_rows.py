from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.experiments.rows import (
    Fold,
    Row,
    RowSettings,
    SizeSettings,
    find_experiments,
    regions_held_out,
)
from unclouded.experiments.runs import train_settings
from unclouded.settings import settings_from
from unclouded.training.forecast import total_steps
from unclouded.training.settings import TrainSettings

REGIONS = {"a1": "A", "a2": "A", "b1": "B"}


def folds(*tests: tuple[str, ...]) -> SizeSettings:
    return SizeSettings(folds=tuple(Fold(name=f"f{i}", test=test) for i, test in enumerate(tests)))


def test_table_ii_has_eleven_rows_at_paper_size() -> None:
    rows = [row for row in find_experiments().rows("table_2") if "paper" in row.settings.sizes]
    assert [row.settings.label for row in rows] == [f"ours-{p}" for p in range(0, 101, 10)]


@pytest.mark.parametrize("table", ["table_2", "table_3", "table_4"])
def test_every_row_at_paper_size_is_the_papers_protocol_with_the_rows_changes(table: str, tmp_path: Path) -> None:
    experiments = find_experiments()
    size = experiments.size("paper")
    assert size.precision_recall.layer == "fc2" and size.precision_recall.k == 10
    protocol = TrainSettings(patches=tmp_path)
    for row in experiments.rows(table):
        if row.origin.settings.train is None:
            continue
        settings = train_settings(row, size, tmp_path)
        changed = {key for key in TrainSettings.model_fields if getattr(settings, key) != getattr(protocol, key)}
        assert changed <= {"patches", "paired_percent", "clouds", "synthetic"}
        assert (settings.split, settings.subset, settings.network.width, settings.crop_px) == ("train", 10_000, 64, 200)
        assert total_steps(settings, 10_000) == 750_000  # 75 epochs, one patch a step


def test_rows_of_two_tables_with_one_network_have_one_folder() -> None:
    experiments = find_experiments()
    paths = [
        {row.key: row.path for row in experiments.rows(table)}["ours_100"]
        for table in ("table_2", "table_3", "table_4")
    ]
    assert paths == ["table_2/ours_100"] * 3


def test_the_ablation_gets_a_map_of_ones_and_nothing_else_changes(tmp_path: Path) -> None:
    experiments = find_experiments()
    row = {row.key: row for row in experiments.rows("table_3")}["ablation_100"]
    settings = train_settings(row, experiments.size("paper"), tmp_path)
    assert settings.clouds.mode == "ones" and settings.paired_percent == 100


def test_every_region_is_tested_by_a_network_trained_without_it() -> None:
    folded = regions_held_out(folds(("A",), ("B",)), REGIONS)
    found = [(fold.name, training, held_out) for fold, training, held_out in folded]
    assert found == [("f0", ["b1"], ["a1", "a2"]), ("f1", ["a1", "a2"], ["b1"])]


@pytest.mark.parametrize(("tests", "message"), [((("A",), ("A",)), "two folds hold out A"), ((("C",),), "and 0 test")])
def test_folds_with_repeated_or_empty_tests_are_rejected(tests: tuple[tuple[str, ...], ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(regions_held_out(folds(*tests), REGIONS))


def test_the_folds_of_the_samples_hold_out_every_region_once() -> None:
    size = find_experiments().size("sample")
    tested = [name for _, _, held_out in regions_held_out(size, size.regions) for name in held_out]
    assert sorted(tested) == sorted(size.regions)
    assert len(tested) == 10 > size.precision_recall.k


@pytest.mark.parametrize("content", [{}, {"remover": "cloudy", "like": "table_2/ours_0"}])
def test_a_row_is_a_baseline_a_training_or_like_another(content: dict[str, str]) -> None:
    with pytest.raises(InputError, match="expected one of remover, like and train"):
        settings_from(RowSettings, {"label": "x", **content})


def test_a_row_trained_without_synthetic_clouds_is_not_tested_on_them() -> None:
    with pytest.raises(InputError, match="trained without"):
        Row("x", "table_4", RowSettings(label="x", train={}, tests=("synthetic",)))


@pytest.mark.parametrize("name", ["table_9", "../etc"])
def test_an_unknown_table_is_rejected(name: str) -> None:
    with pytest.raises(InputError, match="unknown table"):
        find_experiments().rows(name)


def test_rows_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(find_experiments().rows("table_2")) >= 11
    (tmp_path / "experiments").mkdir()  # an unrelated folder
    assert find_experiments().folder != Path("experiments")


def test_missing_row_files_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unclouded.experiments.rows.package_files", lambda _: tmp_path / "a" / "b" / "c")
    with pytest.raises(InputError, match="name their folder by --experiments"):
        find_experiments()
