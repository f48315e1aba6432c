"""Before and after in a notebook."""

import io
import re
from base64 import b64decode
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from products.viewer_example import GRID

from unclouded.errors import InputError
from unclouded.io.picture_tiff import write_picture
from unclouded.viewer import show

SMALL = GRID[:60, :80]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, grey in (("visual", 60), ("observed_visual", 220)):
        pixels = np.full((4, 60, 80), grey, np.uint8)
        pixels[3] = 255
        write_picture(tmp_path / f"{name}.tif", [(0, pixels)], {}, SMALL)
    return tmp_path


def test_a_notebook_shows_both_pictures_in_a_frame_without_access_to_it(folder: Path) -> None:
    shown = show(folder)
    html = shown._repr_html_()
    assert html.startswith("<iframe srcdoc=")
    assert 'sandbox="allow-scripts"' in html
    pictures = [b64decode(one) for one in re.findall(r"data:image/jpeg;base64,([^\"]+)", shown.page())]
    assert [np.asarray(Image.open(io.BytesIO(one))).mean().round() for one in pictures] == [60, 220]
    assert "://" not in re.sub(r"base64,[^\"]+", "", shown.page())


def test_the_result_of_a_prediction_is_shown_too(folder: Path) -> None:
    assert show(SimpleNamespace(folder=folder)).title == folder.name


def test_a_scene_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no pictures"):
        show(tmp_path)
