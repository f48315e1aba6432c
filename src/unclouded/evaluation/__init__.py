"""Metrics, scores, and comparisons of cloud removers."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.evaluation.comparison import compare_scores as compare_scores
    from unclouded.evaluation.metrics import (
        mean_absolute_error as mean_absolute_error,
    )
    from unclouded.evaluation.metrics import (
        peak_signal_to_noise_ratio_db as peak_signal_to_noise_ratio_db,
    )
    from unclouded.evaluation.metrics import (
        root_mean_square_error as root_mean_square_error,
    )
    from unclouded.evaluation.metrics import (
        spectral_angle_deg as spectral_angle_deg,
    )
    from unclouded.evaluation.metrics import (
        structural_similarity as structural_similarity,
    )
    from unclouded.evaluation.results_io import load_scores as load_scores
    from unclouded.evaluation.results_io import write_scores as write_scores
    from unclouded.evaluation.scores import Scores as Scores
    from unclouded.evaluation.scores import score_patches as score_patches

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "comparison": ("compare_scores",),
        "metrics": (
            "mean_absolute_error",
            "peak_signal_to_noise_ratio_db",
            "root_mean_square_error",
            "spectral_angle_deg",
            "structural_similarity",
        ),
        "results_io": (
            "load_scores",
            "write_scores",
        ),
        "scores": (
            "Scores",
            "score_patches",
        ),
    },
)
