"""Remove clouds from Sentinel-2 images with the help of Sentinel-1 radar.

These names are the public interface, with those that the packages list in their ``__all__``; everything else may
change. They are imported when they are first used, so that ``import unclouded`` costs nothing.
"""

import logging
import os
from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

__version__ = "0.2.0"

logging.getLogger("unclouded").addHandler(logging.NullHandler())  # silent unless an application configures logging

# Threads of OpenMP wait for each other in busy loops, which on a shared machine costs many times the work. The variable
# is read when torch is loaded, and child processes inherit it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from unclouded.batch import open_series as open_series
    from unclouded.batch import predict_series as predict_series
    from unclouded.clouds import (
        CloudMapSettings as CloudMapSettings,
    )
    from unclouded.clouds import (
        cloud_map as cloud_map,
    )
    from unclouded.clouds import (
        list_detectors as list_detectors,
    )
    from unclouded.errors import (
        BusyError as BusyError,
    )
    from unclouded.errors import (
        InputError as InputError,
    )
    from unclouded.errors import (
        InterruptedRunError as InterruptedRunError,
    )
    from unclouded.errors import (
        MachineError as MachineError,
    )
    from unclouded.errors import (
        StoppedError as StoppedError,
    )
    from unclouded.evaluation import (
        Scores as Scores,
    )
    from unclouded.evaluation import (
        compare_scores as compare_scores,
    )
    from unclouded.evaluation import (
        load_scores as load_scores,
    )
    from unclouded.evaluation import (
        mean_absolute_error as mean_absolute_error,
    )
    from unclouded.evaluation import (
        peak_signal_to_noise_ratio_db as peak_signal_to_noise_ratio_db,
    )
    from unclouded.evaluation import (
        root_mean_square_error as root_mean_square_error,
    )
    from unclouded.evaluation import (
        spectral_angle_deg as spectral_angle_deg,
    )
    from unclouded.evaluation import (
        structural_similarity as structural_similarity,
    )
    from unclouded.evaluation import (
        write_scores as write_scores,
    )
    from unclouded.models import (
        CloudRemover as CloudRemover,
    )
    from unclouded.models import (
        FunctionRemover as FunctionRemover,
    )
    from unclouded.models import (
        SceneAdapted as SceneAdapted,
    )
    from unclouded.models import (
        baseline as baseline,
    )
    from unclouded.models import (
        load_remover as load_remover,
    )
    from unclouded.patches import (
        Roi as Roi,
    )
    from unclouded.patches import (
        Split as Split,
    )
    from unclouded.patches import (
        find_triplets as find_triplets,
    )
    from unclouded.patches import (
        official_split as official_split,
    )
    from unclouded.prediction import (
        PredictedScene as PredictedScene,
    )
    from unclouded.prediction import (
        SceneSettings as SceneSettings,
    )
    from unclouded.prediction import (
        evaluate as evaluate,
    )
    from unclouded.prediction import (
        predict_patch as predict_patch,
    )
    from unclouded.prediction import (
        predict_scene as predict_scene,
    )
    from unclouded.sensors import RGB as RGB
    from unclouded.sensors import SENTINEL1 as SENTINEL1
    from unclouded.sensors import SENTINEL2 as SENTINEL2
    from unclouded.sentinel import open_optical as open_optical
    from unclouded.sentinel import open_radar as open_radar
    from unclouded.tensors import (
        Observation as Observation,
    )
    from unclouded.tensors import (
        PackedDataset as PackedDataset,
    )
    from unclouded.tensors import (
        Triplet as Triplet,
    )
    from unclouded.tensors import (
        TripletDataset as TripletDataset,
    )
    from unclouded.training import TrainSettings as TrainSettings
    from unclouded.training import train as train
    from unclouded.viewer import show as show

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "batch": (
            "open_series",
            "predict_series",
        ),
        "clouds": (
            "CloudMapSettings",
            "cloud_map",
            "list_detectors",
        ),
        "errors": (
            "BusyError",
            "InputError",
            "InterruptedRunError",
            "MachineError",
            "StoppedError",
        ),
        "evaluation": (
            "Scores",
            "compare_scores",
            "load_scores",
            "mean_absolute_error",
            "peak_signal_to_noise_ratio_db",
            "root_mean_square_error",
            "spectral_angle_deg",
            "structural_similarity",
            "write_scores",
        ),
        "models": (
            "CloudRemover",
            "FunctionRemover",
            "SceneAdapted",
            "baseline",
            "load_remover",
        ),
        "patches": (
            "Roi",
            "Split",
            "find_triplets",
            "official_split",
        ),
        "prediction": (
            "PredictedScene",
            "SceneSettings",
            "evaluate",
            "predict_patch",
            "predict_scene",
        ),
        "sensors": (
            "RGB",
            "SENTINEL1",
            "SENTINEL2",
        ),
        "sentinel": (
            "open_optical",
            "open_radar",
        ),
        "tensors": (
            "Observation",
            "PackedDataset",
            "Triplet",
            "TripletDataset",
        ),
        "training": (
            "TrainSettings",
            "train",
        ),
        "viewer": ("show",),
    },
)
