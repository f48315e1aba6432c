from pathlib import Path

import numpy as np

from unclouded.io.array_cache import ArrayStore, content_key


def test_an_array_comes_back_bit_for_bit_and_others_are_absent(tmp_path: Path) -> None:
    store = ArrayStore(tmp_path, 1 << 20)
    array = np.array([0.1, np.nan, -np.inf], np.float32)
    key = content_key("three numbers", array)
    assert store.get(key) is None
    store.put(key, array)
    np.testing.assert_array_equal(ArrayStore(tmp_path, 1 << 20).get(key), array)
    assert store.get(content_key("three other numbers", array)) is None


def test_a_key_is_of_the_description_and_of_every_byte_in_their_logical_order() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert content_key("a", array) == content_key("a", np.asfortranarray(array))
    assert content_key("a", array) != content_key("a", array + np.float32(1e-6))
    assert content_key("a", array) != content_key("b", array)
