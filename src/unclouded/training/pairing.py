"""Which clear image stands beside which observation: the paper's unpaired-to-paired protocol (section III-B.2)."""

from dataclasses import dataclass

import numpy as np

from unclouded.errors import InputError


def equally_spaced(count: int, total: int) -> tuple[int, ...]:
    """Return ``count`` of ``total`` positions, equally spaced: floor(i * total / count).

    Raises:
        InputError: More positions are wanted than there are.
    """
    if not 0 <= count <= total:
        raise InputError(f"expected at most the {total} patches there are, found a wish for {count}; ask for fewer")
    return tuple(i * total // count for i in range(count))


@dataclass(frozen=True)
class Pairing:
    """For each observation, the clear image that is shown with it; fixed for a whole run.

    Attributes:
        clear_of: Position of the clear image for each observation; every clear image is used once.
        paired: Whether it is the observation's own; the rest of the clear images are permuted among themselves.
    """

    clear_of: tuple[int, ...]
    paired: tuple[bool, ...]

    def __post_init__(self) -> None:
        if sorted(self.clear_of) != list(range(len(self.clear_of))):
            raise ValueError("every clear image has to be used exactly once")
        if any(kept and clear != i for i, (clear, kept) in enumerate(zip(self.clear_of, self.paired, strict=True))):
            raise ValueError("a paired observation has to keep its own clear image")


def pair(total: int, paired_percent: float, rng: np.random.Generator) -> Pairing:
    """Keep ``paired_percent`` of the pairs, equally spaced, and shuffle the clear images of all others.

    Args:
        total: Number of observations.
        paired_percent: p of ours-p, 0 to 100.
        rng: Draws the permutation of the unpaired clear images. None of them stays with its own observation,
            unless there is only one.
    """
    kept = set(equally_spaced(round(total * paired_percent / 100), total))
    loose = [i for i in range(total) if i not in kept]
    clear_of = list(range(total))
    for i, clear in zip(loose, _derangement(len(loose), rng), strict=True):
        clear_of[i] = loose[clear]
    return Pairing(tuple(clear_of), tuple(i in kept for i in range(total)))


def _derangement(count: int, rng: np.random.Generator) -> list[int]:
    """Draw permutations until none of the elements stays in its place; 2.7 draws on average."""
    if count < 2:
        return list(range(count))
    while (drawn := rng.permutation(count))[drawn == np.arange(count)].size:
        pass
    return [int(i) for i in drawn]
