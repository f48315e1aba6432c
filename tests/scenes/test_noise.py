from pathlib import Path

import numpy as np
import pytest

from unclouded.errors import InputError
from unclouded.scenes.markup import Markup
from unclouded.scenes.noise import ThermalNoise

ALONG = "<line>0</line><pixel>0 10</pixel><{0}>100 200</{0}>"
BLOCK = """<noiseAzimuthVector><swath>{0}</swath><firstAzimuthLine>{1}</firstAzimuthLine>
<firstRangeSample>{2}</firstRangeSample><lastAzimuthLine>{3}</lastAzimuthLine><lastRangeSample>{4}</lastRangeSample>
<line>{5}</line><noiseAzimuthLut>{6}</noiseAzimuthLut></noiseAzimuthVector>"""


def noise(tmp_path: Path, *content: str) -> ThermalNoise:
    (tmp_path / "noise.xml").write_text(f"<noise>{''.join(content)}</noise>")
    return ThermalNoise.read(Markup.read(tmp_path / "noise.xml"))


def new(*blocks: str) -> str:
    return f"<noiseRangeVector>{ALONG.format('noiseRangeLut')}</noiseRangeVector>{''.join(blocks)}"


def test_the_old_format_knows_the_range_alone(tmp_path: Path) -> None:
    seen = noise(tmp_path, f"<noiseVector>{ALONG.format('noiseLut')}</noiseVector>").at(slice(0, 2), slice(4, 6))
    assert seen.tolist() == [[140, 150]] * 2


def test_the_new_format_multiplies_by_the_sweep_of_each_sub_swath(tmp_path: Path) -> None:
    blocks = (BLOCK.format("IW1", 0, 0, 3, 4, "0 2", "1 3"), BLOCK.format("IW2", 1, 5, 3, 10, "0 3", "10 10"))
    seen = noise(tmp_path, new(*blocks)).at(slice(0, 5), slice(3, 7))
    # Lines 0, 1, 2, 3 of IW1 have factors 1, 2, 3, 3; IW2 begins at line 1; line 4 belongs to no block.
    along = np.array([130, 140, 150, 160])
    expected = [[1, 1, 1, 1], [2, 2, 10, 10], [3, 3, 10, 10], [3, 3, 10, 10], [1, 1, 1, 1]]
    assert seen.tolist() == (along * expected).tolist()


def test_a_window_is_a_part_of_the_whole(tmp_path: Path) -> None:
    one = noise(tmp_path, new(BLOCK.format("IW1", 2, 3, 17, 9, "0 5 20", "1 2 4")))
    whole = one.at(slice(0, 30), slice(0, 12))
    np.testing.assert_array_equal(one.at(slice(3, 19), slice(5, 11)), whole[3:19, 5:11])


def test_noise_of_nothing_but_zeros_is_none(tmp_path: Path) -> None:
    zeros = "<noiseVector><line>0</line><pixel>0 40</pixel><noiseLut>0.0 0.0</noiseLut></noiseVector>"
    assert noise(tmp_path, zeros).is_zero and not noise(tmp_path, new()).is_zero


def test_damaged_noise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has lines and factors that do not match"):
        noise(tmp_path, new(BLOCK.format("IW1", 0, 0, 3, 4, "0 2", "1")))
    with pytest.raises(InputError, match="has no noiseVector with increasing lines"):
        noise(tmp_path)
