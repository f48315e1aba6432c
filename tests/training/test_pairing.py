import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclouded.errors import InputError
from unclouded.training.pairing import Pairing, equally_spaced, pair


def test_positions_are_floor_of_i_times_total_over_count() -> None:
    assert equally_spaced(4, 10) == (0, 2, 5, 7)


def test_a_subset_larger_than_the_whole_is_refused() -> None:
    with pytest.raises(InputError, match="at most the 3 patches"):
        equally_spaced(4, 3)


def test_ours_100_keeps_every_pair() -> None:
    pairing = pair(5, 100, np.random.default_rng(0))
    assert pairing.clear_of == (0, 1, 2, 3, 4)
    assert all(pairing.paired)


def test_ours_0_gives_no_observation_its_own_clear_image() -> None:
    pairing = pair(50, 0, np.random.default_rng(0))
    assert all(clear != i for i, clear in enumerate(pairing.clear_of))
    assert not any(pairing.paired)


def test_ours_40_of_ten_keeps_four_equally_spaced_pairs() -> None:
    pairing = pair(10, 40, np.random.default_rng(0))
    assert [i for i, kept in enumerate(pairing.paired) if kept] == [0, 2, 5, 7]


@given(total=st.integers(1, 60), percent=st.floats(0, 100), seed=st.integers(0, 2**32))
def test_every_clear_image_is_shown_once_an_epoch(total: int, percent: float, seed: int) -> None:
    pairing = pair(total, percent, np.random.default_rng(seed))
    assert sorted(pairing.clear_of) == list(range(total))
    assert sum(pairing.paired) == round(total * percent / 100)


def test_a_pairing_that_moves_a_paired_image_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="keep its own"):
        Pairing((1, 0), (True, False))
