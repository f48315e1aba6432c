"""Pictures of a scene: one stretch before and after, a mask for gaps, small first views, and styles that are XML."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from defusedxml import ElementTree
from odc.geo.geobox import GeoBox
from PIL import Image
from rio_cogeo.cogeo import cog_info, cog_validate

from unclouded.clouds.map import CloudMapSettings
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.models.baselines import baseline
from unclouded.prediction.pictures import THUMBNAIL_PX, palette_style, ramp_style
from unclouded.prediction.products import OutputSettings, Provenance
from unclouded.prediction.scene import PredictedScene, SceneSettings, predict_scene
from unclouded.sensors import SENTINEL1, SENTINEL2

SIDE = 96
GRID = GeoBox((SIDE, SIDE), Affine(10, 0, 500_000, 0, -10, 5_000_480), "EPSG:32632")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> PredictedScene:
    """A scene whose left half is cloudy by a user's map, with a gap of 8 x 8 px in the corner and one saturated px."""
    folder = tmp_path_factory.mktemp("pictures")
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    optical = np.stack([500 + 15 * rows + 4 * columns + 30 * band for band in range(13)]).astype(np.uint16)
    optical[:, :, : SIDE // 2] += 5000
    optical[:, :8, -8:] = 0
    optical[:, 60, 80] = 65_535
    write_geotiff(folder / "s2.tif", optical, SENTINEL2.bands, GRID, nodata=0)
    sar = np.random.default_rng(0).uniform(-20, -5, (2, SIDE, SIDE)).astype(np.float32)
    write_geotiff(folder / "s1.tif", sar, SENTINEL1.bands, GRID)
    clouds = np.zeros((1, SIDE, SIDE), np.float32)
    clouds[:, :, : SIDE // 2] = 1
    write_geotiff(folder / "m.tif", clouds, ("m",), GRID)
    settings = SceneSettings(
        clouds=CloudMapSettings(),
        cloud_map=folder / "m.tif",
        output=OutputSettings(compression="zstd", split_bands=True),
    )
    remover = baseline("clear-mean", ("B04", "B03", "B02"))
    return predict_scene(remover, folder / "s2.tif", folder / "s1.tif", folder / "out", settings)


def test_pictures_are_cogs_of_three_bytes_with_a_mask_of_the_gaps(scene: PredictedScene) -> None:
    for name in ("visual", "observed_visual"):
        valid, errors, warnings = cog_validate(scene.files[name])
        assert valid, (errors, warnings)
        with rasterio.open(scene.files[name]) as file:
            assert (file.count, file.dtypes[0], file.profile["photometric"]) == (3, "uint8", "ycbcr")
            gap = file.dataset_mask() == 0
        assert gap.sum() == 64 and gap[:8, -8:].all()


def test_observed_pixels_look_the_same_in_both_pictures_and_clouds_are_gone_in_one(scene: PredictedScene) -> None:
    before, after = (read_stored(scene.files[name]).values.astype(int) for name in ("observed_visual", "visual"))
    clear = (slice(None), slice(16, 48), slice(SIDE // 2 + 16, None))  # blocks of JPEG have 8 px, of colour 16
    assert abs(before[clear] - after[clear]).max() == 0
    cloudy = (slice(None), slice(None), slice(0, SIDE // 2 - 16))
    assert before[cloudy].mean() > 250 > after[cloudy].mean()


def test_a_picture_names_its_bands_and_its_stretch(scene: PredictedScene) -> None:
    with rasterio.open(scene.files["visual"]) as file:
        tags = file.tags()
    assert tags["UNCLOUDED_SHOWN"] == "B04 B03 B02"
    red = tags["UNCLOUDED_STRETCH"].split()[0].split("-")
    clear = read_stored(scene.files["clear"]).values[0, :, SIDE // 2 :].astype(float) / 10_000
    low, high = np.percentile(clear[(clear > 0) & (clear < 6)], (0.5, 99))
    assert abs(float(red[0]) - low) < 2e-3 and abs(float(red[1]) - high) < 5e-3


def test_the_thumbnail_is_transparent_where_there_are_no_data(scene: PredictedScene) -> None:
    with Image.open(scene.files["thumbnail"]) as picture:
        assert (picture.size, picture.mode) == ((SIDE, SIDE), "RGBA")
        assert max(picture.size) <= THUMBNAIL_PX
        alpha = np.array(picture)[..., 3]
    assert (alpha == 0).sum() == 64 and not alpha[:8, -8:].any()


def test_each_band_is_a_file_of_its_own_with_scale_and_name(scene: PredictedScene) -> None:
    whole = read_stored(scene.files["clear"])
    for index, band in enumerate(("B04", "B03", "B02")):
        alone = read_stored(scene.files[f"clear_{band}"])
        assert np.array_equal(alone.values, whole.values[[index]])
        assert (alone.descriptions, alone.scales, alone.nodata) == ((band,), (1e-4,), 0)
    assert cog_info(scene.files["clear"]).Compression == "ZSTD"


def test_styles_hold_every_class_and_the_ends_of_every_scale(scene: PredictedScene) -> None:
    style = ElementTree.parse(scene.files["provenance_style"]).getroot()
    entries = {int(one.get("value")): one.get("label") for one in style.iter("paletteEntry")}
    assert entries == {code.value: code.name.lower().replace("_", " ") for code in Provenance}
    ramp = ElementTree.fromstring(ramp_style(((0.0, (0, 0, 0)), (1.0, (255, 255, 255))), 100.0, "%"))
    assert [one.get("value") for one in ramp.iter("item")] == ["0", "100"]
    assert scene.files["cloud_map_style"].with_suffix(".tif") == scene.files["cloud_map"]
    assert 'label="a &lt; b"' in palette_style({1: ((1, 2, 3), "a < b")})


def test_a_scene_without_pictures_has_none(scene: PredictedScene, tmp_path: Path) -> None:
    settings = SceneSettings(clouds=CloudMapSettings(mode="ones"), output=OutputSettings(pictures=False))
    source = scene.folder.parent
    made = predict_scene("clear-mean", source / "s2.tif", source / "s1.tif", tmp_path / "out", settings)
    assert set(made.files) == {"clear", "cloud_map", "provenance", "report", "item"}


def test_the_viewer_shows_the_scene_with_its_images_and_the_picture_in_place_of_a_lost_one(
    scene: PredictedScene,
) -> None:
    from unclouded.viewer.registry import Registry
    from unclouded.viewer.scenes import Sources, find_scenes, open_scene

    (found,) = find_scenes(scene.folder)
    whole = open_scene(found, Registry(), Sources(), scene.folder)
    assert [(one.id, one.verified) for one in whole.layers if one.name] == [("observed", True), ("radar", True)]
    assert whole.facts["used"] == "clear-mean"
    lost = scene.folder.parent / "s2.tif"
    lost.rename(lost.with_name("elsewhere.tif"))
    try:
        assert open_scene(found, Registry(), Sources(), scene.folder).layer("observed").role == "picture"
    finally:
        lost.with_name("elsewhere.tif").rename(lost)
