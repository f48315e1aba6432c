import threading
import tracemalloc
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from unclouded.prediction.streaming import StripStore, ahead, work_folder


def test_a_strip_comes_back_as_it_was_put(tmp_path: Path) -> None:
    store, strip = StripStore(tmp_path, "rows"), {"a": np.arange(6, dtype=np.uint16).reshape(1, 2, 3), "b": np.ones(2)}
    assert store.get(64) is None
    store.put(64, strip)
    found = store.get(64)
    assert found is not None
    assert list(found) == ["a", "b"]
    assert np.array_equal(found["a"], strip["a"]) and found["a"].dtype == np.uint16
    assert store.holds(64) and not store.holds(0)


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_strip_with_a_flipped_bit_or_cut_short_is_not_there(tmp_path: Path, position: int) -> None:
    store = StripStore(tmp_path, "rows")
    store.put(0, {"a": np.zeros((1, 8, 8))})
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    assert store.get(0) is None
    path.write_bytes(content[:20])
    assert store.get(0) is None


def test_a_strip_is_written_and_read_without_a_second_copy_of_it(tmp_path: Path) -> None:
    """Strips of a wide scene have hundreds of MB, and one is written while the next one is made."""
    store, strip = StripStore(tmp_path, "rows"), {"a": np.zeros((1, 64, 1 << 20), np.uint8)}
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


def test_strips_of_another_key_are_deleted_and_ours_are_kept(tmp_path: Path) -> None:
    StripStore(work_folder(tmp_path, "a" * 64), "rows").put(0, {"a": np.zeros(1)})
    assert StripStore(work_folder(tmp_path, "a" * 64), "rows").holds(0)
    other = work_folder(tmp_path, "b" * 64)
    assert list(tmp_path.iterdir()) == [other]


def test_the_next_item_is_loaded_while_one_is_in_use() -> None:
    begun = {item: threading.Event() for item in "abc"}

    with ThreadPoolExecutor(1) as pool:

        def load(item: str) -> "Future[str]":
            return pool.submit(lambda: (begun[item].set(), item.upper())[1])

        loading = ahead(list("abc"), load)
        assert next(loading) == ("a", "A")
        assert begun["b"].wait(60) and not begun["c"].is_set()
        assert list(loading) == [("b", "B"), ("c", "C")]


def test_nothing_is_loaded_of_nothing() -> None:
    assert list(ahead([], lambda _: pytest.fail("loaded"))) == []
