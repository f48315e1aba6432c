"""From what a user types to a remover: scene-adapted or a baseline by name, or a network by its weights file."""

from pathlib import Path

from unclouded.errors import InputError
from unclouded.models.baselines import BASELINES, baseline
from unclouded.models.remover import CloudRemover
from unclouded.models.scene_adapted import NAME as SCENE_ADAPTED
from unclouded.models.scene_adapted import SceneAdapted
from unclouded.models.weights import load_remover
from unclouded.sensors import SENTINEL2

DEFAULT = SCENE_ADAPTED
"""What removes clouds where the user names nothing: it needs no training."""


def find_remover(text: str, bands: tuple[str, ...] | None, device: str = "cpu") -> CloudRemover:
    """Return a baseline by its name, or the network whose weights lie at a path.

    Args:
        text: Name or path.
        bands: Optical bands wanted; None for those of the network, or red, green and blue where there is none.
        device: Where the network runs.

    Raises:
        InputError: Neither name nor file, or a network that was made for other bands.
    """
    if text == SCENE_ADAPTED:
        return SceneAdapted(SENTINEL2.named(bands)) if bands else SceneAdapted()
    if text in BASELINES or not (path := Path(text)).suffix:
        return baseline(text, bands) if bands else baseline(text)
    remover = load_remover(path)
    if bands is not None and set(bands) - set(remover.bands):
        raise InputError(f"{path} restores {' '.join(remover.bands)}, expected {' '.join(bands)}; choose its bands")
    remover.generator.to(device)
    return remover
