from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclouded.errors import InputError
from unclouded.scenes.lookup import Table, Vector
from unclouded.scenes.markup import Markup


def table(*vectors: tuple[int, list[float], list[float]]) -> Table:
    return Table(
        tuple(Vector(line, np.array(pixels, float), np.array(values, float)) for line, pixels, values in vectors)
    )


def test_values_are_linear_between_pixels_and_between_lines() -> None:
    seen = table((0, [0, 4], [10, 18]), (2, [0, 2, 4], [20, 24, 28])).at(slice(0, 3), slice(0, 5))
    assert seen.tolist() == [[10, 12, 14, 16, 18], [15, 17, 19, 21, 23], [20, 22, 24, 26, 28]]


def test_values_are_constant_beyond_the_table() -> None:
    seen = table((2, [2, 3], [1, 2]), (4, [2, 3], [3, 4])).at(slice(0, 7), slice(1, 5))
    assert seen[[0, 1, 2]].tolist() == [[1, 1, 2, 2]] * 3 and seen[[4, 6]].tolist() == [[3, 3, 4, 4]] * 2
    assert table((5, [0], [7])).at(slice(0, 2), slice(0, 2)).tolist() == [[7, 7], [7, 7]]


@given(st.integers(0, 30), st.integers(1, 12), st.integers(0, 30), st.integers(1, 12))
def test_a_window_is_a_part_of_the_whole(top: int, height: int, left: int, width: int) -> None:
    rng = np.random.default_rng(1)
    vectors = [(line, [0.0, 7.0, 20.0, 41.0], rng.uniform(1, 2, 4).tolist()) for line in (-3, 0, 6, 13, 40)]
    lines, pixels = slice(top, top + height), slice(left, left + width)
    whole = table(*vectors).at(slice(0, 42), slice(0, 42))
    np.testing.assert_array_equal(table(*vectors).at(lines, pixels), whole[lines, pixels])


def read(tmp_path: Path, *vectors: str) -> Table:
    (tmp_path / "a.xml").write_text(f"<a>{''.join(f'<v>{vector}</v>' for vector in vectors)}</a>")
    return Table.read(Markup.read(tmp_path / "a.xml"), "v", "lut")


def test_a_table_is_read_from_an_annotation(tmp_path: Path) -> None:
    seen = read(tmp_path, "<line>0</line><pixel>0 40</pixel><lut>1e0 3.0</lut>")
    assert seen.at(slice(0, 1), slice(0, 41, 1))[0, 20] == 2 and not seen.is_zero
    assert read(tmp_path, "<line>0</line><pixel>0 40</pixel><lut>0 0</lut>").is_zero


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([], "has no v with increasing lines"),
        (["<line>3</line><pixel>0</pixel><lut>1</lut>"] * 2, "has no v with increasing lines"),
        (["<line>0</line><pixel>0 40</pixel><lut>1</lut>"], "has pixels and values that do not match"),
        (["<line>0</line><pixel>40 0</pixel><lut>1 2</lut>"], "has pixels and values that do not match"),
        (["<line>0</line><pixel/><lut/>"], "has pixels and values that do not match"),
        (["<line>0</line><pixel>0 a</pixel><lut>1 2</lut>"], "has '0 a' for pixel, expected numbers"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, vectors: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, *vectors)
