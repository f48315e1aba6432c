"""Tests of ``unclouded.sentinel.plausibility``: order and unit of bands are judged by their spectra."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.sensors import SENTINEL2, SENTINEL2_L2A
from unclouded.sentinel.optical import MAYBE_OFFSET, open_optical
from unclouded.sentinel.plausibility import ORDERS, check_optical_plausibility, find_alternative, spectral_model

BANDS = SENTINEL2.bands


def spectra(count: int = 500, bands: tuple[str, ...] = BANDS) -> NDArray[np.float32]:
    """Pixels (pixel, band) drawn from the clear components of the model: B10 below 0.01."""
    rng, model = np.random.default_rng(0), spectral_model()
    clear = np.flatnonzero(np.exp(model.means[:, BANDS.index("B10")]) < 0.02)
    picked = rng.choice(clear, count, p=model.weights[clear] / model.weights[clear].sum())
    logs = [rng.multivariate_normal(model.means[one], model.covariances[one]) for one in picked]
    reflectance = np.maximum(np.exp(logs) - 0.01, 1e-4)
    return reflectance[:, [BANDS.index(band) for band in bands]].astype(np.float32)


def stored_in(order: tuple[str, ...], pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels of all bands as a file in another order has them."""
    return pixels[:, [BANDS.index(band) for band in order]]


def judged(pixels: NDArray[np.float32], bands: tuple[str, ...] = BANDS, ordered: bool = False) -> tuple[str, ...]:
    return check_optical_plausibility(Path("a.tif"), np.ascontiguousarray(pixels.T), bands, ordered=ordered)


def refused(pixels: NDArray[np.float32], **options: bool) -> str:
    with pytest.raises(InputError) as error:
        judged(pixels, **options)
    return str(error.value)


def test_fault_09_spectra_in_their_own_order_are_taken_in_silence() -> None:
    assert judged(spectra()) == ()


@pytest.mark.parametrize("name", [name for name in ORDERS if name not in ("B10 last", "red and blue swapped")])
def test_fault_09_orders_that_tools_write_are_refused_by_name(name: str) -> None:
    message = refused(stored_in(ORDERS[name], spectra()))
    assert f"look like {' '.join(ORDERS[name])} ({name}), expected {' '.join(BANDS)}; reorder them" in message
    assert "\n" not in message


def test_fault_09_an_order_that_no_search_finds_is_still_in_doubt() -> None:
    order = ("B08", "B12", "B03", "B10", "B01", "B8A", "B05", "B02", "B11", "B06", "B04", "B09", "B07")
    (remark,) = judged(stored_in(order, spectra()))
    assert "their numbers are like no spectrum of Sentinel-2 in the order B01 B02" in remark
    assert judged(stored_in(order, spectra()), ordered=True) == ()


def test_fault_09_the_command_of_the_message_reorders_the_bands() -> None:
    order = ORDERS["names sorted as text"]
    words = refused(stored_in(order, spectra())).split("'")[1].split()
    picked = [int(word) - 1 for word in words if word.isdigit()]
    assert [order[i] for i in picked] == list(BANDS)


def test_fault_09_two_bands_that_changed_places_are_named() -> None:
    swapped = list(BANDS)
    swapped[3], swapped[10] = "B10", "B04"
    assert "band 4 looks like B10, band 11 looks like B04" in refused(stored_in(tuple(swapped), spectra()))


def test_the_order_of_named_bands_is_not_checked_but_their_unit_is() -> None:
    assert judged(stored_in(BANDS[::-1], spectra()), ordered=True) == ()
    assert "are reflectance x 2000, expected reflectance x 10000" in refused(spectra() / 5, ordered=True)


@pytest.mark.parametrize(("factor", "unit"), [(0.1, "x 1000"), (0.2, "x 2000"), (0.01, "per cent")])
def test_fault_17_numbers_that_are_too_small_are_refused_with_their_unit(factor: float, unit: str) -> None:
    assert unit in refused(spectra() * np.float32(factor))


def test_fault_17_reflectance_above_1_6_in_most_of_a_band_is_none() -> None:
    assert "median reflectance of 2 in B01, expected at most 1.6" in refused(np.full((50, 13), 2.0, np.float32))


def test_fault_16_an_offset_that_is_applied_twice_leaves_negative_bands() -> None:
    assert "the offset is applied twice, or these numbers never had it" in refused(spectra() - np.float32(0.1))


def test_fault_16_an_offset_that_was_subtracted_and_cut_off_is_doubted() -> None:
    (remark,) = judged(np.maximum(spectra() - np.float32(0.1), np.float32(1e-4)))
    assert "of B10 has a reflectance of 0 or 0.0001: an offset seems to have been subtracted" in remark


def test_noise_is_like_no_spectrum_and_too_few_pixels_are_not_checked() -> None:
    noise = np.random.default_rng(1).uniform(0.02, 0.3, (500, 13)).astype(np.float32)
    (remark,) = judged(noise)
    assert "like no spectrum of Sentinel-2" in remark and judged(noise, ordered=True) == ()
    assert judged(stored_in(BANDS[::-1], spectra(30))) == ()


def test_an_alternative_has_its_gain_in_plausibility() -> None:
    found = find_alternative(stored_in(BANDS[::-1], spectra()), BANDS)
    assert found is not None
    assert (found.order, found.order_name, found.unit) == (BANDS[::-1], "reversed", None)
    assert found.gain > 8


def write(path: Path, pixels: NDArray[np.float32], offset: int = 0, names: tuple[str, ...] | None = None) -> Path:
    stored = np.rint(pixels.T.reshape(-1, 20, 25) * 10_000).astype(np.uint16) + np.uint16(offset)
    grid = GeoBox.from_bbox((600_000, 4_900_000, 600_250, 4_900_200), "EPSG:32632", resolution=10)
    write_geotiff(path, stored, names or ("",) * len(stored), grid, nodata=0)
    return path


def test_fault_09_a_file_without_names_is_refused_and_one_with_names_is_read(tmp_path: Path) -> None:
    reversed_bands = stored_in(BANDS[::-1], spectra())
    with (
        pytest.raises(InputError, match="reversed"),
        open_optical(write(tmp_path / "a.tif", reversed_bands)),
    ):
        pass
    with open_optical(write(tmp_path / "b.tif", spectra(), names=BANDS)) as scene:
        assert scene.remarks == ()


def test_fault_16_offsets_that_do_not_fit_the_numbers_are_refused_or_doubted(tmp_path: Path) -> None:
    plain, raised = write(tmp_path / "a.tif", spectra()), write(tmp_path / "b.tif", spectra(), 1000)
    with pytest.raises(InputError, match="offset is applied twice"), open_optical(plain, offset=-1000):
        pass
    with pytest.raises(InputError, match="expected an offset of 0 or below"):
        open_optical(plain, offset=1000).__enter__()
    with open_optical(raised) as scene:
        assert scene.remarks == (MAYBE_OFFSET,)
    with open_optical(raised, offset=-1000) as scene:
        assert scene.remarks == ()
    with open_optical(raised, offset=0) as scene:
        assert "carry an offset of 1000 that was not removed" in scene.remarks[0]
    with pytest.raises(InputError, match="set --offset -1000"), open_optical(raised, require_offset=True):
        pass


def test_fault_09_surface_reflectance_has_an_order_too() -> None:
    bands = SENTINEL2_L2A.bands
    air = np.array([0.0877, 0.057, 0.034, 0.017, 0.0136, 0.0111, 0.0088, 0.0069, 0.0059, 0.0041, 0.0005, 0.0001])
    pixels = np.maximum(spectra(bands=bands) - 0.7 * air.astype(np.float32), 0.002).astype(np.float32)
    assert judged(pixels, bands) == ()
    text = tuple(band for band in ORDERS["names sorted as text"] if band != "B10")
    with pytest.raises(InputError, match="names sorted as text"):
        judged(pixels[:, [bands.index(band) for band in text]], bands)


def test_fault_09_real_images_are_taken_in_their_order_and_refused_in_that_of_sorted_text(samples: Path) -> None:
    text = [BANDS.index(band) for band in ORDERS["names sorted as text"]]
    for path in sorted((samples / "triplets").glob("s2_*/*.tif")):
        stored = read_stored(path).values.reshape(13, -1)[:, ::131].astype(np.float32) / 10_000
        assert check_optical_plausibility(path, stored, BANDS, ordered=False) == ()
        with pytest.raises(InputError, match="names sorted as text"):
            check_optical_plausibility(path, stored[text], BANDS, ordered=False)
