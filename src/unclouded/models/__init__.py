"""Cloud removers: the paper's networks, their weights, and removers without training data."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.models.adaptation.scene_adapted import SceneAdapted as SceneAdapted
    from unclouded.models.baselines import baseline as baseline
    from unclouded.models.exchange.export import export_network as export_network
    from unclouded.models.loading import load_remover as load_remover
    from unclouded.models.network import NetworkRemover as NetworkRemover
    from unclouded.models.network import NetworkSettings as NetworkSettings
    from unclouded.models.published.weights import import_checkpoint as import_checkpoint
    from unclouded.models.remover import (
        CloudRemover as CloudRemover,
    )
    from unclouded.models.remover import (
        FunctionRemover as FunctionRemover,
    )
    from unclouded.models.remover import (
        UncertainRemover as UncertainRemover,
    )
    from unclouded.models.remover import (
        keep_clear_pixels as keep_clear_pixels,
    )
    from unclouded.models.weights import save_weights as save_weights

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "baselines": ("baseline",),
        "exchange.export": ("export_network",),
        "loading": ("load_remover",),
        "network": (
            "NetworkRemover",
            "NetworkSettings",
        ),
        "published.weights": ("import_checkpoint",),
        "remover": (
            "CloudRemover",
            "FunctionRemover",
            "UncertainRemover",
            "keep_clear_pixels",
        ),
        "adaptation.scene_adapted": ("SceneAdapted",),
        "weights": ("save_weights",),
    },
)
