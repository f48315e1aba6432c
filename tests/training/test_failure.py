from pathlib import Path

import torch

from unclouded.training.failure import not_finite, not_finite_error

FINE, BROKEN = torch.tensor(0.5), torch.tensor(torch.nan)


def test_terms_that_may_be_no_number_are_not_blamed() -> None:
    terms = {
        "cycle": BROKEN,
        "pixel": torch.tensor(torch.inf),
        "identity": FINE,
        "clear_residual": BROKEN,
        "total": BROKEN,
    }
    assert not_finite("p1", terms) == {"p1": ["cycle", "pixel"]}


def test_fault_40_only_the_guilty_patches_of_all_batches_are_named(tmp_path: Path) -> None:
    found = [{"p1": ["cycle"]}, {"p2": []}, {"p3": ["pixel", "identity"]}]
    told = str(not_finite_error(7, found, tmp_path / "state"))
    assert told.startswith(
        "step 7: cycle is not finite on patch p1; pixel, identity is not finite on patch p3; nothing was"
    )


def test_fault_40_where_only_a_gradient_is_broken_all_patches_of_the_step_are_named(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    told = str(not_finite_error(7, [{"p1": []}, {"p2": []}], tmp_path / "state"))
    assert "gradient is not finite on patch p1; gradient is not finite on patch p2" in told
    assert f"the state of an earlier step is in {tmp_path / 'state'}" in told
