from collections.abc import Callable, Sequence

import pytest

from unclouded.evaluation.scores import AREAS, METRICS, PatchScores, Scores
from unclouded.sensors import RGB

Simulate = Callable[..., Scores]


@pytest.fixture
def simulate() -> Simulate:
    """Scores of patches whose metrics all have one value a patch."""

    def make(values: Sequence[float], regions: Sequence[str] | None = None, pixels: int = 9) -> Scores:
        named = regions or ["ROIs1158_spring_1"] * len(values)
        patches = [
            PatchScores(
                f"{region}_p{number}",
                number / len(values),
                dict.fromkeys(AREAS, pixels),
                dict.fromkeys(AREAS, dict.fromkeys(METRICS, value)),
                brightness=0.04 + number / 10,
                sha256=f"{number}{value}",
                region=region,
            )
            for number, (value, region) in enumerate(zip(values, named, strict=True))
        ]
        return Scores(RGB, "kept", tuple(patches))

    return make
