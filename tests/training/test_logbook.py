import math

import pytest

from unclouded.training.logbook import mean_terms


def test_terms_are_averaged_by_the_patches_of_their_batches() -> None:
    assert mean_terms([(3, {"cycle": 1.0}), (1, {"cycle": 5.0})]) == {"cycle": 2.0}


def test_a_term_that_one_batch_lacks_is_that_of_the_other() -> None:
    assert mean_terms([(1, {"cycle": 1.0}), (1, {"cycle": 3.0, "pixel": 0.5})]) == {"cycle": 2.0, "pixel": 0.5}


def test_batches_without_a_number_do_not_count() -> None:
    assert mean_terms([(1, {"clear_residual": math.nan}), (1, {"clear_residual": 0.25})]) == {"clear_residual": 0.25}
    assert math.isnan(mean_terms([(1, {"clear_residual": math.nan})])["clear_residual"])


def test_a_single_batch_is_its_own_mean() -> None:
    assert mean_terms([(1, {"cycle": 0.1 + 0.2})])["cycle"] == pytest.approx(0.3)
