from unclouded.training.balance import Balance


def judgements(real: float, generated: float) -> dict[str, float]:
    return {"optical_real": real, "optical_generated": generated}


def test_a_discriminator_that_has_won_is_named_once() -> None:
    balance = Balance(window=3)
    told = [balance.warning(judgements(0.98, 0.01)) for _ in range(6)]
    assert [one is not None for one in told] == [False, False, True, False, False, False]
    assert str(told[2]).startswith("the optical discriminator has won (real 0.98, generated 0.01 over 3 steps)")


def test_a_balanced_discriminator_is_not() -> None:
    balance = Balance(window=2)
    assert all(balance.warning(judgements(0.6, 0.4)) is None for _ in range(10))


def test_one_good_step_among_others_is_not_a_victory() -> None:
    balance = Balance(window=2)
    assert all(balance.warning(judgements(*one)) is None for one in [(1.0, 0.0), (0.6, 0.4)] * 5)


def test_an_objective_without_discriminators_has_no_balance() -> None:
    assert Balance(window=1).warning({"pixel": 0.1}) is None
