import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.raster import same_grid
from unclouded.patches.cutting import common_grid, pixels_between, rows_of, windows

SCENE = GeoBox((700, 900), Affine(10, 0, 500_003.7, 0, -10, 4_900_008.2), "EPSG:32632")


def test_windows_are_numbered_row_by_row_and_none_leaves_the_region() -> None:
    found = windows(SCENE)
    assert len(found) == 4 * 6  # (700 - 256) // 128 + 1 rows, (900 - 256) // 128 + 1 columns
    assert [(one.number, one.top, one.left) for one in (found[0], found[6], found[-1])] == [
        (1, 0, 0),
        (7, 128, 0),
        (24, 384, 640),
    ]
    assert [(top, len(row)) for top, row in rows_of(found)] == [(0, 6), (128, 6), (256, 6), (384, 6)]


def test_the_region_of_the_paper_gives_more_than_700_patches() -> None:
    assert len(windows(GeoBox((4000, 5200), Affine.scale(10, -10), "EPSG:32632"))) == 30 * 39


def test_every_pixel_of_a_patch_comes_from_its_place_in_the_scene() -> None:
    for window in windows(SCENE)[::5]:
        grid = window.grid(SCENE)
        assert grid.affine * (0, 0) == pytest.approx(SCENE.affine * (window.left, window.top))
        assert grid.shape == (256, 256)


def test_what_two_scenes_share_keeps_the_pixels_of_both() -> None:
    other = SCENE[100:, :800]
    shared = common_grid(SCENE, other, (4000, 5200))
    assert same_grid(shared, SCENE[100:, :800]) and pixels_between(SCENE, shared) == (100, 0)
    assert pixels_between(other, shared) == (0, 0)


def test_a_region_has_at_most_the_size_it_may_have_around_its_center() -> None:
    assert same_grid(common_grid(SCENE, SCENE, (300, 400)), SCENE[200:500, 250:650])
    from pyproj import Transformer

    x, y = SCENE.affine * (300, 400)
    center = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform(x, y)
    assert same_grid(common_grid(SCENE, SCENE, (300, 400), center), SCENE[250:550, 100:500])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (GeoBox((700, 900), SCENE.affine, "EPSG:32633"), "on the same pixel grid"),
        (GeoBox((700, 900), SCENE.affine * Affine.translation(0.5, 0), "EPSG:32632"), "on the same pixel grid"),
        (GeoBox((700, 900), SCENE.affine * Affine.scale(2), "EPSG:32632"), "on the same pixel grid"),
        (SCENE[500:, :], "expected at least 256x256 px in both optical images, found 900x200"),
        (GeoBox((700, 900), SCENE.affine * Affine.translation(2000, 0), "EPSG:32632"), "found 0x700"),
    ],
)
def test_scenes_that_share_no_pixels_are_refused(other: GeoBox, message: str) -> None:
    with pytest.raises(InputError, match=message):
        common_grid(SCENE, other, (4000, 5200))


def test_a_center_needs_a_crs() -> None:
    nowhere = GeoBox((700, 900), SCENE.affine, None)
    assert common_grid(nowhere, nowhere, (4000, 5200)).shape == (700, 900)
    with pytest.raises(InputError, match="leave the center out"):
        common_grid(nowhere, nowhere, (4000, 5200), (9, 44))


def test_a_coordinate_scene_is_cut_at_its_coordinates() -> None:
    row, column = np.mgrid[:700, :900]
    for window in windows(SCENE)[3::7]:
        part = np.s_[window.top : window.top + 256, window.left : window.left + 256]
        x, y = window.grid(SCENE).affine * (0.5, 0.5)
        assert (column[part][0, 0], row[part][0, 0]) == pytest.approx(np.subtract(~SCENE.affine * (x, y), 0.5))
