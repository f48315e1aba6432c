import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclouded.errors import InputError
from unclouded.evaluation import results_io as record
from unclouded.evaluation.results_io import load_scores, scores_json, write_scores
from unclouded.evaluation.scores import AREAS, METRICS, Provenance, Scores
from unclouded.files import write_json

TWO = ["ROIs1158_spring_1", "ROIs1868_summer_44"]
PROVENANCE = Provenance("mine", "test", "ab" * 32, "", ("ROIs1158_spring_1_p9",), "unclouded 0.1.0")
Simulate = Callable[..., Scores]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def written(tmp_path: Path, simulate: Simulate) -> Path:
    path = tmp_path / "scores.json"
    write_scores(path, replace(simulate([0.1, 0.3], TWO), provenance=PROVENANCE, clouds={"mode": "ones"}), rng())
    return path


def test_what_is_written_is_what_is_read(tmp_path: Path, simulate: Simulate) -> None:
    scores = replace(
        simulate([0.1, 0.3], TWO),
        provenance=PROVENANCE,
        synthetic={"mode": "copy"},
        precision_recall={"protocol": {"k": 1}, "f1": 0.5},
    )
    write_scores(tmp_path / "s.json", scores, rng())
    assert load_scores(tmp_path / "s.json") == scores


def test_the_shape_of_the_file(written: Path) -> None:
    content = json.loads(written.read_text(), parse_constant=pytest.fail)
    assert content["definition"] == "unclouded-scores-1"
    assert content["protocol"] == {
        "definition": "unclouded-scores-1",
        "bands": ["B04", "B03", "B02"],
        "clear_pixels": "kept",
        "clouds": {"mode": "ones"},
        "synthetic": None,
    }
    assert set(content["mean"]) == {"all", "cloudy", "clear"}
    assert set(content["mean"]["all"]) == {*METRICS, "n", "psnr_n", "psnr_exact", "ssim_n"}
    assert content["season"]["summer"]["cloudy"]["mae"] == 0.3
    assert set(content["roi"]) == set(TWO)
    assert len(content["coverage"]) == 10
    assert sum(one["n"] for one in content["brightness"]) == 2
    assert content["interval"]["all"]["mae"] == [0.1, 0.3]
    assert content["provenance"]["split"]["n"] == 2
    assert content["provenance"]["missing"] == ["ROIs1158_spring_1_p9"]
    assert set(content["patches"]["ROIs1158_spring_1_p0"]) == {*AREAS, "coverage", "brightness", "roi", "sha256"}


def test_parquet_has_a_row_a_patch_and_the_card(written: Path) -> None:
    table = pq.read_table(written.with_suffix(".parquet"))
    assert table.column("mae_cloudy").to_pylist() == [0.1, 0.3]
    assert table.column("season").to_pylist() == ["spring", "summer"]
    assert json.loads(table.schema.metadata[b"unclouded"])["protocol"]["clear_pixels"] == "kept"


@given(st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=1, max_size=6), st.sampled_from([0, 9]))
@settings(max_examples=25)
def test_fault_13_values_that_are_not_numbers_come_back(
    tmp_path: Path, simulate: Simulate, values: list[float], pixels: int
) -> None:
    scores = simulate(values, pixels=pixels)
    write_json(tmp_path / "s.json", scores_json(scores, rng()))
    found = [patch.values["all"]["sam"] for patch in load_scores(tmp_path / "s.json").patches]
    np.testing.assert_array_equal(found, values)


def test_the_infinite_psnr_of_an_exact_prediction_comes_back(tmp_path: Path, simulate: Simulate) -> None:
    (patch,) = simulate([0.0]).patches
    exact = {area: dict(patch.values[area]) | {"psnr": math.inf} for area in AREAS}
    other = replace(patch, name="other", sha256="1", values=dict.fromkeys(AREAS, patch.values["all"] | {"psnr": 20.0}))
    scores = replace(simulate([0.0]), patches=(replace(patch, values=exact), other))
    write_scores(tmp_path / "s.json", scores, rng())
    content = json.loads((tmp_path / "s.json").read_text(), parse_constant=pytest.fail)
    found = content["mean"]["all"]
    assert (found["psnr"], found["psnr_n"], found["psnr_exact"], found["n"]) == (20.0, 1, 1, 2)
    assert [one["all"].get("exact", False) for one in content["patches"].values()] == [True, False]
    assert content["coverage"][0]["all"]["psnr"] == content["roi"]["ROIs1158_spring_1"]["all"]["psnr"] == 20.0
    assert load_scores(tmp_path / "s.json").patches[0].values["all"]["psnr"] == math.inf
    assert pq.read_table(tmp_path / "s.parquet").column("psnr_all").to_pylist() == [math.inf, 20.0]


def test_a_file_of_a_later_version_with_more_keys_is_read(written: Path) -> None:
    content = json.loads(written.read_text()) | {"novelty": 1}
    content["patches"]["ROIs1158_spring_1_p0"]["novelty"] = 2
    write_json(written, content)
    assert load_scores(written).mean("all")["n"] == 2


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)
    return path


def test_a_mean_that_does_not_follow_from_the_patches_is_refused(written: Path) -> None:
    changed(written, lambda c: c["mean"]["cloudy"].update(psnr=40.0))
    with pytest.raises(InputError, match=r"contradicts itself: mean.cloudy.psnr is 40.0, its patches give 0.2;"):
        load_scores(written)


def test_a_patch_that_was_left_out_afterwards_is_noticed(written: Path) -> None:
    def leave_out(content: dict[str, Any]) -> None:
        del content["patches"]["ROIs1158_spring_1_p0"]
        counts = {"n": 1, "psnr_n": 1, "psnr_exact": 0, "ssim_n": 1}
        content["mean"] = {area: dict.fromkeys(METRICS, 0.3) | counts for area in AREAS}

    with pytest.raises(InputError, match="its hashes do not follow from its patches"):
        load_scores(changed(written, leave_out))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(definition="unclouded-scores-0"), "has the definition unclouded-scores-0, expected uncl"),
        (lambda c: c.pop("patches"), "is not a complete file of scores: patches: Field required"),
        (lambda c: c.update(patches={}), "patches: Dictionary should have at least 1 item"),
        (lambda c: c["patches"]["ROIs1158_spring_1_p0"].pop("clear"), "ROIs1158_spring_1_p0.clear: Field required"),
        (lambda c: c["patches"]["ROIs1158_spring_1_p0"].update(coverage=2), "coverage: Input should be less than"),
        *(
            (lambda c, v=value: c["patches"]["ROIs1158_spring_1_p0"]["all"].update(mae=v), "all.mae: Input should be")
            for value in (1e308, 1.1, -0.1, "0.1", True, 10**18, [])
        ),
        *(
            (
                lambda c, v=value: c["patches"]["ROIs1158_spring_1_p0"]["all"].update(pixels=v),
                "all.pixels: Input should",
            )
            for value in (1e308, -1, 10**18, 9.5, "9", None)
        ),
        (lambda c: c["mean"]["all"].update(mae=1e308), "mean.all.mae: Input should be"),
        (lambda c: c["mean"]["all"].update(mae="much"), "mean.all.mae: Input should be"),
        (lambda c: c.update(precision_recall={"protocol": {}, "f1": "0.5"}), "precision_recall.f1: Input should be"),
        (
            lambda c: c.update(precision_recall={"protocol": {}, "precision": 1e308}),
            "precision_recall.precision: Input should be",
        ),
        (
            lambda c: c["protocol"].update(clear_pixels="pasted"),
            "protocol.clear_pixels: Input should be 'kept' or 'network'",
        ),
    ],
)
def test_what_is_missing_or_out_of_range_is_named(
    change: Callable[[dict[str, Any]], object], message: str, written: Path
) -> None:
    with pytest.raises(InputError, match=message):
        load_scores(changed(written, change))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_fault_25_invalid_json_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(InputError, match="not JSON"):
        load_scores(tmp_path / "s.json")


def test_fault_25_json_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("[1]")
    with pytest.raises(InputError, match="does not hold a JSON object; give a file"):
        load_scores(tmp_path / "s.json")


def test_fault_25_a_giant_is_refused_before_it_is_read(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="has more than 100 bytes"):
        load_scores(written)
