"""Words that several commands share."""

from enum import StrEnum


class Bands(StrEnum):
    """Which optical bands a command works on."""

    RGB = "rgb"
    ALL = "all"

    def names(self) -> tuple[str, ...]:
        """Return the band names."""
        from unclouded.sensors import RGB, SENTINEL2

        return RGB if self is Bands.RGB else SENTINEL2.bands


class Part(StrEnum):
    """Which part of a data set a command works on."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    ALL = "all"


class CloudMode(StrEnum):
    """How the cloud map is made; see ``unclouded.clouds.map``."""

    CONTINUOUS = "continuous"
    BINARY = "binary"
    ONES = "ones"


class Painted(StrEnum):
    """How synthetic clouds are painted; see ``unclouded.clouds.synthetic``."""

    PERLIN = "perlin"
    COPY = "copy"


def default_device() -> str:
    """Return cuda where there is one, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
