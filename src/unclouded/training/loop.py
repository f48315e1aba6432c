"""The training loop (section III-B.2): plain to read, and the same bytes whether it was ever killed or not."""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, device

from unclouded.errors import BusyError, InputError, InterruptedRunError, MachineError, StoppedError
from unclouded.evaluation.pictures import write_comparison
from unclouded.files import require_room
from unclouded.machine import capped
from unclouded.models.cloud_map import TrainedMap
from unclouded.models.cyclegan import SarToOptical
from unclouded.models.network import NetworkRemover
from unclouded.models.weights import initialise_from_weights, read_record, save_weights
from unclouded.progress import ProgressCallback, TrainingCallback, no_progress
from unclouded.tensors.dataset import TripletSource
from unclouded.training.callbacks import MetricLogger, Part, mean_terms
from unclouded.training.checkpoint import RunFolder
from unclouded.training.data import Batches, EpochOrder, equally_spaced, loaded, training_data
from unclouded.training.distributed import (
    StopRequest,
    all_gathered,
    any_rank,
    broadcast_from_rank_zero,
    graceful_shutdown,
    launch,
    on_rank_zero,
    report_lost_ranks,
)
from unclouded.training.forecast import WARM_UP_STEPS, forecast, total_steps
from unclouded.training.objectives import (
    TOTAL,
    ExponentialMovingAverage,
    OptimiserGroup,
    build_objective,
    collect_state,
    restore_state,
)
from unclouded.training.preparation import Prepared, add_session, prepare, training_data_summary
from unclouded.training.sessions import rate_jump
from unclouded.training.settings import TrainSettings
from unclouded.training.step import CLEAR_RESIDUAL, Batch, Terms
from unclouded.training.validation import is_best, validate


def train(
    settings: TrainSettings,
    run: RunFolder,
    *,
    resume: bool = False,
    on_progress: ProgressCallback = no_progress,
    callback: TrainingCallback | None = None,
) -> None:
    """Train what the settings name, and leave weights, log and pictures in the run's folder.

    On more than one device every process calls this with the same arguments; only that of rank 0 writes, is told, and
    raises.

    Args:
        settings: What to learn, from which patches.
        run: Where to.
        resume: Go on from the last saved state; on a CPU the end is the same, byte for byte, as without the break.
        on_progress: Is told stage, done and total.
        callback: Hears terms and warnings.

    Raises:
        InputError: Settings, patches, folder or device are not fit.
        MachineError: The disk is full, too small or read-only; the last saved state is whole.
        BusyError: Another process writes this run.
        StoppedError: A loss or a gradient was not finite, or a worker died; the last saved state is whole.
        InterruptedRunError: SIGTERM or SIGINT came; the state after the step it came in is saved.
    """
    fabric = launch(settings.device)
    try:
        with report_lost_ranks(fabric), ExitStack() as held:
            on_rank_zero(fabric, lambda: held.enter_context(run.lock()))
            heard = callback or TrainingCallback()
            prepared = prepare(settings, run, fabric, resume, on_progress, heard)
            Training(prepared, run, fabric, on_progress, heard).go()
    except MachineError as error:
        if fabric.is_global_zero:
            more = "; --resume goes on with this run" if run.has_started() else ""
            raise MachineError(f"{error}{more}") from error
    except (InputError, BusyError, InterruptedRunError):  # every rank meets these; a stop may be one's own
        if fabric.is_global_zero:
            raise


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(one.numel() * one.element_size() for one in tensors)


class Training:
    """Everything that changes during a run, and the loop that changes it."""

    def __init__(
        self,
        prepared: Prepared,
        run: RunFolder,
        fabric: Fabric,
        on_progress: ProgressCallback,
        callback: TrainingCallback,
    ) -> None:
        settings, triplets, self.judged, self.before = prepared
        self.settings, self.run, self.fabric, self.told, self.callback = settings, run, fabric, on_progress, callback
        self.data = training_data(triplets, settings)
        self.objective = build_objective(settings, fabric)
        if settings.start_from is not None and not run.state.exists():
            initialise_from_weights(self.objective.generator, settings.network, settings.start_from)
        networks, schedule = self.objective.networks, settings.schedule
        self.optimiser_groups = [
            OptimiserGroup(name, [p for one in members for p in networks[one].parameters()], schedule)
            for name, members in self.objective.optimiser_groups.items()
        ]
        decay = schedule.ema_decay
        self.ema = ExponentialMovingAverage(self.objective.generator, decay) if decay else None
        self.monitor, self.warm_up = DiscriminatorMonitor(), list[float]()
        self.step = self._restored_step()
        self.metric_logger: MetricLogger  # begun with the first step, for what it writes begins a run

    def go(self) -> None:
        """Take every step that is left."""
        settings, schedule = self.settings, self.settings.schedule
        rank, ranks = self.fabric.global_rank, self.fabric.world_size
        order = EpochOrder(
            len(self.data), settings.patches_a_step, schedule.epochs, settings.seed, self.step, rank, ranks
        )
        total = total_steps(settings, len(self.data))
        if self.step >= total:
            self.callback.on_message(f"nothing is left to do: {self.step:,} of {total:,} steps are taken")
            on_rank_zero(self.fabric, self._complete_weights)
            return
        on_rank_zero(self.fabric, lambda: self._require_room(order.steps_per_epoch, total))
        self.metric_logger = MetricLogger(self.run, settings, self.fabric, self.step)
        self._begin_session(order.steps_per_epoch)
        workers, remark = capped("device.workers", settings.device.workers, settings.device.devices)
        if remark and self.fabric.is_global_zero:
            self.callback.on_message(remark)
        reading = loaded(self.data, order, schedule.batch, workers)
        with graceful_shutdown() as request, reading as steps:
            started = time.perf_counter()
            for batches in steps:
                epoch = self.step // order.steps_per_epoch
                rate = schedule.learning_rate * schedule.lr_factor_at(self.step + 1, epoch)
                parts = self._take_step(batches, rate, order.patches_of(self.step))
                self.step += 1
                self._record(epoch, rate, parts, time.perf_counter() - started, total)
                if is_previewed(self.step, settings.logging.preview_every) and self.fabric.is_global_zero:
                    picture = self.run.previews / f"step_{self.step:07d}.png"
                    write_preview(picture, self.remover(), self.data.triplets, self.step, self.fabric.device)
                    self.objective.generator.train()
                keep_every = settings.logging.keep_every
                if keep_every and self.step % keep_every == 0 and self.fabric.is_global_zero:
                    self._save_weights(self.run.kept(self.step))
                if self.judged is not None and self.step % settings.validation.every == 0:
                    self._validate(self.judged)
                if self.step == total or self._is_saved(order.steps_per_epoch):
                    self._save()
                if self.step == total:
                    break
                self._stop_if_requested(request)
                started = time.perf_counter()

    def _begin_session(self, steps_per_epoch: int) -> None:
        """Record what a resumed run goes on with; warn where the learning rate jumps."""
        if self.before is None or not self.fabric.is_global_zero:
            return
        warning = rate_jump(self.before.schedule, self.settings.schedule, self.step, steps_per_epoch)
        if warning:
            self.callback.on_message(warning)
        self.run.write_settings(self.settings)
        add_session(self.run, self.step, self.settings, warning)

    def _is_saved(self, steps_per_epoch: int) -> bool:
        return self.step % (self.settings.logging.checkpoint_every or steps_per_epoch) == 0

    def _take_step(self, batches: Batches, rate: float, patches: int) -> list[Part]:
        """Let each learner in turn see its losses on every batch, and then change its weights once.

        Every batch counts by its share of the step's patches, those of other ranks included.
        """
        seen = [
            Batch.of(triplet.to(self.fabric.device), paired, self.settings.network.scaling)
            for triplet, paired in batches
        ]
        losses = [self.objective.losses(batch) for batch in seen]
        watched: list[Terms] = [{} for _ in seen]
        for group in self.optimiser_groups:
            with group.freeze_others(self.optimiser_groups):
                for batch, one, terms in zip(seen, losses, watched, strict=True):
                    loss, new = next(one)
                    terms |= {name: term.detach() for name, term in new.items()}
                    torch.autograd.backward(loss * (len(batch.paired) / patches))
                if not group.update(rate, self.fabric):
                    found = [not_finite(batch.names, terms) for batch, terms in zip(seen, watched, strict=True)]
                    everybodys = [one for share in all_gathered(self.fabric, found) for one in share]
                    raise not_finite_error(self.step + 1, everybodys, self.run.state)
        broadcast_from_rank_zero(
            self.fabric, [one for net in self.objective.networks.values() for one in net.buffers()]
        )
        if self.ema is not None:
            self.ema.update(self.objective.generator, self.step + 1)
        return [
            (len(batch.paired), {name: float(term) for name, term in terms.items()})
            for batch, terms in zip(seen, watched, strict=True)
        ]

    def _stop_if_requested(self, request: StopRequest) -> None:
        """Save and end if any rank was asked to."""
        number = any_rank(self.fabric, request.signal or 0)
        if not number:
            return
        self._save()
        raise InterruptedRunError(
            number, f"signal {number} ended the run after step {self.step}, which is saved; go on with --resume"
        )

    def _record(self, epoch: int, rate: float, parts: Sequence[Part], seconds: float, total: int) -> None:
        self.metric_logger.record(self.step, epoch, rate, parts, seconds)
        if not self.fabric.is_global_zero:
            return
        self.told("training", self.step, total)
        terms = mean_terms(parts)
        self.callback.on_step(self.step, terms)
        if warning := self.monitor.warning(terms):
            self.callback.on_message(warning)
        self.warm_up.append(seconds)
        if len(self.warm_up) == WARM_UP_STEPS and self.step < total:
            self.callback.on_message(forecast(self.warm_up, self.settings, len(self.data), self.step))

    def remover(self) -> NetworkRemover:
        """Return the cloud remover as it is now, or the average of what it was, where that is wanted."""
        trained_map = TrainedMap(self.settings.clouds, self.settings.synthetic)
        return NetworkRemover(self._shown, self.settings.network, trained_map=trained_map)

    @property
    def _shown(self) -> SarToOptical:
        return self.ema.network if self.ema is not None else self.objective.generator

    def _validate(self, judged: TripletSource) -> None:
        """Let rank 0 judge, while the others wait for it in the next step; the weights of the best step are kept."""
        if not self.fabric.is_global_zero:
            return
        scores = validate(self.remover(), judged, self.fabric.device)
        self.objective.generator.train()
        if is_best(scores, self.run):
            self._save_weights(self.run.best)
        self.metric_logger.validated(self.step, scores)

    def _save(self) -> None:
        """Everything that the next step depends on, then the remover; every rank waits until both are on disk."""
        state = collect_state(self.step, self.objective, self.optimiser_groups, self.ema, self.fabric)

        def write() -> None:
            assert state is not None  # rank 0 has it
            self.run.save_state(state)
            self._save_weights(self.run.weights)

        on_rank_zero(self.fabric, write)

    def _complete_weights(self) -> None:
        """Write the weights of the last step where a full disk, or a kill, came between them and the state."""
        path = self.run.weights
        if not path.is_file() or read_record(path).training.get("steps") != str(self.step):
            self._save_weights(path)

    def _require_room(self, steps_per_epoch: int, total: int) -> None:
        """Refuse to begin what cannot be saved.

        A file is replaced when the new one is whole, so that for a moment there are two of it.

        Raises:
            MachineError: The disk is too small.
        """
        weights = _bytes_of(self._shown.state_dict().values())
        learnt = [one for group in self.optimiser_groups for one in group.parameters]
        networks = [one for net in self.objective.networks.values() for one in net.state_dict().values()]
        ema = [] if self.ema is None else self._shown.state_dict().values()
        state = _bytes_of(networks) + 2 * _bytes_of(learnt) + _bytes_of(ema)  # Adam keeps two moments of each
        every = self.settings.logging.checkpoint_every or steps_per_epoch
        again = self.run.state.exists() or total - self.step > every
        first = 0 if self.run.state.exists() else state + weights
        kept = self.settings.logging.keep_every
        extra = weights * ((total // kept - self.step // kept if kept else 0) + (self.judged is not None))
        require_room(self.run.path, first + again * state + extra, "save this run")

    def _save_weights(self, path: Path) -> None:
        trained_map = TrainedMap(self.settings.clouds, self.settings.synthetic)
        save_weights(path, self._shown, self.settings.network, self._summary(), trained_map)

    def _summary(self) -> dict[str, str]:
        """Return what users of the weights should know."""
        decay = self.settings.schedule.ema_decay
        return {
            "steps": str(self.step),
            "patches": str(len(self.data)),
            "weights": f"moving average with decay {decay:g}" if decay else "of the last step",
            "settings": self.settings.model_dump_json(),
            **training_data_summary(self.run),
        }

    def _restored_step(self) -> int:
        """Take up the saved state, if there is one; return its step."""
        state = self.run.load_state()
        step = restore_state(state, self.objective, self.optimiser_groups, self.ema, self.fabric) if state else 0
        broadcast_from_rank_zero(
            self.fabric, [one for net in self.objective.networks.values() for one in net.parameters()]
        )
        return step


# What a run says when a loss or a gradient is no number.


Found = Mapping[str, Sequence[str]]
"""Names of patches, and the terms that are not finite on them."""


def not_finite(names: str, terms: Terms) -> Found:
    """Name the terms of a batch that are not finite, apart from those that may be."""
    watched = (CLEAR_RESIDUAL, TOTAL)
    return {names: [name for name, term in terms.items() if not term.isfinite() and name not in watched]}


def not_finite_error(step: int, found: Sequence[Found], state: Path) -> StoppedError:
    """Name the patches whose terms are not finite; all patches of the step, where only a gradient is not.

    Args:
        step: Number of the step, counted from 1.
        found: Of every batch of every rank.
        state: Where the last saved state is, if there is one.
    """
    everywhere = {names: terms for one in found for names, terms in one.items()}
    guilty = {names: terms for names, terms in everywhere.items() if terms}
    guilty = guilty or {names: ["gradient"] for names in everywhere}
    told = "; ".join(f"{', '.join(terms)} is not finite on patch {names}" for names, terms in guilty.items())
    kept = f"the state of an earlier step is in {state}" if state.exists() else "nothing was saved"
    return StoppedError(f"step {step}: {told}; {kept}; look at the patch, or lower schedule.learning_rate")


# Pictures of what a run has learnt so far.


PREVIEWED = 4
"""Patches in every preview picture, equally spaced over the run's patches."""

EARLY = (1, 10, 100)
"""Steps of the first previews, where a run that goes wrong shows it."""


def is_previewed(step: int, every: int) -> bool:
    """Say whether a picture is due after a step; ``every`` 0 wants none."""
    return every > 0 and (step % every == 0 or step in EARLY)


def write_preview(path: Path, remover: NetworkRemover, triplets: TripletSource, step: int, place: device) -> None:
    """Draw what a remover makes of some of the run's own patches, beside what they should be."""
    shown = [triplets[i] for i in equally_spaced(min(PREVIEWED, len(triplets)), len(triplets))]
    rows = [(triplet, {"prediction": remover(triplet.observation.to(place)).cpu()}) for triplet in shown]
    write_comparison(path, rows, title=f"step {step}")


# Whether the discriminators leave the generators anything to learn.


WINDOW = 200
"""Steps over which the judgements are averaged."""

WON = 0.9
"""Mean distance between the judgements of real and generated images from which on a discriminator has won."""


class DiscriminatorMonitor:
    """Watches the mean judgements of real and of generated images, and warns once of a discriminator that has won.

    Least squares teach a discriminator to answer 1 and 0; where it does so everywhere, the generators' gradient says
    only "wrong", and colours drift.

    Args:
        window: Steps to average over.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self._seen: dict[str, deque[tuple[float, float]]] = {}
        self._warned: set[str] = set()

    def warning(self, terms: Mapping[str, float]) -> str | None:
        """Return a sentence when a discriminator has won over the last steps, the first time it does."""
        for domain in ("sar", "optical"):
            if f"{domain}_real" not in terms or domain in self._warned:
                continue
            seen = self._seen.setdefault(domain, deque(maxlen=self.window))
            seen.append((terms[f"{domain}_real"], terms[f"{domain}_generated"]))
            real, generated = (sum(values) / len(seen) for values in zip(*seen, strict=True))
            if len(seen) == self.window and real - generated > WON:
                self._warned.add(domain)
                return (
                    f"the {domain} discriminator has won (real {real:.2f}, generated {generated:.2f} over {self.window}"
                    f" steps): the generator gets nothing from it; see docs/coloured-noise.md"
                )
        return None
