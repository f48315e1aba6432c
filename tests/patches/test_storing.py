"""A region of 384 x 512 px in two stores: patches overlap by half, so most pixels are in two or four of them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.synthetic import COPY, PERLIN
from unclouded.errors import InputError
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.io.raster import Raster
from unclouded.patches.cutting import PATCH_PX, rows_of, windows
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.reading import TOKENS
from unclouded.patches.roi import PatchId, Roi
from unclouded.patches.storing import StoreKind, open_store, paint_triplet
from unclouded.sensors import SENTINEL1, SENTINEL2

ROI = Roi("ROIs0001", "summer", 12)

GRID = GeoBox.from_bbox((0, 0, 5300, 4000), "EPSG:32632", resolution=10)  # 400 x 530 px, of which patches cover less

SCENE = Path("scenes/ROIs0001_summer_12/ROIs0001_summer_s2_12.tif")


def images() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    optical = {token: rng.integers(1, 9000, (13, *GRID.shape)) / 10_000 for token in ("s2", "s2_cloudy")}
    scenes = {"s1": rng.normal(-12, 2, (2, *GRID.shape)), **optical}
    return {token: scene.astype(np.float32) for token, scene in scenes.items()}


def stored(kind: StoreKind, root: Path, damaged: tuple[int, ...] = (), kept: int = 99) -> list[dict[str, object]]:
    """Store the first ``kept`` patches; the clear image cannot be read in rows of patches that begin at ``damaged``."""
    scenes, patches, rows = images(), windows(GRID), []
    with open_store(kind, root, ROI, GRID, patches) as store:
        for top, row in rows_of(patches):
            strips = {token: scene[:, top : top + PATCH_PX] for token, scene in scenes.items()}
            store.take(top, {token: strip for token, strip in strips.items() if token != "s2" or top not in damaged})
            for window in row if top not in damaged else []:
                cut = {
                    token: Raster(
                        strip[:, :, window.left : window.left + PATCH_PX],
                        SENTINEL1.bands if token == "s1" else SENTINEL2.bands,
                        window.grid(GRID),
                    )
                    for token, strip in strips.items()
                }
                if len(rows) < kept:
                    rows.append(store.keep(PatchId(ROI, window.number), cut))
    return [row | store.files() for row in rows]


def test_scenes_store_each_pixel_once_and_the_same_numbers(tmp_path: Path) -> None:
    rows, patches = stored("scenes", tmp_path / "scenes"), stored("patches", tmp_path / "patches")
    assert len(rows) == len(patches) == 6  # at rows 0 and 128, columns 0, 128 and 256
    assert {row["s2"] for row in rows} == {SCENE.as_posix()}
    for window, patch in zip(windows(GRID), patches, strict=True):
        for token in TOKENS:
            scene = read_stored(tmp_path / "scenes" / str(rows[0][token]))
            part = np.s_[:, window.top : window.top + PATCH_PX, window.left : window.left + PATCH_PX]
            single = read_stored(tmp_path / "patches" / str(patch[token]))
            assert scene.values.shape[1:] == (384, 512) and scene.values.dtype == single.values.dtype
            np.testing.assert_array_equal(scene.values[part], single.values)
            assert scene.geobox[part[1:]] == single.geobox


def test_unreadable_rows_have_no_data_and_others_are_stored(tmp_path: Path) -> None:
    assert len(stored("scenes", tmp_path, damaged=(0,))) == 3
    scene = read_stored(tmp_path / SCENE).values
    assert not scene[:, :128].any() and scene[:, 128:].all()  # the second row of patches begins at row 128
    assert np.isfinite(read_stored(tmp_path / str(SCENE).replace("_s2_", "_s1_")).values).all()


def test_scenes_of_a_region_without_patches_are_deleted(tmp_path: Path) -> None:
    assert stored("scenes", tmp_path, kept=0) == [] and not list(tmp_path.glob("scenes/*"))


def test_interrupted_scenes_are_not_stored(tmp_path: Path) -> None:
    def interrupted() -> None:
        with open_store("scenes", tmp_path, ROI, GRID, windows(GRID)) as store:
            store.take(0, {token: scene[:, :256] for token, scene in images().items()})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


PAINTING_GRID = GeoBox.from_bbox((0, 0, 640, 640), "EPSG:32632", resolution=10)


@pytest.fixture
def files(tmp_path: Path) -> TripletFiles:
    """Clear 0.1, cloudy 0.5, everywhere."""
    for name, value in (("clear", 1000), ("cloudy", 5000)):
        write_geotiff(tmp_path / f"{name}.tif", np.full((13, 64, 64), value, np.uint16), SENTINEL2.bands, PAINTING_GRID)
    return TripletFiles("place", None, tmp_path / "no.tif", tmp_path / "cloudy.tif", tmp_path / "clear.tif")


def test_perlin_is_a_mixture_of_clear_and_white_in_every_band(files: TripletFiles, tmp_path: Path) -> None:
    paint_triplet(files, tmp_path, PERLIN, CloudMapSettings(), None)
    stored = read_stored(tmp_path / "s2_cloudy" / "place.tif").values
    m = read_stored(tmp_path / "cloud_map" / "place.tif").values[0]
    assert np.abs(stored - np.rint((1 - m) * 1000 + m * 10_000)).max() <= 1
    assert np.array_equal(stored[0], stored[12])


def test_copy_with_a_map_of_ones_is_the_cloudy_image(files: TripletFiles, tmp_path: Path) -> None:
    paint_triplet(files, tmp_path, COPY, CloudMapSettings(mode="ones"), None)
    assert np.unique(read_stored(tmp_path / "s2_cloudy" / "place.tif").values).tolist() == [5000]


def test_a_patch_without_clear_image_is_refused(files: TripletFiles, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="place has no clear image to paint on"):
        paint_triplet(
            TripletFiles("place", None, files.sar, files.cloudy, None), tmp_path, PERLIN, CloudMapSettings(), None
        )
