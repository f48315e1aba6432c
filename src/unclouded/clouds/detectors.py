"""Every cloud detector by its name."""

from importlib.metadata import version

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from unclouded.clouds.csmask import BANDS as CSMASK_BANDS
from unclouded.clouds.csmask import CLOUD, CSMASK, CSMASK_L2A, SHADOW, Level, csmask_detector
from unclouded.clouds.detector import Detector, ReadRows, TellRows
from unclouded.clouds.s2cloudless import BANDS, package_probability, s2cloudless_probability
from unclouded.clouds.s2cloudless import BANDS as S2CLOUDLESS_BANDS
from unclouded.errors import InputError
from unclouded.sensors import SENTINEL2
from unclouded.settings import nearest

S2CLOUDLESS = Detector("s2cloudless", version("s2cloudless"), BANDS, s2cloudless_probability)
"""The paper's detector."""

S2CLOUDLESS_PACKAGE = Detector("s2cloudless-package", version("s2cloudless"), BANDS, package_probability)
"""The same by its own package, tens of times slower: the reference of the other."""

CSMASK_L2A_SHADOW = csmask_detector("csmask-l2a+shadow", "L2A", (CLOUD, SHADOW))
"""Cloud or shadow in L2A products."""


CSMASK_SHADOW = csmask_detector("csmask+shadow", "L1C", (CLOUD, SHADOW))
"""Cloud or shadow in L1C products: one minus the probability of clear, so that no seam shows between the two."""


def _s2cloudless_or_shadow(
    reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...]
) -> Float32[np.ndarray, "y x"]:
    """Two models without a common probability: the higher one."""
    return np.asarray(np.maximum(s2cloudless_probability(reflectance, bands), shadow_probability(reflectance, bands)))


def _survey(read: ReadRows, height: int, bands: tuple[str, ...]) -> TellRows:
    """The same of a scene that is read in strips; only shadow depends on its surroundings."""
    shadow = _SHADOW["L1C"].over(read, height, bands)

    def tell(top: int, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
        cloud = s2cloudless_probability(reflectance, bands)
        return np.asarray(np.maximum(cloud, shadow(top).probability(reflectance, bands)))

    return tell


S2CLOUDLESS_SHADOW = Detector(
    "s2cloudless+shadow",
    f"{version('s2cloudless')}, {CSMASK_SHADOW.version}",
    tuple(band for band in SENTINEL2.bands if band in S2CLOUDLESS_BANDS + CSMASK_BANDS),
    _s2cloudless_or_shadow,
    _survey,
)
"""The paper's cloud or the shadow of ukis-csmask, whichever is more probable."""

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


# Detectors that take cloud shadow for cloud, so that a remover mends what lies in shadow, too.
#
# The paper's map knows no shadow (section II-A). Here the probability of cloud or shadow becomes the map m in the
# paper's way. This is our decision, not the paper's, and off by default: it is chosen by the detector's name.


_SHADOW: dict[Level, Detector] = {
    "L1C": csmask_detector("csmask", "L1C", (SHADOW,)),
    "L2A": csmask_detector("csmask-l2a", "L2A", (SHADOW,)),
}


def shadow_probability(
    reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...], level: Level = "L1C"
) -> Float32[np.ndarray, "y x"]:
    """Probability of cloud shadow by ukis-csmask, which looks at pixels of 30 m.

    Args:
        reflectance: Reflectance of 10 m pixels; NaN where there is no data.
        bands: Its band names, among them those of :data:`~unclouded.clouds.csmask.BANDS`, and B10 with L1C.
        level: Which product it is.

    Returns:
        Probability in [0, 1]; NaN where any of the six bands has no data.

    Raises:
        InputError: A band is missing, the product is of the other level, or the extra ``csmask`` is not installed.
    """
    return _SHADOW[level].probability(reflectance, bands)
