"""Images without clouds: scenes, patches, and the evaluation of removers."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.prediction.auto_remover import AutoRemover as AutoRemover
    from unclouded.prediction.patches import predict_patch as predict_patch
    from unclouded.prediction.scene import (
        PredictedScene as PredictedScene,
    )
    from unclouded.prediction.scene import (
        SceneSettings as SceneSettings,
    )
    from unclouded.prediction.scene import (
        predict_scene as predict_scene,
    )
    from unclouded.prediction.scoring import evaluate as evaluate
    from unclouded.prediction.xarray_accessor import register_accessor as register_accessor

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "auto_remover": ("AutoRemover",),
        "patches": ("predict_patch",),
        "scene": (
            "PredictedScene",
            "SceneSettings",
            "predict_scene",
        ),
        "scoring": ("evaluate",),
        "xarray_accessor": ("register_accessor",),
    },
)
