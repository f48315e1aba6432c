"""Pictures of what a run has learnt so far."""

from pathlib import Path

from torch import device

from unclouded.evaluation.pictures import write_comparison
from unclouded.models.network import NetworkRemover
from unclouded.tensors.dataset import TripletSource
from unclouded.training.pairing import equally_spaced

PREVIEWED = 4
"""Patches in every preview picture, equally spaced over the run's patches."""
EARLY = (1, 10, 100)
"""Steps of the first previews, where a run that goes wrong shows it."""


def is_previewed(step: int, every: int) -> bool:
    """Say whether a picture is due after a step; ``every`` 0 wants none."""
    return every > 0 and (step % every == 0 or step in EARLY)


def write_preview(path: Path, remover: NetworkRemover, triplets: TripletSource, step: int, place: device) -> None:
    """Draw what a remover makes of some of the run's own patches, beside what they should be."""
    shown = [triplets[i] for i in equally_spaced(min(PREVIEWED, len(triplets)), len(triplets))]
    rows = [(triplet, {"prediction": remover(triplet.observation.to(place)).cpu()}) for triplet in shown]
    write_comparison(path, rows, title=f"step {step}")
