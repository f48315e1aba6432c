"""The default remover of scenes: of those that need no training data, the one that errs least on this very scene."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unclouded.clouds.synthetic import PERLIN, simulate
from unclouded.evaluation import metrics
from unclouded.models.baselines import baseline
from unclouded.models.inference import Engine, Precision
from unclouded.models.network import NetworkRemover
from unclouded.models.remover import CloudRemover, ConfidentRemover, SceneRemover, adapt_per_image
from unclouded.models.scene_adapted import SceneAdapted
from unclouded.models.weights import load_remover
from unclouded.prediction.products import percent_text
from unclouded.sensors import RGB
from unclouded.tensors.answers import require_answer, window_name
from unclouded.tensors.observation import Observation

SWITCH_RATIO = 0.95
"""Another remover is used if it errs less than this times as much.

A little less is no reason: the covered ground has no shadow on it and is clean right up to the painted clouds, which
flatters removers that take what lies between real clouds at its word.
"""


@dataclass(frozen=True)
class RemoverError:
    """Error of one remover over all covered pixels.

    Attributes:
        mae: Mean absolute error over pixels and bands, reflectance.
        rmse: Root-mean-square error, reflectance.
        sam: Mean spectral angle, degrees.
        pixels: How many of the covered pixels the remover answered, and was judged on. The errors are NaN if none.
    """

    mae: float
    rmse: float
    sam: float
    pixels: int

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio, dB."""
        return -20 * math.log10(self.rmse) if self.rmse != 0 else math.inf


@dataclass(frozen=True)
class ExpectedError:
    """What several removers are worth on the clear ground of one scene.

    Attributes:
        rows: Name to error, in the order asked.
        pixels: Covered pixels.
        bands: Optical bands judged.
        simulated: The clouds were painted, for the scene has none of its own.
    """

    rows: Mapping[str, RemoverError]
    pixels: int
    bands: tuple[str, ...]
    simulated: bool

    def answered_share(self, name: str) -> float:
        """Return the share of the covered pixels that a remover answered."""
        return self.rows[name].pixels / self.pixels

    @property
    def best(self) -> str | None:
        """The name with the least mean absolute error; of two that are equal the first.

        Only removers that answered at least :data:`MIN_ANSWERED_SHARE` of the covered pixels can be compared: one that
        answers where it is easy has a small error. None where there is no such remover.
        """
        names = [name for name in self.rows if self.answered_share(name) >= MIN_ANSWERED_SHARE]
        return min(names, key=lambda name: self.rows[name].mae, default=None)

    def as_json(self) -> dict[str, Any]:
        """Return rows, pixels, bands and whether the clouds were painted; None stands for errors that are unknown."""
        content = asdict(self)
        for row in content["rows"].values():
            row |= {key: None for key, value in row.items() if math.isnan(value)}
        return content


@dataclass(frozen=True, eq=False)
class SelectedRemover:
    """A remover that was chosen for a scene, and why.

    Attributes:
        remover: Adapted to the scene.
        confident: Tells how much the scene says about a pixel, whichever remover is used.
        expected: What each candidate was worth; None where the scene has too little clear ground to tell, and the
            first candidate was taken.
        reason: Why this remover, in a sentence.
    """

    remover: CloudRemover
    confident: ConfidentRemover
    expected: ExpectedError | None
    reason: str

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.remover.name

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands it needs, and returns in this order."""
        return self.remover.bands

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance."""
        return self.remover(observation)

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image, and the confidence in it."""
        if self.remover is self.confident:
            return self.confident.with_confidence(observation)
        answer = self.remover(observation)
        _, sure = self.confident.with_confidence(observation)
        return answer, sure.masked_fill(answer.isnan().any(dim=1, keepdim=True), math.nan)


@dataclass(frozen=True)
class AutoRemover:
    """A :class:`~unclouded.models.remover.SceneRemover` that decides by the expected error of the scene.

    Attributes:
        preferred: Used unless another one errs clearly less.
        others: Of the same bands.
        seed: Of the clouds that the candidates are judged under.
    """

    preferred: SceneAdapted
    others: tuple[CloudRemover, ...]
    seed: int = 0
    name: str = "auto"

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands it needs, and returns in this order."""
        return self.preferred.bands

    @property
    def margin_px(self) -> int:
        """The widest of the candidates'."""
        others = (one.margin_px for one in self.others if isinstance(one, SceneRemover))
        return max(self.preferred.margin_px, *others, 0)

    @property
    def align_px(self) -> int:
        """Windows may start anywhere: all candidates are rules of pixels and their surroundings."""
        return 1

    def adapt(self, sample: Sequence[Observation]) -> SelectedRemover:
        """Compare the candidates on the clear ground of the sample, and adapt the best of them."""
        candidates = (self.preferred, *self.others)
        expected = expected_error(candidates, sample, np.random.default_rng(self.seed))
        first = self.preferred.adapt(sample)
        name, reason = select_remover(expected, self.preferred.name)
        if name == self.preferred.name:
            return SelectedRemover(first, first, expected, reason)
        best = next(one for one in self.others if one.name == name)
        return SelectedRemover(adapt_to_sample(best, sample), first, expected, reason)

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image; every image of a batch is a scene of its own."""
        return self.with_confidence(observation)[0]

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image and the confidence in it; every image of a batch is a scene of its own."""
        return adapt_per_image(self, observation)


def select_remover(expected: ExpectedError | None, preferred: str) -> tuple[str, str]:
    """Return the name of the remover to use, and the reason in a sentence.

    Args:
        expected: Errors on covered clear ground; None where there is too little of it.
        preferred: Used unless another one errs clearly less, or it answered too few of the covered pixels.
    """
    if expected is None:
        return (
            preferred,
            f"{preferred} was used, for fewer than {MIN_COVERED_PX} px of clear ground could be covered to compare",
        )
    left_out = "".join(
        f"; {name} was left out, for it answered {percent_text(expected.answered_share(name))} of them, and "
        f"{percent_text(MIN_ANSWERED_SHARE)} are needed"
        for name in expected.rows
        if expected.answered_share(name) < MIN_ANSWERED_SHARE
    )
    on = f"on {expected.pixels:,} covered px of clear ground"
    best, rows = expected.best, expected.rows
    if best is None:
        return preferred, f"{preferred} was used, for no remover could be judged {on}{left_out}"
    if expected.answered_share(preferred) < MIN_ANSWERED_SHARE:
        return best, f"{best} was used, with a mean error of {rows[best].mae:.4f} {on}{left_out}"
    if best == preferred:
        return best, f"{best} was used, for it erred least {on}{left_out}"
    less = f"erred {percent_text(1 - rows[best].mae / rows[preferred].mae)} less than"
    if rows[best].mae < SWITCH_RATIO * rows[preferred].mae:
        return best, f"{best} was used, for it {less} {preferred} {on}{left_out}"
    needed = f"and a change needs more than {percent_text(1 - SWITCH_RATIO)}"
    return preferred, f"{preferred} was used, for {best} {less} it {on}, {needed}{left_out}"


def auto_remover(bands: tuple[str, ...] = RGB) -> AutoRemover:
    """Return the default remover: ``scene-adapted``, unless ``clear-mean`` or ``sar-regression`` errs less."""
    return AutoRemover(SceneAdapted(bands), (baseline("clear-mean", bands), baseline("sar-regression", bands)))


# A remover as a user asks for it: a value that travels to other processes, where it is found anew.


AUTO = "auto"
"""Name of the choice that is made for each scene; the same as no name."""


@dataclass(frozen=True)
class RemoverSpec:
    """What is asked for.

    Attributes:
        name: Weights file, ``scene-adapted`` or a baseline; None or ``auto`` for the best of each scene that
            needs no weights.
        bands: Optical bands; None for those of the network, or red, green and blue where there is none.
        device: Where a network runs.
        precision: What it computes in.
        engine: What runs it.
    """

    name: str | None = None
    bands: tuple[str, ...] | None = None
    device: str = "cpu"
    precision: Precision = "auto"
    engine: Engine = "torch"

    def find(self) -> CloudRemover:
        """Return the remover.

        Raises:
            InputError: There is no such remover, or it was made for other bands.
        """
        if self.name in (None, AUTO):
            return auto_remover(self.bands or RGB)
        remover = load_remover(self.name, self.bands, self.device)
        if isinstance(remover, NetworkRemover):
            return replace(remover, precision=self.precision, engine=self.engine)
        return remover


# The error to expect of this very scene: clear ground is covered with its own clouds, cleared, and compared.


COVERED_SHARE = 1 / 3
"""How much of the clear ground of a window is covered, as nearly as the scene's clouds allow."""

CLOUDS_TRIED = 12
"""How many clouds are tried on each window."""

MIN_ANSWERED_SHARE = 0.95
"""Share of the covered pixels that a remover has to answer to be compared with others."""

MIN_COVERED_PX = 400
"""Covered pixels below which nothing is said."""


def expected_error(
    removers: Sequence[CloudRemover | SceneRemover], sample: Sequence[Observation], rng: np.random.Generator
) -> ExpectedError | None:
    """Cover a part of the clear ground with clouds by Copy (section III-B.4 of the paper), clear it, and compare.

    The clouds are those of the scene, taken from elsewhere in the sample, mirrored and shifted; a scene without any is
    painted with Perlin clouds. The removers learn from what is left clear. Where copied clouds are thin, other ground
    than the pixel's own shows through, so that this expects rather too much error than too little.

    Args:
        removers: To compare; all for the same bands. Each is adapted to the covered sample.
        sample: Windows of the scene, each a batch of one.
        rng: Chooses the clouds.

    Returns:
        None where less than :data:`MIN_COVERED_PX` of clear ground could be covered.
    """
    bands = removers[0].bands
    seen = [one.select(bands) for one in sample]
    simulated = not any(bool(one.is_cloudy.any()) for one in seen)
    covered = [_with_simulated_clouds(one, rng) if simulated else _with_copied_clouds(one, seen, rng) for one in seen]
    hidden = [after.is_cloudy & _is_clear(before) for before, after in zip(seen, covered, strict=True)]
    pixels = sum(int(where.sum()) for where in hidden)
    if pixels < MIN_COVERED_PX:
        return None
    rows = {}
    for remover in removers:
        knows_scene = adapt_to_sample(remover, covered)
        answers = (  # those that are not complete count against the remover, see ExpectedError.best
            require_answer(knows_scene(one), one, remover.name, window_name(one), complete=False) for one in covered
        )
        rows[remover.name] = _error(zip(answers, seen, hidden, strict=True))
    return ExpectedError(rows, pixels, bands, simulated)


def adapt_to_sample(remover: CloudRemover | SceneRemover, sample: Sequence[Observation]) -> CloudRemover:
    """Return a remover that knows the scene, if it is one that can."""
    return remover.adapt(sample) if isinstance(remover, SceneRemover) else remover


def _is_clear(seen: Observation) -> Bool[Tensor, "1 1 h w"]:
    known = seen.cloudy.isfinite().all(dim=1, keepdim=True) & seen.sar.isfinite().all(dim=1, keepdim=True)
    return known & ~seen.is_cloudy


def _with_simulated_clouds(seen: Observation, rng: np.random.Generator) -> Observation:
    name = f"{seen.origin_px} {rng.integers(2**31)}"
    painted = simulate(name, seen.cloudy[0].float().numpy(), seen.bands, PERLIN)
    return replace(
        seen, cloudy=torch.from_numpy(painted.cloudy)[None], cloud_map=torch.from_numpy(painted.cloud_map)[None, None]
    )


def _with_copied_clouds(seen: Observation, sample: Sequence[Observation], rng: np.random.Generator) -> Observation:
    """Of several clouds taken from elsewhere, lay on those that cover about the wanted share of the clear ground."""
    ground = _is_clear(seen)
    alike = [one for one in sample if one.cloudy.shape == seen.cloudy.shape and bool(one.is_cloudy.any())]
    if not alike or not ground.any():
        return seen

    def miss(clouds: Observation) -> float:
        return abs(clouds.is_cloudy[ground].double().mean().item() - COVERED_SHARE)

    return _copy_clouds(seen, min(_shifted_clouds(alike, rng), key=miss))


def _shifted_clouds(sample: Sequence[Observation], rng: np.random.Generator) -> Iterator[Observation]:
    """Windows of the sample, each mirrored at random and shifted round by a third to two thirds of its side."""
    for _ in range(CLOUDS_TRIED):
        one = sample[int(rng.integers(len(sample)))]
        mirrored = [axis for axis in (-2, -1) if rng.random() < 0.5]
        shift = [int(side * rng.uniform(1 / 3, 2 / 3)) for side in one.cloudy.shape[-2:]]
        moved = (image.flip(mirrored).roll(shift, (-2, -1)) for image in (one.cloudy, one.cloud_map))
        yield replace(one, cloudy=next(moved), cloud_map=next(moved))


def _copy_clouds(seen: Observation, clouds: Observation) -> Observation:
    """Copy, on clear ground only: m times the cloud and 1 - m times the ground."""
    over = _is_clear(seen) & clouds.cloudy.isfinite().all(dim=1, keepdim=True)
    m = torch.where(over, clouds.cloud_map, 0.0)
    mixed = torch.where(m > 0, m * clouds.cloudy + (1 - m) * seen.cloudy, seen.cloudy)
    return replace(seen, cloudy=mixed, cloud_map=torch.where(over, m, seen.cloud_map))


def _error(judged: Iterator[tuple[Float[Tensor, "1 band h w"], Observation, Bool[Tensor, "1 1 h w"]]]) -> RemoverError:
    """Means over the hidden pixels of the sample that the remover answers, and their number."""
    total = torch.zeros(4, dtype=torch.float64)
    for answer, truth, hidden in judged:
        where = hidden & answer.isfinite().all(dim=1, keepdim=True)
        if not (pixels := int(where.sum())):
            continue
        x, y = answer.float().clamp(0.0, 1.0), truth.cloudy.float().clamp(0.0, 1.0)
        errors = (
            metrics.mean_absolute_error(x, y, where).item(),
            metrics.root_mean_square_error(x, y, where).item() ** 2,
            metrics.spectral_angle_deg(x, y, where).item(),
        )
        total += pixels * torch.tensor([1.0, *errors], dtype=torch.float64)
    mae, square, sam = (total[1:] / total[0]).tolist()
    return RemoverError(mae, math.sqrt(square), sam, int(total[0]))
