import threading
import tracemalloc
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from unclouded.io.strips import row_ranges
from unclouded.prediction.tiling import (
    SAMPLE_PX,
    StripCheckpoint,
    Window,
    bounding_window,
    prefetch,
    sample_windows,
    windows_in,
    work_folder,
)


def test_lines_and_windows_cover_a_scene_once() -> None:
    seen = np.zeros((70, 50), int)
    for top, bottom in row_ranges(70, 32):
        for window in windows_in(top, bottom, 50, 32):
            seen[window.within(Window(0, 0, 70, 50))] += 1
    assert (seen == 1).all()
    assert row_ranges(70, 32) == [(0, 32), (32, 64), (64, 70)]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (Window(100, 100, 200, 200), Window(12, 12, 288, 288)),
        (Window(0, 300, 100, 333), Window(0, 212, 188, 333)),  # the scene ends at column 333
        (Window(101, 102, 103, 104), Window(12, 12, 192, 192)),  # 13, 14, 191, 192 to multiples of 4, outwards
    ],
)
def test_a_window_grows_by_its_margin_to_multiples_of_4_within_the_scene(window: Window, expected: Window) -> None:
    assert window.grown(88, 4, (444, 333)) == expected


def test_a_bounding_window_lies_in_the_scene() -> None:
    where = np.zeros((10, 20), bool)
    where[3, 4] = where[5, 9] = True
    assert bounding_window(where, Window(100, 200, 110, 220)) == Window(103, 204, 106, 210)
    assert bounding_window(where, Window(100, 200, 110, 220)).pixels == 18
    assert bounding_window(np.zeros((10, 20), bool), Window(0, 0, 10, 20)) is None


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


def test_sample_windows_follow_the_data_and_empty_cells_are_left_out() -> None:
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


def test_a_strip_is_read_as_it_was_written(tmp_path: Path) -> None:
    store, strip = (
        StripCheckpoint(tmp_path, "rows"),
        {"a": np.arange(6, dtype=np.uint16).reshape(1, 2, 3), "b": np.ones(2)},
    )
    assert store.get(64) is None
    store.put(64, strip)
    found = store.get(64)
    assert found is not None
    assert list(found) == ["a", "b"]
    assert np.array_equal(found["a"], strip["a"]) and found["a"].dtype == np.uint16
    assert store.holds(64) and not store.holds(0)


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_changed_or_truncated_strip_counts_as_missing(tmp_path: Path, position: int) -> None:
    StripCheckpoint(tmp_path, "rows").put(0, {"a": np.zeros((1, 8, 8))})
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    assert StripCheckpoint(tmp_path, "rows").get(0) is None  # in the next process
    path.write_bytes(content[:20])
    assert StripCheckpoint(tmp_path, "rows").get(0) is None


def test_some_arrays_of_a_strip_are_read_without_the_others(tmp_path: Path) -> None:
    store = StripCheckpoint(tmp_path, "rows")
    store.put(0, {"a": np.ones(2), "large": np.zeros(1 << 20)})
    tracemalloc.start()
    try:
        found = store.get(0, {"a"})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found is not None and found["a"].tolist() == [1, 1] and list(found) == ["a"] and peak < 1 << 20


def test_a_strip_that_is_deleted_during_the_run_is_missing(tmp_path: Path) -> None:
    store = StripCheckpoint(tmp_path, "rows")
    store.put(0, {"a": np.ones(2)})
    next(tmp_path.iterdir()).unlink()
    assert not store.holds(0) and store.get(0) is None


def test_a_strip_is_written_and_read_without_a_second_copy_in_memory(tmp_path: Path) -> None:
    """Strips of a wide scene have hundreds of MB, and one is written while the next one is predicted."""
    store, strip = StripCheckpoint(tmp_path, "rows"), {"a": np.zeros((1, 64, 1 << 20), np.uint8)}
    tracemalloc.start()
    try:
        store.put(0, strip)
        _, writing = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert store.holds(0)
        found = store.get(0)
        _, reading = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found is not None and writing < 0.8 * strip["a"].nbytes and reading < 1.5 * strip["a"].nbytes


def test_strips_of_another_key_are_deleted(tmp_path: Path) -> None:
    StripCheckpoint(work_folder(tmp_path, "a" * 64), "rows").put(0, {"a": np.zeros(1)})
    assert StripCheckpoint(work_folder(tmp_path, "a" * 64), "rows").holds(0)
    other = work_folder(tmp_path, "b" * 64)
    assert list(tmp_path.iterdir()) == [other]


def test_the_next_item_is_loaded_while_one_is_in_use() -> None:
    begun = {item: threading.Event() for item in "abc"}

    with ThreadPoolExecutor(1) as pool:

        def load(item: str) -> "Future[str]":
            return pool.submit(lambda: (begun[item].set(), item.upper())[1])

        loading = prefetch(list("abc"), load)
        assert next(loading) == ("a", "A")
        assert begun["b"].wait(60) and not begun["c"].is_set()
        assert list(loading) == [("b", "B"), ("c", "C")]


def test_prefetching_no_items_loads_nothing() -> None:
    assert list(prefetch([], lambda _: pytest.fail("loaded"))) == []
