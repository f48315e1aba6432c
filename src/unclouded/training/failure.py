"""What a run says when a loss or a gradient is no number."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from unclouded.errors import StoppedError
from unclouded.training.objectives import TOTAL
from unclouded.training.step import CLEAR_RESIDUAL, Terms

Found = Mapping[str, Sequence[str]]
"""Names of patches, and the terms that are not finite on them."""


def not_finite(names: str, terms: Terms) -> Found:
    """Name the terms of a batch that are not finite, apart from those that may be."""
    watched = (CLEAR_RESIDUAL, TOTAL)
    return {names: [name for name, term in terms.items() if not term.isfinite() and name not in watched]}


def not_finite_error(step: int, found: Sequence[Found], state: Path) -> StoppedError:
    """Name the patches whose terms are not finite; all patches of the step, where only a gradient is not.

    Args:
        step: Number of the step, counted from 1.
        found: Of every batch of every rank.
        state: Where the last saved state is, if there is one.
    """
    everywhere = {names: terms for one in found for names, terms in one.items()}
    guilty = {names: terms for names, terms in everywhere.items() if terms}
    guilty = guilty or {names: ["gradient"] for names in everywhere}
    told = "; ".join(f"{', '.join(terms)} is not finite on patch {names}" for names, terms in guilty.items())
    kept = f"the state of an earlier step is in {state}" if state.exists() else "nothing was saved"
    return StoppedError(f"step {step}: {told}; {kept}; look at the patch, or lower schedule.learning_rate")
