"""Every cloud detector by its name."""

from importlib.metadata import version

from unclouded.clouds.csmask import CSMASK, CSMASK_L2A
from unclouded.clouds.detector import Detector
from unclouded.clouds.s2cloudless import BANDS, package_probability, s2cloudless_probability
from unclouded.clouds.shadow import CSMASK_L2A_SHADOW, CSMASK_SHADOW, S2CLOUDLESS_SHADOW
from unclouded.errors import InputError
from unclouded.settings import nearest

S2CLOUDLESS = Detector("s2cloudless", version("s2cloudless"), BANDS, s2cloudless_probability)
"""The paper's detector."""

S2CLOUDLESS_PACKAGE = Detector("s2cloudless-package", version("s2cloudless"), BANDS, package_probability)
"""The same by its own package, tens of times slower: the reference of the other."""

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


def detector(name: str) -> Detector:
    """Return a detector by name.

    Raises:
        InputError: There is no such detector.
    """
    if name in DETECTORS:
        return DETECTORS[name]
    raise InputError(f"{name[:80]!r} is no cloud detector{nearest(name, list(DETECTORS))}")
