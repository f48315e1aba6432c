"""The paper's detector, Sentinel Hub's s2cloudless, evaluated by :mod:`lightgbm_trees` or by its own package."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numba
import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from unclouded.clouds.detector import pixel_by_pixel, select_bands
from unclouded.clouds.lightgbm_trees import Trees, probabilities, read_trees, starting_ranks

BANDS = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")
"""The ten bands that the model reads, in its order."""
PATCH = 256 * 256
"""Minimum pixels per thread."""
PIECE = 4 * PATCH
"""Maximum pixels that a thread evaluates at a time: more pixels group better, fewer need less memory."""
_MODEL = "s2cloudless/models/pixel_s2_cloud_detector_lightGBM_v0.1.txt"


def s2cloudless_probability(
    reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...]
) -> Float32[np.ndarray, "y x"]:
    """Return the cloud probability of s2cloudless, before any averaging, threshold or dilation.

    Section II-A of the paper. The trees are those of the installed package and are summed in its order, so that the
    result equals that of :func:`package_probability` to the last bit.

    Args:
        reflectance: TOA reflectance, clipped to [0, 1] here; NaN where there is no data.
        bands: Band names, including the ten of :data:`BANDS`.

    Returns:
        Probability in [0, 1]; NaN where any of the ten bands has no data.

    Raises:
        InputError: One of the ten bands is missing, or the installed package contains another kind of model.
    """
    return pixel_by_pixel(select_bands(reflectance, bands, BANDS, "s2cloudless"), _by_trees)


def package_probability(
    reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...]
) -> Float32[np.ndarray, "y x"]:
    """Return the cloud probability by the s2cloudless package itself; see :func:`s2cloudless_probability`."""
    return pixel_by_pixel(select_bands(reflectance, bands, BANDS, "s2cloudless"), _by_package)


def _by_trees(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    trees, starts = _model()

    def evaluate(piece: NDArray[np.float32]) -> NDArray[np.float32]:
        return probabilities(np.ascontiguousarray(piece), trees, starts)

    size = pixels.shape[1]
    threads = max(1, min(numba.config.NUMBA_NUM_THREADS, size // PATCH))
    rounds = max(1, -(-size // (threads * PIECE)))
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(evaluate, np.array_split(pixels, threads * rounds, axis=1))))


def _by_package(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    clipped = np.ascontiguousarray(np.clip(pixels, 0.0, 1.0).T)
    return np.asarray(_package().get_cloud_probability_maps(clipped[None, None])[0, 0])


@cache
def _model() -> tuple[Trees, NDArray[np.uint8]]:
    trees = read_trees(Path(str(distribution("s2cloudless").locate_file(_MODEL))))
    return trees, starting_ranks(trees.thresholds)


@cache
def _package() -> Any:
    from s2cloudless.cloud_detector import S2PixelCloudDetector  # takes seconds to import

    return S2PixelCloudDetector(all_bands=False)
