import numpy as np
import pytest

from unclouded.prediction.windows import Window, bounding, rows_of, windows_in


def test_lines_and_windows_cover_a_scene_once() -> None:
    seen = np.zeros((70, 50), int)
    for top, bottom in rows_of(70, 32):
        for window in windows_in(top, bottom, 50, 32):
            seen[window.within(Window(0, 0, 70, 50))] += 1
    assert (seen == 1).all()
    assert rows_of(70, 32) == [(0, 32), (32, 64), (64, 70)]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (Window(100, 100, 200, 200), Window(12, 12, 288, 288)),
        (Window(0, 300, 100, 333), Window(0, 212, 188, 333)),  # the scene ends at column 333
        (Window(101, 102, 103, 104), Window(12, 12, 192, 192)),  # 13, 14, 191, 192 to multiples of 4, outwards
    ],
)
def test_a_window_grows_by_its_margin_to_multiples_of_4_as_far_as_the_scene_goes(
    window: Window, expected: Window
) -> None:
    assert window.grown(88, 4, (444, 333)) == expected


def test_a_bounding_window_lies_in_the_scene() -> None:
    where = np.zeros((10, 20), bool)
    where[3, 4] = where[5, 9] = True
    assert bounding(where, Window(100, 200, 110, 220)) == Window(103, 204, 106, 210)
    assert bounding(where, Window(100, 200, 110, 220)).pixels == 18
    assert bounding(np.zeros((10, 20), bool), Window(0, 0, 10, 20)) is None
