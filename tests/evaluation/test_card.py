import pytest

from unclouded.errors import InputError
from unclouded.evaluation.card import differences, require_same

CARD = {"layer": "fc2", "k": 10}


def test_equal_cards_compare_in_any_order_of_their_keys() -> None:
    require_same({})
    require_same({"a": CARD, "b": {"k": 10, "layer": "fc2"}})
    assert differences(CARD, dict(CARD)) == []


def test_another_value_is_named() -> None:
    message = r"a and c do not compare: k is 10 in one and 3 in the other, and 1 more; evaluate both in the same way"
    with pytest.raises(InputError, match=message):
        require_same({"a": CARD, "b": CARD, "c": {"layer": "pool5", "k": 3}})


def test_an_absent_entry_is_a_difference_even_to_null() -> None:
    assert differences({"clouds": None}, {}) == ["clouds is null in one and absent in the other"]
