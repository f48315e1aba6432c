from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from torch import Tensor

from unclouded.errors import InputError
from unclouded.experiments.figures import (
    choose_by_coverage,
    choose_regions,
    draw_grid,
    figure_1,
    figure_4,
    figure_6,
    figure_7,
    figure_9,
    patch_title,
    radar_grey,
    readable,
    require_format,
    round_length,
)
from unclouded.io.geotiff import write_geotiff
from unclouded.models.baselines import baseline
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.mosaic import RegionFiles
from unclouded.patches.roi import Roi
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.tensors.observation import Observation

GRID = GeoBox.from_bbox((0, 0, 640, 640), "EPSG:32632", resolution=10)


@pytest.fixture
def files(tmp_path: Path) -> TripletFiles:
    for name, value in (("clear", 1000), ("cloudy", 5000)):
        write_geotiff(tmp_path / f"{name}.tif", np.full((13, 64, 64), value, np.uint16), SENTINEL2.bands, GRID)
    write_geotiff(tmp_path / "s1.tif", np.full((2, 64, 64), -9, np.float32), SENTINEL1.bands, GRID)
    return TripletFiles("place", None, tmp_path / "s1.tif", tmp_path / "cloudy.tif", tmp_path / "clear.tif")


def shape(path: Path) -> tuple[int, ...]:
    return matplotlib.image.imread(path).shape[:2]


def test_figure_1_has_a_row_for_each_remover(files: TripletFiles, tmp_path: Path) -> None:
    one, two = {"nothing": baseline("cloudy")}, {"a": baseline("cloudy"), "b": baseline("clear-mean")}
    figure_1(tmp_path / "1.png", [files, files], one, None)
    figure_1(tmp_path / "2.png", [files, files], two, None)
    assert shape(tmp_path / "2.png")[0] - shape(tmp_path / "1.png")[0] == 510  # 1.7 inch at 300 dots


def test_figure_1_needs_a_prediction(files: TripletFiles, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one or more --remover"):
        figure_1(tmp_path / "1.png", [files], {}, None)


def test_figure_6_has_six_rows_of_square_panels(files: TripletFiles, tmp_path: Path) -> None:
    figure_6(tmp_path / "6.png", [files, files], None)
    height, width = shape(tmp_path / "6.png")
    assert height / width > 2


def test_figure_6_needs_clear_images(files: TripletFiles, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="place has no clear image"):
        figure_6(tmp_path / "6.png", [TripletFiles("place", None, files.sar, files.cloudy, None)], None)


def test_figure_7_shows_images_above_their_maps(files: TripletFiles, tmp_path: Path) -> None:
    figure_7(tmp_path / "7.png", [files.cloudy] * 3, None, columns=2)
    height, width = shape(tmp_path / "7.png")
    assert height / width == pytest.approx(2 * 4.1 / (2 * 1.9), rel=0.01)  # three pairs in two columns are two rows


def test_figure_9_shows_the_worst_only(files: TripletFiles, tmp_path: Path) -> None:
    write_geotiff(tmp_path / "bright.tif", np.full((13, 64, 64), 9900, np.uint16), SENTINEL2.bands, GRID)
    worse = TripletFiles("worse", None, files.sar, files.cloudy, tmp_path / "bright.tif")
    figure_9(tmp_path / "both.svg", [files, worse], baseline("cloudy"), None, count=2)
    figure_9(tmp_path / "9.svg", [files, worse], baseline("cloudy"), None, count=1)
    both, one = ((tmp_path / name).read_text() for name in ("both.svg", "9.svg"))
    assert "place" in both and "worse" in both
    assert "MAE 0.490" in one and "place" not in one  # 0.99 - 0.5, where the other one is 0.5 - 0.1


GREY = np.full((8, 8), 0.5, np.float32)


@pytest.mark.parametrize(("most", "expected"), [(7_300.0, 5_000.0), (1_000.0, 1_000.0), (39.0, 20.0)])
def test_scale_bars_have_round_lengths(most: float, expected: float) -> None:
    assert round_length(most) == expected


def test_radar_is_black_at_minus_25_db_and_white_at_0() -> None:
    sar = np.array([[[-25.0, -12.5, 0.0, 4.0]], [[0.0] * 4]], np.float32)
    assert radar_grey(sar).tolist() == [[0.0, 0.5, 1.0, 1.0]]


def test_titles_are_in_words() -> None:
    assert patch_title("ROIs1158_spring_106_p30", 0.476) == "spring, region 106, patch 30\ncover 48 %"
    assert patch_title("tiny$1") == r"tiny\$1"


def test_chosen_patches_are_clear_partly_and_fully_cloudy() -> None:
    assert choose_by_coverage([0.9, 0.45, 0.1, 0.99, 0.5, 0.0], 3) == [5, 4, 3]
    assert choose_by_coverage([0.9, 0.2], 3) == [1, 0]
    assert choose_by_coverage([0.9, 0.4, 0.1], 1) == [1]


def test_raw_predictions_are_not_composed_with_the_observation(files: TripletFiles, tmp_path: Path) -> None:
    write_geotiff(tmp_path / "clear_sky.tif", np.full((13, 64, 64), 1000, np.uint16), SENTINEL2.bands, GRID)
    clear = TripletFiles("place", None, files.sar, tmp_path / "clear_sky.tif", tmp_path / "clear.tif")
    darkened = _Constant()
    for name, raw in (("kept", False), ("raw", True)):
        figure_9(tmp_path / f"{name}.svg", [clear], darkened, None, count=1, raw=raw)
        figure_1(tmp_path / f"{name}_1.svg", [clear], {"constant": darkened}, None, raw=raw)
    assert "MAE 0.000" in (tmp_path / "kept.svg").read_text()  # every pixel is clear: the observation, 0.1
    assert "MAE 0.400" in (tmp_path / "raw.svg").read_text()  # the network's 0.5
    assert "network, constant" in (tmp_path / "raw_1.svg").read_text()


class _Constant:
    name, bands = "constant", ("B04", "B03", "B02")

    def __call__(self, observation: Observation) -> Tensor:
        return torch.full_like(observation.cloudy, 0.5)


def test_a_name_is_no_formula_and_no_paragraph() -> None:
    assert readable("a$b\n") == r"a\$b?"
    assert len(readable("x" * 99)) == 40


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_suffix_chooses_the_format_and_equal_figures_are_equal_files(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        draw_grid(tmp_path / f"{name}.{suffix}", {"map $m$": [GREY, GREY]}, ["<one>", r"two\$"])
    first = (tmp_path / f"a.{suffix}").read_bytes()
    assert first == (tmp_path / f"b.{suffix}").read_bytes()
    assert first.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix])


def test_a_row_more_is_higher(tmp_path: Path) -> None:
    draw_grid(tmp_path / "g.png", {"a": [GREY], "b": [GREY], "c": [GREY]}, ["one"])
    height, width = matplotlib.image.imread(tmp_path / "g.png").shape[:2]
    assert (height, width) == (1620, 600)  # 300 dots an inch, panels of 1.7 inch and 0.3 for names


def test_an_unknown_suffix_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in .png, .pdf, .svg"):
        require_format(tmp_path / "figure.doc")


def region(season: str, number: int, patches: int) -> RegionFiles:
    return RegionFiles(Roi("ROIs1158", season, number), tuple(Path(f"{i}.tif") for i in range(patches)))


def test_the_largest_region_of_each_season_is_shown() -> None:
    held = [region("spring", 1, 2), region("spring", 2, 5), region("winter", 3, 1)]
    assert [one.roi.number for one in choose_regions(held, None)] == [2, 3]
    assert [one.roi.number for one in choose_regions(held, ["ROIs1158_spring_1"])] == [1]


def test_a_region_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="the data set has no region ROIs1158_spring_106"):
        choose_regions([region("spring", 1, 2)], ["ROIs1158_spring_106"])


def test_a_region_is_drawn_with_its_existing_patches(tmp_path: Path) -> None:
    paths = []
    for index, (row, column) in enumerate(((0, 0), (1, 2))):
        grid = GeoBox((16, 16), Affine(10, 0, 5e5 + 160 * column, 0, -10, 5e6 - 160 * row), "EPSG:32632")
        paths.append(tmp_path / f"{index}.tif")
        write_geotiff(paths[-1], np.full((13, 16, 16), 600, np.uint16), SENTINEL2.bands, grid)
    held = RegionFiles(Roi("ROIs1158", "spring", 7), tuple(paths))
    figure_4(tmp_path / "4.png", [held, held])
    picture = matplotlib.image.imread(tmp_path / "4.png")[..., :3]
    assert picture.shape[1] == 1980  # two regions of 3.3 inch
    grey = np.abs(picture - 0.85).max(axis=2) < 0.01
    dark = np.abs(picture - 0.2).max(axis=2) < 0.01  # 0.06 of 0.3
    assert grey.sum() == pytest.approx(2 * dark.sum(), rel=0.05)  # 2 of 6 places have a patch
