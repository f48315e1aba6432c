"""Mosaics: positions, levels by hand, the better scene in each place, and no dependence on the strips."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rio_cogeo.cogeo import cog_validate

from unclouded.cli.main import run
from unclouded.errors import InputError
from unclouded.files import sha256
from unclouded.io.geotiff import read_stored
from unclouded.io.rows import Layer, write_cog
from unclouded.prediction import mosaic
from unclouded.prediction.clearing import seam_index
from unclouded.prediction.mosaic import MosaicSettings, box_sum, make_mosaic, solve_levels
from unclouded.prediction.products import Provenance

BANDS = ("B04", "B03", "B02")
CORNER = (500_000, 5_000_000)


def field(rows: Any, columns: Any) -> Any:
    """Stored integers of the ground by row and column of an endless grid."""
    return 2000 + 3 * rows + 2 * columns


@pytest.fixture
def scene(tmp_path: Path) -> Callable[..., Path]:
    """Write a predicted scene of the ground: its corner in pixels, and what was predicted in it."""

    def write(
        name: str,
        top: int,
        left: int,
        shape: tuple[int, int] = (200, 220),
        *,
        add: int = 0,
        predicted: Any = None,
        confidence: int = 40,
        hole: Any = None,
        offset: int = 0,
        bands: tuple[str, ...] = BANDS,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rows, columns = np.mgrid[top : top + shape[0], left : left + shape[1]]
        stored = np.stack([field(rows, columns) + add - offset + 100 * k for k in range(len(bands))]).astype(np.uint16)
        codes = np.full((1, *shape), Provenance.OBSERVED, np.uint8)
        sure = np.full((1, *shape), 255, np.uint8)
        if predicted is not None:
            codes[:, *predicted], sure[:, *predicted] = Provenance.SYNTHESISED, confidence
        if hole is not None:
            codes[:, *hole], stored[:, *hole] = 0, 0
        grid = GeoBox(shape, Affine(10, 0, CORNER[0] + 10 * left, 0, -10, CORNER[1] - 10 * top), "EPSG:32632")
        offsets = (offset / 10_000,) * len(bands) if offset else ()
        write_cog(folder / "clear.tif", [(0, stored)], Layer(bands, "uint16", 0, "average", 1e-4, offsets), grid)
        write_cog(folder / "provenance.tif", [(0, codes)], Layer(("p",), "uint8", 0, "nearest"), grid)
        write_cog(folder / "confidence.tif", [(0, sure)], Layer(("c",), "uint8", 255, "average", 0.01), grid)
        files = {one: {"file": f"{one}.tif"} for one in ("clear", "provenance", "confidence")}
        content = {"files": files, "scene": {"product": name, "acquired": "2021-07-14T10:20:21Z"}}
        (folder / "summary.json").write_text(json.dumps(content))
        return folder

    return write


def expected(shape: tuple[int, int]) -> Any:
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    return np.stack([field(rows, columns) + 100 * k for k in range(3)])


def test_two_tiles_of_one_ground_give_the_ground_in_its_place(scene: Callable[..., Path], tmp_path: Path) -> None:
    summary = make_mosaic([scene("west", 0, 0), scene("east", 30, 150)], tmp_path / "out")
    made = read_stored(tmp_path / "out" / "clear.tif")
    assert made.geobox == GeoBox((230, 370), Affine(10, 0, CORNER[0], 0, -10, CORNER[1]), "EPSG:32632")
    seen = made.values[0] > 0
    assert seen.sum() == 2 * 200 * 220 - 170 * 70
    assert abs(made.values.astype(int) - expected((230, 370)))[:, seen].max() == 0
    assert abs(np.array([*summary["levels"].values()])).max() < 1e-6
    assert summary["pixels"]["observed"] == seen.sum()
    assert sum(summary["pixels"]["by_scene"].values()) == seen.sum()
    for name in ("clear", "provenance", "source", "visual"):
        assert cog_validate(tmp_path / "out" / f"{name}.tif")[0]
    item = json.loads((tmp_path / "out" / "item.json").read_text())
    assert [one["href"] for one in item["links"] if one["rel"] == "derived_from"] == ["west", "east"]


def test_scenes_of_images_of_one_name_are_told_apart(scene: Callable[..., Path], tmp_path: Path) -> None:
    folders = [scene("west", 0, 0), scene("east", 30, 150)]
    for folder in folders:
        content = json.loads((folder / "summary.json").read_text())
        content["scene"]["product"] = "s2.tif"
        (folder / "summary.json").write_text(json.dumps(content))
    summary = make_mosaic(folders, tmp_path / "out")
    assert list(summary["levels"]) == [f"s2.tif in {folder}" for folder in folders]
    assert len(summary["pixels"]["by_scene"]) == 2 and min(summary["pixels"]["by_scene"].values()) > 10_000


def test_levels_are_matched_so_that_no_seam_is_left(scene: Callable[..., Path], tmp_path: Path) -> None:
    scenes = [scene("west", 0, 0), scene("east", 0, 150, add=200)]
    summary = make_mosaic(scenes, tmp_path / "out")
    assert summary["levels"]["west"] == pytest.approx([0.01] * 3, abs=1e-5)  # half of the 200 steps each
    assert summary["levels"]["east"] == pytest.approx([-0.01] * 3, abs=1e-5)
    made = read_stored(tmp_path / "out" / "clear.tif").values.astype(int)
    assert abs(made - expected((200, 370)) - 100).max() <= 1
    kept = make_mosaic(scenes, tmp_path / "kept", MosaicSettings(match_levels=False))
    assert not any(map(any, kept["levels"].values()))
    as_stored = read_stored(tmp_path / "kept" / "clear.tif").values.astype(int) - expected((200, 370))
    assert set(np.unique(as_stored[:, :, [20, 350]])) == {0, 200}
    steps = np.diff(as_stored[0, 100])
    assert steps.max() <= 15  # 200 steps in 25 px, where scenes are blended
    assert seam_index(made.astype(float), [], [185]) == pytest.approx(1.0, abs=0.05)


def test_the_observed_scene_is_used_where_the_other_was_predicted(scene: Callable[..., Path], tmp_path: Path) -> None:
    cloud = (slice(60, 160), slice(60, 160))
    first = scene("first", 0, 0, predicted=cloud)
    second = scene("second", 0, 0, predicted=(slice(0, 200), slice(180, 220)))
    make_mosaic([first, second], tmp_path / "out")
    source = read_stored(tmp_path / "out" / "source.tif").values[0]
    traced = read_stored(tmp_path / "out" / "provenance.tif").values[0]
    assert (source[110, 110], source[20, 20], source[100, 210]) == (2, 1, 1)
    assert (traced[70:150, 70:150] == Provenance.OBSERVED).all()
    # both predicted: the more confident one
    sure = scene("sure", 0, 0, predicted=cloud, confidence=90)
    make_mosaic([first, sure], tmp_path / "two")
    assert read_stored(tmp_path / "two" / "source.tif").values[0, 110, 110] == 2


def test_gaps_are_filled_by_other_scenes_and_stay_where_there_are_none(
    scene: Callable[..., Path], tmp_path: Path
) -> None:
    first = scene("first", 0, 0, hole=(slice(50, 120), slice(50, 120)))
    second = scene("second", 0, 0, hole=(slice(100, 150), slice(100, 150)), offset=-1000)
    summary = make_mosaic([first, second], tmp_path / "out")
    made = read_stored(tmp_path / "out" / "clear.tif")
    assert made.offsets == (-0.1,) * 3
    gap = made.values[0] == 0
    assert gap.sum() == summary["pixels"]["no_data"] == 20 * 20 and gap[100:120, 100:120].all()
    assert abs(made.values.astype(int) - 1000 - expected((200, 220)))[:, ~gap].max() == 0


def test_the_result_does_not_depend_on_the_strips(
    scene: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = (slice(60, 160), slice(60, 160))
    scenes = [scene("a", 0, 0, predicted=cloud), scene("b", 40, 100, add=77), scene("c", 90, 10, add=-31)]
    hashes = []
    for rows in (512, 512, 64):
        monkeypatch.setattr(mosaic, "STRIP_PX", rows)
        out = tmp_path / f"{len(hashes)}"
        make_mosaic(scenes, out)
        hashes.append([sha256(out / f"{name}.tif") for name in ("clear", "provenance", "source")])
    assert hashes[0] == hashes[1] == hashes[2]


def test_a_scene_of_the_neighbouring_zone_is_warped(scene: Callable[..., Path], tmp_path: Path) -> None:
    first = scene("first", 0, 0)
    other = scene("other", 0, 100)
    grid = read_stored(first / "clear.tif").geobox
    to_33 = Transformer.from_crs("EPSG:32632", "EPSG:32633", always_xy=True)
    x, y = to_33.transform(grid.affine.c, grid.affine.f)
    moved = GeoBox((200, 220), Affine(10, 0, round(x, -1), 0, -10, round(y, -1)), "EPSG:32633")
    for name in ("clear", "provenance", "confidence"):
        stored = read_stored(first / f"{name}.tif")
        values = np.full((len(stored.values), *moved.shape), 2500 if name == "clear" else 1, stored.values.dtype)
        layer = Layer(tuple(stored.descriptions), stored.values.dtype.name, stored.nodata, "nearest", 1e-4)
        write_cog(first / f"{name}.tif", [(0, values)], layer, moved)
    make_mosaic([other, first], tmp_path / "out", MosaicSettings(match_levels=False))
    made = read_stored(tmp_path / "out" / "clear.tif")
    assert made.geobox.crs.epsg == 32632
    # the first scene reaches 100 px further to the west
    column = round((CORNER[0] + 500 - made.geobox.affine.c) / 10)
    assert abs(made.values[0, 100, column].astype(int) - 2500) <= 1


def test_a_box_sum_counts_pixels_in_a_square() -> None:
    values = np.zeros((4, 5), np.uint8)
    values[1, 1] = 200
    assert box_sum(values, 1).tolist() == [[200, 200, 200, 0, 0]] * 3 + [[0] * 5]
    assert box_sum(np.ones((3, 3), bool), 1).tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


def test_levels_of_three_scenes_in_a_row_by_hand() -> None:
    step = {(0, 1): (np.array([0.02]), 100), (1, 2): (np.array([-0.04]), 100)}
    # 0 is 0.02 above 1, which is 0.04 below 2: with mean 0 the offsets are 0, 0.02 and -0.02
    assert solve_levels(step, 3, 1)[:, 0] == pytest.approx([0.0, 0.02, -0.02], abs=1e-6)
    assert not solve_levels({}, 3, 1).any()


def test_scenes_that_do_not_fit_are_refused_in_one_line(scene: Callable[..., Path], tmp_path: Path) -> None:
    first, other = scene("first", 0, 0), scene("other", 0, 0, bands=("B04",))
    with pytest.raises(InputError, match=r"other has the bands B04, .*first B04 B03 B02; predict both with the same"):
        make_mosaic([first, other], tmp_path / "out")
    with pytest.raises(InputError, match="a mosaic needs 2 to 250 scenes, found 1"):
        make_mosaic([first], tmp_path / "out")
    (other / "summary.json").write_text("{}")
    with pytest.raises(InputError, match=r"other holds no finished prediction"):
        make_mosaic([first, other], tmp_path / "out")
    with pytest.raises(InputError, match=r"no scene has the CRS EPSG:4326, only EPSG:32632"):
        make_mosaic([first, scene("third", 0, 9)], tmp_path / "out", MosaicSettings(crs="EPSG:4326"))
    assert not (tmp_path / "out").exists()


def test_the_command_takes_a_folder_of_scenes_and_leaves_a_finished_mosaic(
    scene: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    west, _ = scene("west", 0, 0), scene("east", 30, 150)
    out = tmp_path.with_name(f"{tmp_path.name}-out")
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["unclouded", "mosaic", str(west.parent), "--out", str(out)])
        with pytest.raises(SystemExit) as ended:
            run()
        assert not ended.value.code
    printed = capsys.readouterr()
    assert "px of east" in printed.out and "already holds this mosaic" in printed.err
