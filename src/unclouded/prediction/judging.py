"""A remover on every triplet of a data set, ready to be scored."""

from collections.abc import Iterable, Iterator

from torch import Tensor

from unclouded.models.remover import CloudRemover, keep_clear_pixels
from unclouded.tensors.triplet import Triplet


def judged(
    remover: CloudRemover, data: Iterable[Triplet], *, keep_clear: bool = True, device: str = "cpu"
) -> Iterator[tuple[Triplet, Tensor]]:
    """Yield every triplet with the remover's clear image, in TOA reflectance and on the CPU.

    Args:
        remover: Network or baseline.
        data: Triplets whose bands include the remover's; they are yielded with the remover's.
        keep_clear: Judge what a user gets, whose pixels with m = 0 stay as observed; otherwise what the remover says.
        device: Where the remover runs.
    """
    for triplet in data:
        shown = triplet.select(remover.bands)
        prediction = remover(shown.observation.to(device)).detach().float().cpu()
        yield shown, keep_clear_pixels(prediction, shown.observation) if keep_clear else prediction
