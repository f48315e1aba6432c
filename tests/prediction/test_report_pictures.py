import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from unclouded.prediction.report_pictures import CLOUD, SURE, coloured, photograph, stretch_of


def opened(address: str, kind: str) -> Image.Image:
    head, body = address.split(",")
    assert head == f"data:image/{kind};base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_the_stretch_runs_from_the_darkest_to_the_brightest_clear_ground() -> None:
    ground = np.linspace(0.0, 0.2, 1001, dtype=np.float32)[None]
    low, high = stretch_of(ground)
    assert math.isclose(low, 0.001, abs_tol=1e-6)
    assert math.isclose(high, 0.198, abs_tol=1e-6)
    assert stretch_of(np.zeros((3, 0), np.float32)) == (0.0, 0.3)
    assert stretch_of(np.full((3, 9), 0.1, np.float32))[1] == pytest.approx(0.2)


def test_a_photograph_is_black_white_or_grey_where_it_should_be() -> None:
    image = np.zeros((3, 24, 24), np.float32)
    image[:, :, 8:16], image[:, :, 16:] = 0.3, math.nan
    pixels = np.asarray(opened(photograph(image, (0.0, 0.3)), "jpeg"))
    assert pixels.shape == (24, 24, 3)
    for column, level in ((3, 0), (12, 255), (20, 140)):
        assert abs(int(pixels[12, column].mean()) - level) < 6


def test_a_map_has_the_colours_of_its_scale() -> None:
    values = np.array([[0.0, 0.5, 1.0, math.nan]], np.float32)
    pixels = np.asarray(opened(coloured(values, SURE), "png").convert("RGB"))[0].tolist()
    assert pixels == [[126, 34, 72], [226, 138, 76], [222, 232, 236], [140, 140, 140]]
    assert np.asarray(opened(coloured(values, CLOUD), "png").convert("RGB"))[0, 0].tolist() == [24, 40, 56]
