"""Every cloud detector by its name."""

import difflib
from importlib.metadata import version

from unclouded.clouds.detector import Detector
from unclouded.clouds.s2cloudless import BANDS, package_probability, s2cloudless_probability
from unclouded.errors import InputError

S2CLOUDLESS = Detector("s2cloudless", version("s2cloudless"), BANDS, s2cloudless_probability)
"""The paper's detector."""

S2CLOUDLESS_PACKAGE = Detector("s2cloudless-package", version("s2cloudless"), BANDS, package_probability)
"""The same by its own package, tens of times slower: the reference of the other."""

DETECTORS = {detector.name: detector for detector in (S2CLOUDLESS, S2CLOUDLESS_PACKAGE)}


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
