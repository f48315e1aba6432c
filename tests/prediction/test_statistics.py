import numpy as np

from unclouded.prediction.statistics import SAMPLE_PX, sample_windows
from unclouded.prediction.windows import Window


def test_a_small_scene_is_its_own_sample() -> None:
    assert sample_windows(np.ones((1280, 1280), bool)) == [Window(0, 0, 1280, 1280)]


def test_a_scene_without_data_has_no_sample() -> None:
    assert sample_windows(np.zeros((100, 100), bool)) == []
    assert sample_windows(np.zeros((3000, 3000), bool)) == []


def test_a_large_scene_has_one_window_in_the_middle_of_each_of_25_cells() -> None:
    sample = sample_windows(np.ones((2560, 5120), bool))
    assert len(sample) == 25
    assert sample[0] == Window(128, 384, 128 + SAMPLE_PX, 384 + SAMPLE_PX)  # cells of 512 x 1024 px
    assert sample[-1] == Window(4 * 512 + 128, 4 * 1024 + 384, 4 * 512 + 384, 4 * 1024 + 640)


def test_a_narrow_scene_has_fewer_cells_across_than_along() -> None:
    sample = sample_windows(np.ones((20_000, 300), bool))
    assert len(sample) == 5
    assert {window.shape for window in sample} == {(SAMPLE_PX, SAMPLE_PX)}


def test_windows_go_where_the_data_is_and_cells_without_any_are_left_out() -> None:
    has_data = np.zeros((2560, 2560), bool)
    has_data[:, 1200:] = True  # cells of 512 px: two columns are empty, of the third 336 px are not
    sample = sample_windows(has_data)
    assert len(sample) == 15
    assert sample[0].left == 1200 or has_data[sample[0].within(Window(0, 0, 2560, 2560))].all()


def test_the_same_scene_has_the_same_sample_at_multiples_of_4() -> None:
    has_data = np.random.default_rng(0).random((2000, 2002)) < 0.9
    sample = sample_windows(has_data)
    assert sample == sample_windows(has_data)
    assert all(window.top % 4 == window.left % 4 == 0 for window in sample)
    assert all(window.bottom <= 2000 and window.right <= 2002 for window in sample)
