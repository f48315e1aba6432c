"""The detector ukis-csmask: a network that classifies clear, cloud and cloud shadow, in L1C and L2A products.

Wieland, Fichtner and Martinis (2022), UKIS-CSMASK: A Python package for multi-sensor cloud and cloud shadow
segmentation, Int. Arch. Photogramm. Remote Sens. Spatial Inf. Sci. XLIII-B3-2022. The networks of the package's version
1 are read from the installed package and evaluated as it evaluates them: in tiles of 256 px that overlap by a fifth,
mirrored beyond the image's edges, and blended by tapered cosines that sum to one.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.special import softmax

from unclouded.clouds.detector import (
    PIXEL_M,
    Detector,
    DetectRows,
    ReadRows,
    block_mean,
    has_data,
    select_bands,
    upsample,
)
from unclouded.errors import InputError
from unclouded.io.strips import row_ranges
from unclouded.sensors import Level

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
"""The six bands that the networks read: blue, green, red, nir, swir16 and swir22 in the package's words."""
ONLY_IN_L1C = "B10"
"""The networks do not read this band; its presence distinguishes L1C from L2A."""
CLEAR, CLOUD, SHADOW = 0, 1, 2
"""The classes. Version 0 of the package had five; since version 1 land, water and snow are one class, clear."""
RECOMMENDED_M = 30
"""Pixel size that the package recommends, metres."""
NOT_INSTALLED = "not installed"
"""Version of the detectors without the package."""
TILE_PX = 256
OVERLAP = 0.2

_FACTOR = RECOMMENDED_M // PIXEL_M
_STRIP_PX = 256 * _FACTOR
_MARGIN_PX = int(TILE_PX * OVERLAP)
_STEP_PX = int(TILE_PX - TILE_PX * OVERLAP)
_PACKAGE = "ukis-csmask"


class _Network(NamedTuple):
    session: Any
    mean: Float32[np.ndarray, "6 1 1"]
    deviation: Float32[np.ndarray, "6 1 1"]


def class_probabilities(
    reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...], level: Level = "L1C"
) -> Float32[np.ndarray, "3 y x"]:
    """Return the probabilities of the three classes clear, cloud and shadow, which sum to one.

    The image is not resampled; the networks expect pixels of about 30 m. The class of highest probability is that of
    the package. Pixels without data are filled with the nearest valid pixel before the network runs.

    Args:
        reflectance: TOA reflectance of an L1C product or surface reflectance of an L2A product; NaN where there is no
            data. Any size; the package itself warns below 256 px.
        bands: Band names, including the six of :data:`BANDS`.
        level: Processing level that the network was trained for.

    Returns:
        Probability in [0, 1] of :data:`CLEAR`, :data:`CLOUD` and :data:`SHADOW`; NaN where any of the six bands has no
        data.

    Raises:
        InputError: One of the six bands is missing, or the extra ``csmask`` is not installed.
    """
    pixels = select_bands(reflectance, bands, BANDS, "csmask")
    return np.where(has_data(pixels), _everywhere(pixels, _network(level)), np.float32(np.nan))


def csmask_detector(name: str, level: Level, classes: tuple[int, ...]) -> Detector:
    """Return a detector for images of 10 m pixels whose probability is the sum over some classes.

    The network reads the mean of 3 x 3 pixels; its result is interpolated bilinearly. It depends on a pixel's
    surroundings, so it needs whole images. For a scene that is read in strips only the means are in memory, a twentieth
    of 13 bands, and the result is the same to the last bit.

    Args:
        name: Name in settings and tables.
        level: Processing level that it supports; the other one, recognised by B10, is refused.
        classes: Classes of :func:`class_probabilities`.
    """

    def survey(read: ReadRows, height: int, bands: tuple[str, ...]) -> DetectRows:
        _require_level(name, level, bands)
        coarse = np.concatenate(
            [_at_30m(select_bands(read(*strip), bands, BANDS, name)) for strip in row_ranges(height, _STRIP_PX)], axis=1
        )
        probabilities = _everywhere(coarse, _network(level))[list(classes)].sum(axis=0)

        def detect(top: int, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
            valid = has_data(select_bands(reflectance, bands, BANDS, name))
            return np.where(
                valid, np.clip(upsample(probabilities, _FACTOR, valid.shape, top), 0.0, 1.0), np.float32(np.nan)
            )

        return detect

    def probability(reflectance: NDArray[np.float32], bands: tuple[str, ...]) -> NDArray[np.float32]:
        detect = survey(lambda top, bottom: reflectance[:, top:bottom], reflectance.shape[1], bands)
        return detect(0, reflectance)

    needed = BANDS if level == "L2A" else (*BANDS, ONLY_IN_L1C)
    return Detector(name, _version(), needed, probability, survey)


def _require_level(name: str, level: Level, bands: tuple[str, ...]) -> None:
    if level == "L1C" and ONLY_IN_L1C not in bands:
        raise InputError(
            f"{name} supports L1C products, but {ONLY_IN_L1C} is missing; for L2A use a csmask-l2a detector"
        )
    if level == "L2A" and ONLY_IN_L1C in bands:
        raise InputError(f"{name} supports L2A products, but the image has {ONLY_IN_L1C}, as only L1C; use csmask")


def _at_30m(pixels: Float32[np.ndarray, "6 y x"]) -> Float32[np.ndarray, "6 rows columns"]:
    """Return the mean of 3 x 3 pixels, over those with data in all bands."""
    return block_mean(np.where(has_data(pixels), pixels, np.float32(np.nan)), _FACTOR)


def _version() -> str:
    try:
        return version(_PACKAGE)
    except PackageNotFoundError:
        return NOT_INSTALLED


@cache
def _network(level: Level) -> _Network:
    try:
        folder = Path(str(distribution(_PACKAGE).locate_file("ukis_csmask")))
        from onnxruntime import InferenceSession, SessionOptions  # optional dependency; takes a second to import
    except ImportError as error:
        raise InputError(f"{error.name} is not installed, csmask needs it: pip install 'unclouded[csmask]'") from error
    model = folder / f"model_6b_{level.lower()}.onnx"
    about = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))["data"]
    if about["classes"] != 3 or about["target_size"] != [TILE_PX, TILE_PX]:
        raise InputError(
            f"expected the three classes and tiles of 256 px of ukis-csmask 1.0.0 in {model}; install that version"
        )
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the tiles run in parallel
    options.log_severity_level = 3  # errors only
    session = InferenceSession(model, options, providers=["CPUExecutionProvider"])
    mean, deviation = np.array(about["dataset_statistics"]["img"], dtype=np.float32)[:, :, None, None]
    return _Network(session, mean, deviation)


def _everywhere(pixels: Float32[np.ndarray, "band y x"], network: _Network) -> Float32[np.ndarray, "3 y x"]:
    """Return probabilities also for pixels without data, from the nearest valid one; NaN if there is none."""
    valid = has_data(pixels)
    if not valid.any():
        return np.full((3, *valid.shape), np.nan, dtype=np.float32)
    if not valid.all():
        y, x = distance_transform_edt(~valid, return_distances=False, return_indices=True)
        pixels = pixels[:, y, x]
    return _blended(pixels, network)


def _blended(pixels: Float32[np.ndarray, "band y x"], network: _Network) -> Float32[np.ndarray, "3 y x"]:
    """Evaluate the tiles in parallel and blend them in a fixed order, so that threads do not change the result."""
    rows, columns = (_mirrored(size) for size in pixels.shape[1:])
    corners = list(product(*(range(0, len(index) - TILE_PX + 1, _STEP_PX) for index in (rows, columns))))

    def evaluate(corner: tuple[int, int]) -> NDArray[np.float32]:
        y, x = (index[first : first + TILE_PX] for index, first in zip((rows, columns), corner, strict=True))
        tile = (pixels[:, y[:, None], x] - network.mean) / network.deviation
        return np.asarray(softmax(network.session.run(None, {"input": tile[None]})[0][0], axis=0))

    from scipy.signal.windows import tukey  # imports half of scipy: not at start-up

    taper = tukey(TILE_PX, 2 * OVERLAP)
    weight = np.outer(taper, taper).astype(np.float32)
    total = np.zeros((3, len(rows), len(columns)), dtype=np.float32)
    with ThreadPoolExecutor(min(len(corners), numba.config.NUMBA_NUM_THREADS)) as threads:
        for (top, left), tile in zip(corners, threads.map(evaluate, corners), strict=True):
            total[:, top : top + TILE_PX, left : left + TILE_PX] += weight * tile
    height, width = pixels.shape[1:]
    return np.clip(total[:, _MARGIN_PX : _MARGIN_PX + height, _MARGIN_PX : _MARGIN_PX + width], 0.0, 1.0)


def _mirrored(size: int) -> NDArray[np.intp]:
    """Return positions along an axis that is mirrored beyond its ends, far enough for whole tiles."""
    return np.pad(np.arange(size), (_MARGIN_PX, _MARGIN_PX + TILE_PX + 1), mode="symmetric")


CSMASK = csmask_detector("csmask", "L1C", (CLOUD,))
"""Cloud in L1C products."""
CSMASK_L2A = csmask_detector("csmask-l2a", "L2A", (CLOUD,))
"""Cloud in L2A products, which have no B10 and so cannot be mapped by s2cloudless."""
