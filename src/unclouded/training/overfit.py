"""Whether a set-up can learn at all: one step's patches, again and again, until they are known by heart."""

from dataclasses import dataclass
from statistics import median

from unclouded.errors import InputError
from unclouded.training.run import RunFolder
from unclouded.training.settings import TrainSettings, Validation

STEPS = 200
"""Steps that are worth taking, unless schedule.max_steps says otherwise."""
HALVED = 0.5
"""Part of its first value that the difference to the target has to fall below."""
_LAST = 10


def overfit_settings(settings: TrainSettings) -> TrainSettings:
    """Return the same set-up on one step's patches, paired, at the full rate."""
    steps = settings.schedule.max_steps or STEPS
    schedule = {"epochs_constant": steps, "epochs_decay": 0, "max_steps": steps}
    return settings.model_copy(
        update={
            "subset": settings.patches_a_step,
            "paired_percent": 100.0,
            "schedule": settings.schedule.model_copy(update=schedule),
            "journal": settings.journal.model_copy(update={"log_every": 1}),
            "validation": Validation(),
        }
    )


@dataclass(frozen=True)
class Verdict:
    """What became of the mean |prediction - clear|, in network values.

    Attributes:
        first: At the first step.
        last: Median of the last steps.
        steps: How many there were.
    """

    first: float
    last: float
    steps: int

    @property
    def learns(self) -> bool:
        """Whether the difference was at least halved."""
        return self.last <= HALVED * self.first

    def __str__(self) -> str:
        fell = f"|prediction - clear| went from {self.first:.4f} to {self.last:.4f} in {self.steps} steps"
        if self.learns:
            return f"{fell}: this set-up can learn a batch by heart"
        return f"{fell}, expected at most half: more steps, another rate, or other loss weights; see docs/training.md"


def verdict(run: RunFolder) -> Verdict:
    """Judge a run of :func:`overfit_settings`.

    Raises:
        InputError: Its log has no such term.
    """
    differences = [entry["pixel"] for entry in run.read_log() if entry.get("pixel") is not None]
    if not differences:
        raise InputError(f"{run.log} has no pixel term; run --overfit-one in a folder of its own")
    return Verdict(differences[0], median(differences[-_LAST:]), len(differences))
