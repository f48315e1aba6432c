"""How probable is a cloud in each pixel: detectors as plug-ins, one function each."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray

from unclouded.errors import InputError

S2CLOUDLESS_BANDS = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")
"""The ten bands that the model of s2cloudless reads, in its order."""


@dataclass(frozen=True)
class Detector:
    """Something that tells clouds from all else, pixel by pixel.

    Attributes:
        name: What settings and tables call it.
        version: Changes whenever the answers may change; cached answers belong to one version.
        bands: Bands it needs.
        probability: From reflectance (band, y, x) and its band names to cloud probability (y, x), float32 in [0, 1];
            NaN where there is no data.
    """

    name: str
    version: str
    bands: tuple[str, ...]
    probability: Callable[[NDArray[np.float32], tuple[str, ...]], NDArray[np.float32]]


def select_bands(
    reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...], needed: tuple[str, ...], detector: str
) -> Float32[np.ndarray, "needed y x"]:
    """Return the bands that a detector needs, in its order.

    Raises:
        InputError: The image lacks one of them; nothing is ever silently taken for cloudy, or for clear.
    """
    if len(bands) != len(reflectance):
        raise InputError(f"expected one name a band, found {len(bands)} names for {len(reflectance)} bands")
    if absent := [band for band in needed if band not in bands]:
        hint = "L2A has no B10, use the L1C product" if "B10" in absent else "use the L1C product with all 13 bands"
        raise InputError(f"{detector} needs {' '.join(needed)}, but {' '.join(absent)} is missing; {hint}")
    return reflectance[[bands.index(band) for band in needed]]


def has_data(reflectance: Float32[np.ndarray, "band y x"]) -> Bool[np.ndarray, "y x"]:
    """Say where every band is a finite number."""
    return np.asarray(np.isfinite(reflectance).all(axis=0))


def s2cloudless_probability(
    reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...]
) -> Float32[np.ndarray, "y x"]:
    """Cloud probability of the s2cloudless package, before its own averaging, threshold and dilation.

    Section II-A of the paper; the package is by Sentinel Hub (Zupanc 2017).

    Args:
        reflectance: TOA reflectance, clipped to [0, 1] here; NaN where there is no data.
        bands: Its band names, among them the ten of :data:`S2CLOUDLESS_BANDS`.

    Returns:
        Probability in [0, 1]; NaN where any needed band has no data.

    Raises:
        InputError: A needed band is missing.
    """
    needed = select_bands(reflectance, bands, S2CLOUDLESS_BANDS, "s2cloudless")
    valid = has_data(needed)
    probability = np.full(valid.shape, np.nan, dtype=np.float32)
    if valid.any():
        pixels = np.ascontiguousarray(np.clip(needed[:, valid], 0.0, 1.0).T)
        probability[valid] = _package_detector().get_cloud_probability_maps(pixels[None, None])[0, 0]
    return probability


@cache
def _package_detector() -> Any:
    from s2cloudless.cloud_detector import S2PixelCloudDetector  # takes seconds to import

    return S2PixelCloudDetector(all_bands=False)


S2CLOUDLESS = Detector("s2cloudless", version("s2cloudless"), S2CLOUDLESS_BANDS, s2cloudless_probability)

DETECTORS = {detector.name: detector for detector in (S2CLOUDLESS,)}
"""Every detector by its name."""


def detector(name: str) -> Detector:
    """Return a detector by name.

    Raises:
        InputError: There is no such detector.
    """
    if name in DETECTORS:
        return DETECTORS[name]
    near = difflib.get_close_matches(name, DETECTORS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(DETECTORS))}"
    raise InputError(f"{name!r} is no cloud detector; {hint}")
