"""Radar as processors deliver it: gamma0, bursts, COG_SAFE, new satellites, one polarisation."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from products.fixtures import RADAR_GRID, RADAR_SHAPE
from products.radar_product import RadarProduct, write_radar_product

from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.sensors import SENTINEL1
from unclouded.sentinel.radar import open_radar
from unclouded.sentinel.radar_delivery import (
    MIDDLE_DEG,
    NO_ANGLE,
    SINGLE,
    VH_BELOW_VV_DB,
    Delivery,
    IncidenceAngle,
    delivery_of,
)

GRID = GeoBox((60, 60), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")
NUMBERS = np.arange(np.prod(RADAR_SHAPE), dtype=np.uint16).reshape(RADAR_SHAPE) % 400 + 100


def sigma0_db() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    vv = rng.uniform(-14, -8, GRID.shape)
    return np.stack([vv, vv - rng.uniform(5, 8, GRID.shape)]).astype(np.float32)


def angles_deg(grid: GeoBox = GRID) -> NDArray[np.float32]:
    return np.tile(np.linspace(30, 45, grid.shape[1], dtype=np.float32), (grid.shape[0], 1))


def gamma0_db() -> NDArray[np.float32]:
    return sigma0_db() - 10 * np.log10(np.cos(np.radians(angles_deg())))


def opened(path: Path, grid: GeoBox = GRID, **options: Any) -> tuple[NDArray[np.float32], tuple[str, ...], str]:
    with open_radar(path, grid, **options) as scene:
        return scene.read(0, grid.shape[0]), scene.remarks, scene.processing


def write_folder(
    folder: Path, names: dict[str, str], values: NDArray[np.float32], grid: GeoBox = GRID, **options: Any
) -> Path:
    folder.mkdir(exist_ok=True)
    for band, name in names.items():
        write_geotiff(folder / name, values[[SENTINEL1.bands.index(band)]], ("stored",), grid, **options)
    return folder


@pytest.mark.parametrize("radians", [False, True])
def test_gamma0_with_the_incidence_angle_is_sigma0(tmp_path: Path, radians: bool) -> None:
    write_geotiff(tmp_path / "s1.tif", gamma0_db(), SENTINEL1.bands, GRID)
    angles = np.radians(angles_deg()) if radians else angles_deg()
    write_geotiff(tmp_path / "angle.tif", angles.astype(np.float32)[None], ("angle",), GRID)
    values, remarks, processing = opened(tmp_path / "s1.tif", radiometry="gamma0", incidence=tmp_path / "angle.tif")
    np.testing.assert_allclose(values, sigma0_db(), atol=0.01)
    assert NO_ANGLE not in remarks
    assert processing.endswith("gamma0 to sigma0 by the incidence angle")


def test_gamma0_without_the_angle_is_within_half_a_db(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "s1.tif", gamma0_db(), SENTINEL1.bands, GRID)
    values, remarks, _ = opened(tmp_path / "s1.tif", radiometry="gamma0")
    assert NO_ANGLE in remarks
    assert np.abs(values - sigma0_db()).max() < 0.5
    for edge in (29.1, 46.0):
        assert abs(10 * np.log10(np.cos(np.radians(edge)) / np.cos(np.radians(MIDDLE_DEG)))) < 0.505


def test_hyp3_folders_state_power_and_gamma0_and_bring_their_angle(tmp_path: Path) -> None:
    stem = "S1A_IW_20210907T170650_DVP_RTC10_G_gpuned_5A1B"
    power = (10 ** (gamma0_db() / 10)).astype(np.float32)
    folder = write_folder(tmp_path / "hyp3", {band: f"{stem}_{band}.tif" for band in SENTINEL1.bands}, power)
    write_geotiff(folder / f"{stem}_inc_map_ell.tif", np.radians(angles_deg())[None], ("angle",), GRID)
    write_geotiff(folder / f"{stem}_inc_map.tif", np.full((1, *GRID.shape), 0.9, np.float32), ("local",), GRID)
    values, remarks, _ = opened(folder)
    np.testing.assert_allclose(values, sigma0_db(), atol=0.01)
    assert not any("incidence" in remark for remark in remarks)


def test_bursts_of_opera_at_30_m_are_warped_and_joined(tmp_path: Path) -> None:
    grid = GeoBox((30, 30), Affine(30, 0, 499_900, 0, -30, 5_000_100), "EPSG:32632")
    west, east = grid[:, :16], grid[:, 14:]
    far = GeoBox((16, 16), Affine(30, 0, 520_000, 0, -30, 5_000_100), "EPSG:32632")
    folder = tmp_path / "opera"
    power = np.full((2, 30, 30), 0.1, np.float32)
    power[1] = 0.02
    bursts = (("135518-IW1", west), ("135518-IW2", east), ("135519-IW1", far))
    for number, part in bursts:
        stem = f"OPERA_L2_RTC-S1_T064-{number}_20210907T170650Z_20210908T170650Z_S1A_30_v1.0"
        names = {band: f"{stem}_{band}.tif" for band in SENTINEL1.bands}
        write_folder(folder, names, power[:, : part.shape[0], : part.shape[1]], part, nodata=float("nan"))
    values, remarks, processing = opened(folder, align=True)
    expected = 10 * np.log10(np.array([0.1, 0.02]) * np.cos(np.radians(MIDDLE_DEG)))
    np.testing.assert_allclose(values, np.broadcast_to(expected[:, None, None], values.shape), atol=0.01)
    assert "2 images" in processing
    assert NO_ANGLE in remarks
    with pytest.raises(InputError, match=r"has .*135518-IW1.* and .* for VV, expected one file"):
        opened(folder)


def test_names_state_unit_and_radiometry() -> None:
    assert delivery_of("iw-vv.rtc.tiff") == Delivery("Planetary Computer RTC", "linear", "gamma0")
    assert delivery_of("S1B_IW_20210401T052623_DVR_RTC30_G_sduned_ABCD_VH.tif") == Delivery("HyP3 RTC", "dB", "sigma0")
    assert delivery_of("s1_vv.tif") is None
    with pytest.raises(InputError, match=r"is amplitude by its name \(HyP3\), expected power or dB"):
        delivery_of("S1B_IW_20210401T052623_DVR_RTC30_G_gauned_ABCD_VH.tif")


def test_a_statement_of_the_user_counts_before_the_name(tmp_path: Path) -> None:
    names = {"VV": "iw-vv.rtc.tiff", "VH": "iw-vh.rtc.tiff"}
    folder = write_folder(tmp_path / "pc", names, sigma0_db())
    values, _, _ = opened(folder, units="dB", radiometry="sigma0")
    np.testing.assert_array_equal(values, sigma0_db())
    with pytest.raises(InputError, match="expected linear power; if this is dB, set --units dB"):
        opened(folder)


def test_impossible_angles_are_refused_in_one_line(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "s1.tif", gamma0_db(), SENTINEL1.bands, GRID)
    wrong = {
        "cosine": np.cos(np.radians(angles_deg())) * 0.1,
        "percent": angles_deg() * 100,
        "empty": np.full(GRID.shape, np.nan),
        "two": np.stack([angles_deg(), angles_deg()]),
    }
    for name, values in wrong.items():
        bands = np.atleast_3d(values.astype(np.float32)).reshape(-1, *GRID.shape)
        write_geotiff(tmp_path / f"{name}.tif", bands, tuple(map(str, range(len(bands)))), GRID)
        expected = "has 2 bands, expected one" if name == "two" else "degrees, expected incidence angles of 29 to 46"
        with pytest.raises(InputError, match=expected) as error:
            opened(tmp_path / "s1.tif", radiometry="gamma0", incidence=tmp_path / f"{name}.tif")
        assert "\n" not in str(error.value)
    write_geotiff(tmp_path / "angle.tif", angles_deg()[None], ("angle",), GRID)
    with pytest.raises(InputError, match="is sigma0, which needs no incidence angle; leave it out"):
        opened(tmp_path / "s1.tif", incidence=tmp_path / "angle.tif")


def test_an_angle_on_another_grid_is_interpolated(tmp_path: Path) -> None:
    coarse = GeoBox((12, 12), Affine(100, 0, 499_700, 0, -100, 5_000_300), "EPSG:32632")
    write_geotiff(tmp_path / "angle.tif", angles_deg(coarse)[None], ("angle",), coarse)
    angle = IncidenceAngle.read(tmp_path / "angle.tif")
    centre = np.degrees(np.arccos(angle.on(GRID)))[30, [0, 30, 59]]
    places = (500_005 + 10 * np.array([0, 30, 59]) - 499_750) / 100
    np.testing.assert_allclose(centre, 30 + 15 * places / 11, atol=0.05)


# One polarisation.


def test_vv_alone_is_reported_and_used(tmp_path: Path) -> None:
    vv = sigma0_db()[:1]
    write_geotiff(tmp_path / "s1_VV.tif", vv, ("stored",), GRID)
    folder = write_folder(tmp_path / "only", {"VV": "s1_VV.tif"}, sigma0_db())
    for path in (tmp_path / "s1_VV.tif", folder):
        values, remarks, _ = opened(path, allow_single=True)
        np.testing.assert_allclose(values, np.concatenate([vv, vv - VH_BELOW_VV_DB]))
        assert SINGLE in remarks
        with pytest.raises(InputError):
            opened(path)
    write_geotiff(tmp_path / "s1_VH.tif", vv, ("stored",), GRID)
    with pytest.raises(InputError, match="has one band, VH, expected VV and VH, or VV alone"):
        opened(tmp_path / "s1_VH.tif", allow_single=True)


def test_a_product_of_vv_alone_is_geocoded_and_vh_estimated(tmp_path: Path) -> None:
    folder = write_radar_product(tmp_path, {"VV": NUMBERS}, RadarProduct())
    both = write_radar_product(tmp_path / "both", {"VV": NUMBERS, "VH": NUMBERS}, RadarProduct())
    values, remarks, _ = opened(folder, RADAR_GRID, allow_single=True)
    expected, _, _ = opened(both, RADAR_GRID)
    np.testing.assert_array_equal(values[0], expected[0])
    np.testing.assert_allclose(values[1], values[0] - VH_BELOW_VV_DB)
    assert SINGLE in remarks
    with pytest.raises(InputError, match="with 0 images of VH"):
        opened(folder, RADAR_GRID)


# Products of the Copernicus Data Space and of new satellites.


def test_a_cog_safe_equals_the_product_as_folder_and_zip(tmp_path: Path, radar_product: Callable[..., Path]) -> None:
    plain, _, _ = opened(radar_product("plain"), RADAR_GRID)
    folder = radar_product("cog", cog=True)
    assert folder.name.endswith("_COG.SAFE")
    assert len(list(folder.glob("measurement/*-cog.tiff"))) == 2
    with zipfile.ZipFile(tmp_path / "cog.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    for path in (folder, tmp_path / "cog.zip"):
        np.testing.assert_array_equal(opened(path, RADAR_GRID)[0], plain)
    image = next(folder.glob("measurement/*-cog.tiff"))
    image.write_bytes(image.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"-cog.tiff has [\d,]+ bytes, not the"):
        opened(folder, RADAR_GRID)


@pytest.mark.parametrize(("mission", "orbit"), [("S1C", "Ascending"), ("S1D", "Descending")])
def test_new_satellites_are_read_and_their_pass_is_noted(
    radar_product: Callable[..., Path], mission: str, orbit: str
) -> None:
    with open_radar(radar_product(mission=mission, orbit=orbit), RADAR_GRID) as scene:
        assert str(scene.identity).startswith(f"{mission}_IW_GRDH")
        assert scene.metadata()["orbit"] == orbit.lower()
        assert np.isfinite(scene.read(0, 120)).all()


def test_gamma0_is_refused_for_a_product(radar_product: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="is a product, which is calibrated to sigma0; leave gamma0 out"):
        opened(radar_product(), RADAR_GRID, radiometry="gamma0")


def test_the_tables_of_real_products_hold_the_cosine_of_the_angle(samples: Path, tmp_path: Path) -> None:
    archives = sorted((samples / "safe").glob("S1A_IW_GRDH*.zip"))
    assert len(archives) == 3
    for archive in archives:
        with zipfile.ZipFile(archive) as files:
            names = files.namelist()
            table = next(name for name in names if re.search(r"calibration-s1a-iw-grd-vv.*\.xml$", name))
            points = next(name for name in names if re.search(r"annotation/s1a-iw-grd-vv[^/]*\.xml$", name))
            calibration, annotation = files.read(table).decode(), files.read(points).decode()
        pixels, sigma, gamma = (
            np.array(re.search(rf"<{name} count=\"\d+\">([^<]*)<", calibration)[1].split(), float)  # type: ignore[index]
            for name in ("pixel", "sigmaNought", "gamma")
        )
        grid = re.findall(
            r"<line>(\d+)</line>\s*<pixel>(\d+)</pixel>.*?<incidenceAngle>([^<]+)</incidenceAngle>", annotation, re.S
        )
        first = np.array([(float(pixel), float(angle)) for line, pixel, angle in grid if line == grid[0][0]])
        angle = np.interp(pixels, first[:, 0], first[:, 1])
        difference_db = 20 * np.log10(gamma / sigma) - 10 * np.log10(np.cos(np.radians(angle)))
        assert np.abs(difference_db).max() < 0.1
