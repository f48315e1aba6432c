from dataclasses import replace

import numpy as np
import pytest

from unclouded.clouds.detector import Detector
from unclouded.clouds.map import PRODUCT, cloud_map, map_rows
from unclouded.clouds.product_map import (
    BANDS,
    ProductMap,
    combined_probability,
    excess_over_ground,
    large_areas,
    survey_scene,
)
from unclouded.errors import InputError
from unclouded.sun import Sun

SIZE = 400
NAMES = (*BANDS, "B10")  # B10 holds the probability of the detector
GRASS = {"B01": 0.14, "B02": 0.10, "B04": 0.08, "B08": 0.3, "B11": 0.2, "B10": 0.05}
CLOUD = {"B01": 0.35, "B02": 0.35, "B04": 0.35, "B08": 0.5, "B11": 0.4, "B10": 0.95}
TOWN = {"B01": 0.16, "B02": 0.14, "B04": 0.15, "B08": 0.25, "B11": 0.25, "B10": 0.65}
HAZE = {"B01": 0.18, "B02": 0.145, "B04": 0.11, "B08": 0.3, "B11": 0.22, "B10": 0.4}
SHADE = {"B01": 0.12, "B02": 0.08, "B04": 0.05, "B08": 0.1, "B11": 0.06, "B10": 0.03}


def scene(*areas: tuple[slice, slice, dict[str, float]]) -> np.ndarray:
    image = np.empty((len(NAMES), SIZE, SIZE), np.float32)
    for rows, columns, values in ((slice(None), slice(None), GRASS), *areas):
        for band, name in zip(image, NAMES, strict=True):
            band[rows, columns] = values[name]
    return image


DETECTOR = Detector("stored", "1", ("B10",), lambda image, bands: image[bands.index("B10")])


def surveyed(image: np.ndarray, sun: Sun | None = None) -> ProductMap:
    return survey_scene(lambda top, bottom: image[:, top:bottom], image.shape[1], NAMES, lambda _: DETECTOR, sun)


def m_of(image: np.ndarray) -> np.ndarray:
    return surveyed(image).cloud_map(0, SIZE)


SQUARE = slice(100, 140), slice(100, 140)


@pytest.mark.parametrize("values", [CLOUD, HAZE])
def test_cloud_is_found_thin_cloud_over_dark_ground_too(values: dict[str, float]) -> None:
    m = m_of(scene((*SQUARE, values)))
    assert (m[104:136, 104:136] > 0.5).all()
    assert (m[:90] == 0).all() and (m[:, 150:] == 0).all()  # the rim ends within 100 m


def test_a_town_is_clear_where_the_detector_is_more_sure_than_in_thin_cloud() -> None:
    assert TOWN["B10"] > HAZE["B10"]
    assert not m_of(scene((*SQUARE, TOWN))).any()


@pytest.mark.parametrize("values", [{**CLOUD, "B10": 0.05}, {**CLOUD, "B01": 0.8, "B02": 0.8, "B10": 0.02}])
def test_bright_ground_such_as_snow_is_clear_unless_the_detector_finds_cloud(values: dict[str, float]) -> None:
    assert not m_of(scene((*SQUARE, values))).any()


def test_single_detections_are_clear() -> None:
    assert not m_of(scene((slice(100, 104), slice(100, 104), CLOUD))).any()


def test_an_overcast_scene_is_cloud_although_no_clear_ground_is_seen() -> None:
    assert (m_of(scene((slice(None), slice(None), CLOUD))) > 0.9).all()


def test_shadow_is_replaced_like_cloud_and_known_as_shadow() -> None:
    shadow = slice(100, 140), slice(200, 240)  # the cloud lies 100 px of 10 m to the west: 1000 m high
    found = surveyed(scene((*SQUARE, CLOUD), (*shadow, SHADE)), Sun(270, 45))
    m, is_shadow = found.cloud_map(0, SIZE), found.is_shadow(0, SIZE)
    assert (m[104:136, 204:236] > 0.9).all() and is_shadow[104:136, 204:236].all()
    assert not is_shadow[104:136, 104:136].any()
    assert np.array_equal(found.is_shadow(107, 121), is_shadow[107:121])
    assert np.array_equal(found.cloud_map(107, 121), m[107:121])


def test_thin_cloud_casts_no_shadow() -> None:
    found = surveyed(scene((*SQUARE, HAZE), (slice(100, 140), slice(200, 240), SHADE)))
    assert found.cloud_map(0, SIZE)[104:136, 104:136].all() and not found.shadow.any()


def test_between_cloud_and_shadow_no_clear_seam_is_left() -> None:
    m = m_of(scene((*SQUARE, CLOUD), (slice(100, 140), slice(140, 180), SHADE)))
    assert m[104:136, 104:176].min() > 0.5


def test_probability_and_brightness_add_up() -> None:
    pixels = {name: np.full((64, 64), value, np.float32) for name, value in GRASS.items()}
    even = np.full((64, 64), 0.5, np.float32)
    logit = -5.0  # no excess over the ground, which is the whole image
    excess = excess_over_ground(pixels, even > 0, "L1C")
    assert combined_probability(even, excess)[9, 9] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-4)


def test_thin_parts_belong_to_a_cloud_but_are_none_alone() -> None:
    probability = np.zeros((40, 40), np.float32)
    probability[5:10, 5:20] = 0.4
    assert not large_areas(probability).any()
    probability[5:10, 5:9] = 0.9
    assert large_areas(probability).sum() == 5 * 15


def test_a_map_in_strips_equals_that_of_the_whole_image() -> None:
    rng = np.random.default_rng(0)
    image = np.concatenate([scene((*SQUARE, CLOUD), (slice(300, 380), slice(0, 90), HAZE))] * 3, axis=1)
    image *= rng.uniform(0.97, 1.03, image.shape).astype(np.float32)
    image[0, 5, 7] = image[5, 900, 7] = np.nan
    whole = cloud_map(image, NAMES, PRODUCT, DETECTOR)
    strips = dict(map_rows(lambda a, b: image[:, a:b], image.shape[1], NAMES, PRODUCT, DETECTOR, strip_px=250))
    np.testing.assert_array_equal(np.concatenate(list(strips.values())), whole)
    assert list(np.argwhere(np.isnan(whole))[0]) == [900, 7]  # the detector reads B10 only


def test_a_detector_of_surroundings_is_asked_in_its_own_resolution() -> None:
    read = []

    def survey(rows, height, bands):  # type: ignore[no-untyped-def]
        read.append(rows(0, height).shape)
        return lambda top, image: image[bands.index("B10")]

    image = scene((*SQUARE, CLOUD))
    around = cloud_map(image, NAMES, PRODUCT, replace(DETECTOR, survey=survey))
    assert np.array_equal(around, cloud_map(image, NAMES, PRODUCT, DETECTOR))
    assert read == [image.shape]


def test_fault_09_a_missing_band_is_named() -> None:
    with pytest.raises(InputError, match="but B01 is missing"):
        cloud_map(scene()[1:], NAMES[1:], PRODUCT, DETECTOR)


def test_the_smallest_image_has_a_map() -> None:
    assert cloud_map(scene()[:, :1, :1], NAMES, PRODUCT, DETECTOR).tolist() == [[0]]


def test_dark_ground_of_weak_backscatter_is_water_and_no_shadow() -> None:
    shadow = slice(100, 140), slice(200, 240)
    image = scene((*SQUARE, CLOUD), (*shadow, SHADE))
    sar = np.stack([np.full((SIZE, SIZE), -9, np.float32), np.full((SIZE, SIZE), -15, np.float32)])
    assert (cloud_map(image, NAMES, PRODUCT, DETECTOR, sar=sar)[104:136, 204:236] > 0.9).all()
    sar[:, 96:144, 198:246] = np.array([-20, -26], np.float32)[:, None, None]
    assert not cloud_map(image, NAMES, PRODUCT, DETECTOR, sar=sar)[:, 180:].any()
    sar[:] = np.nan  # no radar: darkness decides
    assert (cloud_map(image, NAMES, PRODUCT, DETECTOR, sar=sar)[104:136, 204:236] > 0.9).all()
