"""The cloud detectors by name, including those that count cloud shadow as cloud."""

from importlib.metadata import version

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from unclouded.clouds.csmask import BANDS as CSMASK_BANDS
from unclouded.clouds.csmask import CLOUD, CSMASK, CSMASK_L2A, SHADOW, csmask_detector
from unclouded.clouds.detector import Detector, DetectRows, ReadRows
from unclouded.clouds.s2cloudless import BANDS, package_probability, s2cloudless_probability
from unclouded.clouds.s2cloudless import BANDS as S2CLOUDLESS_BANDS
from unclouded.errors import InputError
from unclouded.sensors import SENTINEL2, Level
from unclouded.settings import nearest

S2CLOUDLESS = Detector("s2cloudless", version("s2cloudless"), BANDS, s2cloudless_probability)
"""The paper's detector."""

S2CLOUDLESS_PACKAGE = Detector("s2cloudless-package", version("s2cloudless"), BANDS, package_probability)
"""The same detector evaluated by its own package, tens of times slower: the reference for :data:`S2CLOUDLESS`."""

CSMASK_L2A_SHADOW = csmask_detector("csmask-l2a+shadow", "L2A", (CLOUD, SHADOW))
"""Cloud or shadow in L2A products."""


CSMASK_SHADOW = csmask_detector("csmask+shadow", "L1C", (CLOUD, SHADOW))
"""Cloud or shadow in L1C products: one minus the probability of clear, continuous between the two classes."""


def _s2cloudless_or_shadow(
    reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...]
) -> Float32[np.ndarray, "y x"]:
    """Return the higher probability of two models, which share no common probability."""
    return np.asarray(np.maximum(s2cloudless_probability(reflectance, bands), shadow_probability(reflectance, bands)))


def _survey(read: ReadRows, height: int, bands: tuple[str, ...]) -> DetectRows:
    """Survey for :data:`S2CLOUDLESS_SHADOW`; only the shadow depends on surroundings."""
    shadow = _SHADOW["L1C"].over(read, height, bands)

    def detect(top: int, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
        cloud = s2cloudless_probability(reflectance, bands)
        return np.asarray(np.maximum(cloud, shadow(top).probability(reflectance, bands)))

    return detect


S2CLOUDLESS_SHADOW = Detector(
    "s2cloudless+shadow",
    f"{version('s2cloudless')}, {CSMASK_SHADOW.version}",
    tuple(band for band in SENTINEL2.bands if band in S2CLOUDLESS_BANDS + CSMASK_BANDS),
    _s2cloudless_or_shadow,
    _survey,
)
"""The higher of the paper's cloud probability and the shadow probability of ukis-csmask."""

DETECTORS = {
    one.name: one
    for one in (
        S2CLOUDLESS,
        S2CLOUDLESS_PACKAGE,
        CSMASK,
        CSMASK_L2A,
        CSMASK_SHADOW,
        CSMASK_L2A_SHADOW,
        S2CLOUDLESS_SHADOW,
    )
}


def find_detector(name: str) -> Detector:
    """Return the cloud detector with a name.

    Args:
        name: One of :func:`list_detectors`.

    Raises:
        InputError: There is no such detector.
    """
    if name in DETECTORS:
        return DETECTORS[name]
    raise InputError(f"unknown cloud detector {name[:80]!r}{nearest(name, list(DETECTORS))}")


def list_detectors() -> tuple[str, ...]:
    """Return the names of all cloud detectors, the paper's first."""
    return tuple(DETECTORS)


# Detectors that count cloud shadow as cloud, so that a remover also replaces shadowed pixels.
#
# The paper's map ignores shadow (section II-A). These detectors are our extension, off by default and selected by name;
# their probability becomes the map m in the same way.


_SHADOW: dict[Level, Detector] = {
    "L1C": csmask_detector("csmask", "L1C", (SHADOW,)),
    "L2A": csmask_detector("csmask-l2a", "L2A", (SHADOW,)),
}


def shadow_probability(
    reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...], level: Level = "L1C"
) -> Float32[np.ndarray, "y x"]:
    """Return the probability of cloud shadow by ukis-csmask, computed at 30 m.

    Args:
        reflectance: Reflectance of 10 m pixels; NaN where there is no data.
        bands: Band names, including those of :data:`~unclouded.clouds.csmask.BANDS`, and B10 with L1C.
        level: Processing level of the product.

    Returns:
        Probability in [0, 1]; NaN where any of the six bands has no data.

    Raises:
        InputError: A band is missing, the product has the other level, or the extra ``csmask`` is not installed.
    """
    return _SHADOW[level].probability(reflectance, bands)
