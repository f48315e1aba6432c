import numba
import pytest

from unclouded.clouds.compiled import compiled


def doubled(x):
    return 2 * x


def test_a_compiled_function_answers_as_before() -> None:
    assert compiled(doubled)(21) == 42


def test_fault_33_where_nothing_can_be_written_it_is_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    njit, asked = numba.njit, []

    def without_a_place(function, *, cache=False, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function 'doubled': no locator available")
        return njit(function, **options)

    monkeypatch.setattr(numba, "njit", without_a_place)
    assert compiled(doubled)(21) == 42
    assert asked == [True, False]
