"""Training of the paper's networks."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.training.checkpoint import RunFolder as RunFolder
    from unclouded.training.loop import train as train
    from unclouded.training.settings import TrainSettings as TrainSettings
    from unclouded.training.settings import train_settings as train_settings

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "checkpoint": ("RunFolder",),
        "loop": ("train",),
        "settings": (
            "TrainSettings",
            "train_settings",
        ),
    },
)
