import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from unclouded.stretch import Stretch, photograph, stretch_of


def opened(address: str, kind: str) -> Image.Image:
    head, body = address.split(",")
    assert head == f"data:image/{kind};base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_the_stretch_runs_from_the_darkest_to_the_brightest_clear_ground() -> None:
    ground = np.linspace(0.0, 0.2, 1001, dtype=np.float32)[None]
    stretch = stretch_of(ground)
    assert stretch.black == pytest.approx((0.001,), abs=1e-6)
    assert stretch.span == pytest.approx(0.197, abs=1e-6)
    assert stretch_of(np.zeros((3, 0), np.float32)) == Stretch((0.0, 0.0, 0.0), 0.3)
    assert stretch_of(np.full((3, 9), 0.1, np.float32)).span == 0.1


def test_the_haze_of_a_band_is_shown_black_and_all_bands_have_the_widest_span() -> None:
    ground = np.linspace(0.0, 0.2, 1001, dtype=np.float32)
    stretch = stretch_of(np.stack([ground, ground / 2, ground + 0.1]))
    assert stretch.black == pytest.approx((0.001, 0.0005, 0.101), abs=1e-6)
    assert stretch.span == pytest.approx(0.197, abs=1e-6)


def test_a_photograph_is_black_white_or_grey_where_it_should_be() -> None:
    image = np.zeros((3, 24, 24), np.float32)
    image[:, :, 8:16], image[:, :, 16:] = 0.3, math.nan
    pixels = np.asarray(opened(photograph(image, Stretch((0.0, 0.0, 0.0), 0.3)), "jpeg"))
    assert pixels.shape == (24, 24, 3)
    for column, level in ((3, 0), (12, 255), (20, 140)):
        assert abs(int(pixels[12, column].mean()) - level) < 6
