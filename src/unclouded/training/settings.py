"""Settings of a training run; defaults are the protocol of the paper (section III-B.2)."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings
from unclouded.files import resolved
from unclouded.models.card import NOT_STATED, CardText
from unclouded.models.network import NetworkSettings
from unclouded.settings import Settings, settings_from
from unclouded.training.keys import with_present_name
from unclouded.training.losses import LossWeights
from unclouded.training.preset import read_source
from unclouded.vgg import AUTO

MOST_EPOCHS, MOST_STEPS, MOST_PATCHES = 1_000_000, 10**12, 1_000_000
"""Upper bounds that no run reaches; larger numbers are mistakes and would overflow later."""

_PATHS = ("patches", "clear", "patch_list", "start_from")


class PastSchedule(Settings):
    """Schedule of an earlier part of a resumed run whose schedule was changed.

    Attributes:
        until_step: Last step of this schedule.
        epochs_constant: As in :class:`Schedule`.
        epochs_decay: As in :class:`Schedule`.
    """

    until_step: int = Field(ge=1, le=MOST_STEPS)
    epochs_constant: int = Field(ge=0, le=MOST_EPOCHS)
    epochs_decay: int = Field(ge=0, le=MOST_EPOCHS)


class Schedule(Settings):
    """Number of steps and learning rate.

    Attributes:
        learning_rate: Adam's, for both optimisers.
        epochs_constant: Epochs at the full rate (n_iter).
        epochs_decay: Epochs during which the rate falls linearly (n_decay).
        batch: Triplets that go through the networks together on a device; the paper's code uses one.
        accumulate: Batches whose gradients are averaged before a step changes the weights.
        clip_norm: Largest gradient norm of the generators, and of the discriminators; None for no limit.
        ema_decay: Decay of the moving average of the remover's weights, which is what is saved then; 0 for none.
        max_steps: Largest number of steps; None for no limit.
        earlier: Written by ``--resume``: epochs_constant and epochs_decay of earlier sessions of this run, each with
            its last step; a run that is repeated from its record follows them.
    """

    learning_rate: float = Field(2e-4, gt=0, le=1)
    epochs_constant: int = Field(50, ge=0, le=MOST_EPOCHS)
    epochs_decay: int = Field(25, ge=0, le=MOST_EPOCHS)
    batch: int = Field(1, ge=1, le=MOST_PATCHES)
    accumulate: int = Field(1, ge=1, le=MOST_PATCHES)
    clip_norm: PositiveFloat | None = None
    ema_decay: float = Field(0.0, ge=0, lt=1)
    max_steps: int | None = Field(None, ge=1, le=MOST_STEPS)
    earlier: tuple[PastSchedule, ...] = Field((), max_length=1000)

    @model_validator(mode="after")
    def _one_after_the_other(self) -> "Schedule":
        ends = [one.until_step for one in self.earlier]
        if any(first >= second for first, second in pairwise(ends)):
            raise ValueError(f"earlier schedules have to be in the order of their until_step, found {ends[:10]}")
        return self

    @property
    def epochs(self) -> int:
        """All epochs."""
        return self.epochs_constant + self.epochs_decay

    def lr_factor(self, epoch: int) -> float:
        """Return 1 - max(0, 1 + n - n_iter) / (n_decay + 1) for epoch n, counted from 0."""
        return _lr_factor(epoch, self.epochs_constant, self.epochs_decay)

    def number_at(self, step: int) -> int:
        """Return which schedule of the run is in force at a step: 1 for the first. Steps are counted from 1."""
        return 1 + sum(one.until_step < step for one in self.earlier)

    def lr_factor_at(self, step: int, epoch: int) -> float:
        """Return the factor at a step of an epoch, by the schedule that is in force there."""
        number = self.number_at(step)
        if number > len(self.earlier):
            return self.lr_factor(epoch)
        past = self.earlier[number - 1]
        return _lr_factor(epoch, past.epochs_constant, past.epochs_decay)


def _lr_factor(epoch: int, epochs_constant: int, epochs_decay: int) -> float:
    return 1.0 - max(0, 1 + epoch - epochs_constant) / (epochs_decay + 1)


class LoggingSettings(Settings):
    """Intervals of log lines, previews and checkpoints; 0 switches an entry off.

    Attributes:
        log_every: Steps between two lines of the log.
        preview_every: Steps between two preview pictures; the first ones come after 1, 10 and 100 steps.
        checkpoint_every: Steps between two saved states; 0 for the steps of an epoch.
        keep_every: Steps between two weights files that are kept.
    """

    log_every: int = Field(10, ge=1, le=MOST_STEPS)
    preview_every: int = Field(500, ge=0, le=MOST_STEPS)
    checkpoint_every: int = Field(500, ge=0, le=MOST_STEPS)
    keep_every: int = Field(0, ge=0, le=MOST_STEPS)


class Validation(Settings):
    """Validation during training, on whole patches that are not trained on; the best weights are kept.

    Attributes:
        every: Steps between two validations; 0 for none.
        split: Split to validate on.
        patch_list: Text file with patch names, one per line, that restricts the split.
        patches: Number of patches, equally spaced over the list sorted by region; None for all of them.
    """

    every: int = Field(0, ge=0, le=MOST_STEPS)
    split: Literal["train", "val", "test", "all"] = "val"
    patch_list: Path | None = None
    patches: PositiveInt | None = 100


Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""Numerical precision of the networks; weights, losses and optimisers stay in float32."""

Compile = Literal["off", "default", "reduce-overhead"]
"""Modes of ``torch.compile``."""


class Device(Settings):
    """Devices of a run, in the terms of Lightning Fabric.

    Attributes:
        accelerator: cpu, cuda, mps or auto.
        devices: Number of devices on each machine; each takes its own share of the patches of a step.
        nodes: Number of machines.
        precision: 32-true; bf16-mixed; or 16-mixed, float16 with scaled losses, for graphics cards before Ampere, which
            have no bfloat16.
        compile: ``default`` compiles the networks with ``torch.compile``, ``reduce-overhead`` also replays them as CUDA
            graphs; the first step then takes minutes.
        deterministic: On CUDA, choose algorithms that give the same bytes in every run; slower. On a CPU all are.
        workers: Processes that prefetch patches, per device; 0 reads in the training process. The number is limited
            to what suits the machine.
    """

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = Field(1, ge=1, le=1024)
    nodes: int = Field(1, ge=1, le=4096)
    precision: Precision = "32-true"
    compile: Compile = "off"
    deterministic: bool = False
    workers: int = Field(0, ge=0)


class TrainSettings(Settings):
    """Settings of a training run.

    Attributes:
        objective: The paper's ``cycle``; or ``conditional``, a conditional GAN, or ``residual``, the generator alone:
            both are trained on pairs alone and need paired_percent = 100.
        patches: Root of the data set, in either layout.
        clear: Root of clear images of other places, where ``patches`` has radar and cloudy images only; the networks
            are then trained without pairs. None for a data set of triplets.
        split: Split to train on; ``train+val`` joins two of them as in the paper, ``all`` if the data set has no split.
        patch_list: Text file with patch names, one per line, that restricts the split.
        subset: Number of patches, equally spaced over the list sorted by region; None for all of them.
        paired_percent: p of ours-p; 0 trains on unpaired images only.
        real_images: Clear image that D_S2 sees as real beside a paired sample: ``unpaired``, that of another place, as
            in the paper, or ``own``, the target itself.
        crop_px: Side of the centre crop.
        clouds: The cloud map; mode ``ones`` is the ablation of section III-B.3.
        synthetic: Paint clouds on the clear images instead of showing the cloudy ones (section III-B.4).
        seed: Seed of initial weights, pairing, order and pools.
        network: Bands, width and scaling of the generators.
        discriminator_width: Filters of the first layer (ndf).
        pool: Number of generated images in each image pool, on every device.
        loss: Weights of the loss terms.
        vgg: Weights of VGG16 for the perceptual losses: a file, or ``auto`` for the offline package or
            torchvision's download.
        damaged: What to do with damaged or incomplete triplets: refuse to start, or skip them.
        licence: Licence of the weights, for their model card.
        start_from: Weights file of the same network that initialises the cloud remover of a new run, or run folder
            whose last saved state initialises all networks.
        schedule: Number of steps and learning rate.
        logging: Intervals of log lines, previews and checkpoints.
        validation: Validation during training.
        device: Devices.
    """

    objective: Literal["cycle", "conditional", "residual"] = "cycle"
    patches: Path
    clear: Path | None = None
    split: Literal["train", "train+val", "val", "test", "all"] = "train"
    patch_list: Path | None = None
    subset: PositiveInt | None = 10_000
    paired_percent: float = Field(0.0, ge=0, le=100)
    real_images: Literal["unpaired", "own"] = "unpaired"
    crop_px: int = Field(200, ge=1, le=1 << 14)
    clouds: CloudMapSettings = CloudMapSettings()
    synthetic: SyntheticSettings | None = None
    seed: int = Field(0, ge=0, lt=1 << 62)
    network: NetworkSettings = NetworkSettings()
    discriminator_width: int = Field(64, ge=1, le=1024)
    pool: int = Field(50, ge=0, le=MOST_PATCHES)
    loss: LossWeights = LossWeights()
    vgg: str = AUTO
    damaged: Literal["refuse", "skip"] = "refuse"
    licence: CardText = NOT_STATED
    start_from: Path | None = None
    schedule: Schedule = Schedule()
    logging: LoggingSettings = LoggingSettings()
    validation: Validation = Validation()
    device: Device = Device()

    @model_validator(mode="after")
    def _crop_fits_the_networks(self) -> "TrainSettings":
        if self.crop_px % 4 or self.crop_px < 32:
            raise ValueError(f"crop_px has to be a multiple of 4, at least 32, found {self.crop_px}")
        return self

    @model_validator(mode="after")
    def _supervised_objectives_need_pairs(self) -> "TrainSettings":
        if self.objective != "cycle" and self.paired_percent != 100:
            raise ValueError(
                f"objective = {self.objective!r} is trained on pairs alone; expected paired_percent = 100,"
                f" found {self.paired_percent:g}"
            )
        return self

    @model_validator(mode="after")
    def _clear_images_of_other_places_are_no_pairs(self) -> "TrainSettings":
        if self.clear is not None and (self.objective != "cycle" or self.paired_percent or self.synthetic is not None):
            raise ValueError(
                "clear names images of other places, which are no pairs; expected objective = 'cycle',"
                f" paired_percent = 0 and no synthetic clouds, found {self.objective!r}, {self.paired_percent:g} and"
                f" {'some' if self.synthetic else 'none'}"
            )
        if self.clear is not None and self.validation.every:
            raise ValueError("validation needs pairs, which clear excludes; set validation.every = 0")
        return self

    def anchored(self) -> "TrainSettings":
        """Return the same settings with absolute paths, so that a run can be repeated from any folder."""
        patch_list = self.validation.patch_list
        validation = self.validation.model_copy(update={"patch_list": patch_list and resolved(patch_list)})
        paths = {key: value and resolved(value) for key in _PATHS for value in [getattr(self, key)]}
        vgg = self.vgg if self.vgg == AUTO else str(resolved(Path(self.vgg)))
        return self.model_copy(update={**paths, "vgg": vgg, "validation": validation})

    def steps_per_epoch(self, patches: int) -> int:
        """Return the steps of an epoch over a number of patches; the last one may have fewer."""
        return -(-patches // self.patches_a_step)

    @property
    def patches_a_step(self) -> int:
        """Patches of one step, over all batches and devices."""
        return self.schedule.batch * self.schedule.accumulate * self.device.devices * self.device.nodes


def train_settings(source: Path | str, overrides: Iterable[str] = ()) -> TrainSettings:
    """Read training settings.

    Args:
        source: TOML file, or the name of a preset.
        overrides: Assignments that win over it, such as ``loss.cycle=5.0``.

    Raises:
        InputError: Neither file nor preset, or settings that are missing, unknown or out of range.
    """
    content, origin = read_source(source)
    return settings_from(TrainSettings, content, [with_present_name(one) for one in overrides], origin=origin)
