"""The training loop (section III-B.2).

:func:`train` locks the run folder, prepares the patches and runs :class:`Training`, which takes one step after another:
update each optimiser group, log, preview, validate, save. On a CPU a run that was interrupted and resumed ends with the
same bytes as one that was not. Below the loop: messages for values that are not finite, preview pictures, and a monitor
of the discriminators.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, device

from unclouded import __version__
from unclouded.errors import BusyError, InputError, InterruptedRunError, MachineError, StoppedError
from unclouded.evaluation.pictures import write_comparison
from unclouded.files import require_room
from unclouded.machine import capped
from unclouded.models.card import Card
from unclouded.models.cloud_map import TrainedMap
from unclouded.models.cyclegan import CloudRemovalGenerator
from unclouded.models.network import NetworkRemover
from unclouded.models.weights import read_record, save_weights
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
    DISCRIMINATORS,
    GENERATORS,
    TOTAL,
    ExponentialMovingAverage,
    Loss,
    build_groups,
    build_objective,
    collect_state,
    restore_state,
    start_networks,
)
from unclouded.training.preparation import Prepared, add_session, prepare, training_data_summary
from unclouded.training.sessions import rate_jump
from unclouded.training.settings import TrainSettings, train_settings
from unclouded.training.step import CLEAR_RESIDUAL, Batch, Generated, Terms
from unclouded.training.validation import is_best, validate


def train(
    settings: TrainSettings | Path | str,
    run: RunFolder | Path | str,
    *,
    resume: bool = False,
    on_progress: ProgressCallback = no_progress,
    callback: TrainingCallback | None = None,
) -> RunFolder:
    """Train a network and write weights, log and pictures to the run folder.

    With more than one device every process calls this function with the same arguments; only rank 0 writes, calls the
    callbacks and raises.

    Args:
        settings: Training settings, or a TOML file, or the name of a preset. Relative paths in them start from the
            working directory.
        run: Output folder.
        resume: Continue from the last saved state; on a CPU the result is byte for byte that of an uninterrupted run.
        on_progress: Called with (stage, completed, total).
        callback: Receives loss terms and messages.

    Returns:
        The run folder with the paths of its files, such as ``weights``.

    Raises:
        InputError: Settings, patches, folder or device are invalid.
        MachineError: The disk is full, too small or read-only; the last saved state is intact.
        BusyError: Another process writes to this run.
        StoppedError: A loss or gradient was not finite, or a worker died; the last saved state is intact.
        InterruptedRunError: SIGTERM or SIGINT was received; the state after the current step is saved.
    """
    settings = (settings if isinstance(settings, TrainSettings) else train_settings(settings)).anchored()
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    fabric = launch(settings.device)
    try:
        with report_lost_ranks(fabric), ExitStack() as held:
            on_rank_zero(fabric, lambda: held.enter_context(run.lock()))
            callback = callback or TrainingCallback()
            prepared = prepare(settings, run, fabric, resume, on_progress, callback)
            Training(prepared, run, fabric, on_progress, callback).fit()
    except MachineError as error:
        if fabric.is_global_zero:
            more = "; continue it with --resume" if run.has_started() else ""
            raise MachineError(f"{error}{more}") from error
    except (
        InputError,
        BusyError,
        InterruptedRunError,
    ):  # raised on every rank, so that rank 0 reports them; StoppedError may be of a single rank
        if fabric.is_global_zero:
            raise
    return run


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(one.numel() * one.element_size() for one in tensors)


class Training:
    """State of a run (networks, optimisers, step) and its training loop."""

    def __init__(
        self,
        prepared: Prepared,
        run: RunFolder,
        fabric: Fabric,
        on_progress: ProgressCallback,
        callback: TrainingCallback,
    ) -> None:
        settings, triplets, self.validation, self.before = prepared
        self.settings, self.run, self.fabric, self.on_progress, self.callback = (
            settings,
            run,
            fabric,
            on_progress,
            callback,
        )
        self.data = training_data(triplets, settings)
        self.objective = build_objective(settings, fabric)
        if settings.start_from is not None and not run.state.exists():
            start_networks(self.objective, settings, settings.start_from)
        self.optimiser_groups = build_groups(self.objective, settings)
        decay = settings.schedule.ema_decay
        self.ema = ExponentialMovingAverage(self.objective.generator, decay) if decay else None
        self.monitor, self.warm_up = DiscriminatorMonitor(), list[float]()
        self.step = self._restored_step()
        self.metric_logger: MetricLogger  # created by fit(), because its files mark a run as started

    def fit(self) -> None:
        """Take all remaining steps."""
        settings, schedule = self.settings, self.settings.schedule
        rank, ranks = self.fabric.global_rank, self.fabric.world_size
        order = EpochOrder(
            len(self.data), settings.patches_a_step, schedule.epochs, settings.seed, self.step, rank, ranks
        )
        total = total_steps(settings, len(self.data))
        if self.step >= total:
            self.callback.on_message(f"nothing left to do: {self.step:,} of {total:,} steps were taken")
            on_rank_zero(self.fabric, self._complete_weights)
            return
        on_rank_zero(self.fabric, lambda: self._require_room(order.steps_per_epoch, total))
        self.metric_logger = MetricLogger(self.run, settings, self.fabric, self.step)
        self._begin_session(order.steps_per_epoch)
        workers, remark = capped("device.workers", settings.device.workers, settings.device.devices)
        if remark and self.fabric.is_global_zero:
            self.callback.on_message(remark)
        reading = loaded(self.data, order, schedule.batch, workers, pin=self.fabric.device.type == "cuda")
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
                if self.validation is not None and self.step % settings.validation.every == 0:
                    self._validate(self.validation)
                if self.step == total or self._is_saved(order.steps_per_epoch):
                    self._save()
                if self.step == total:
                    break
                self._stop_if_requested(request)
                started = time.perf_counter()

    def _begin_session(self, steps_per_epoch: int) -> None:
        """Record the settings of a resumed run; warn if the learning rate jumps."""
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
        """Update the generators, then the discriminators with the images that the generators produced before that.

        Each update accumulates the gradients of all batches. A batch is weighted by its share of the patches of the
        step over all ranks.
        """
        if self.settings.device.compile == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        seen = [
            Batch.of(
                triplet.to(self.fabric.device, non_blocking=True),
                paired,
                self.settings.network.scaling,
                None if real is None else real.to(self.fabric.device, non_blocking=True),
            )
            for triplet, paired, real in batches
        ]
        watched: list[Terms] = [{} for _ in seen]
        generated: list[Generated] = []

        def backward(group: str, index: int, loss: Loss) -> None:
            watched[index] |= {name: term.detach() for name, term in loss.terms.items()}
            self.optimiser_groups[group].backward(loss.total * (len(seen[index].paired) / patches))

        with self._updated(GENERATORS, rate, seen, watched):
            for index, batch in enumerate(seen):
                loss, images = self.objective.generator_loss(batch)
                generated.append(images)
                backward(GENERATORS, index, loss)
        if DISCRIMINATORS in self.optimiser_groups:
            with self._updated(DISCRIMINATORS, rate, seen, watched):
                for index, batch in enumerate(seen):
                    backward(DISCRIMINATORS, index, self.objective.discriminator_loss(batch, generated[index]))
        broadcast_from_rank_zero(
            self.fabric, [one for net in self.objective.networks.values() for one in net.buffers()]
        )
        if self.ema is not None:
            self.ema.update(self.objective.generator, self.step + 1)
        return [(len(batch.paired), on_cpu(terms)) for batch, terms in zip(seen, watched, strict=True)]

    @contextmanager
    def _updated(self, name: str, rate: float, seen: Sequence[Batch], watched: Sequence[Terms]) -> Iterator[None]:
        """Update an optimiser group with the gradients that accumulate within the block.

        In ``16-mixed``, an overflow of the gradients alone skips the update and halves the scale of the loss.
        """
        group = self.optimiser_groups[name]
        with group.freeze_others(self.optimiser_groups.values()):
            yield
            if not group.update(rate, self.fabric):
                found = [not_finite(batch.names, terms) for batch, terms in zip(seen, watched, strict=True)]
                found = [one for share in all_gathered(self.fabric, found) for one in share]
                overflow = group.scale is not None and not group.scale.is_exhausted
                if not overflow or any(terms for one in found for terms in one.values()):
                    raise not_finite_error(self.step + 1, found, self.run.state)

    def _stop_if_requested(self, request: StopRequest) -> None:
        """Save and raise if any rank received a stop signal."""
        number = any_rank(self.fabric, request.signal or 0)
        if not number:
            return
        self._save()
        raise InterruptedRunError(
            number, f"signal {number} stopped the run after step {self.step}, which is saved; continue with --resume"
        )

    def _record(self, epoch: int, rate: float, parts: Sequence[Part], seconds: float, total: int) -> None:
        self.metric_logger.record(self.step, epoch, rate, parts, seconds)
        if not self.fabric.is_global_zero:
            return
        self.on_progress("training", self.step, total)
        terms = mean_terms(parts)
        self.callback.on_step(self.step, terms)
        if warning := self.monitor.warning(terms):
            self.callback.on_message(warning)
        self.warm_up.append(seconds)
        if len(self.warm_up) == WARM_UP_STEPS and self.step < total:
            self.callback.on_message(forecast(self.warm_up, self.settings, len(self.data), self.step))

    def remover(self) -> NetworkRemover:
        """Return the cloud remover with its current weights, or with their moving average (EMA) if there is one."""
        trained_map = TrainedMap(self.settings.clouds, self.settings.synthetic)
        return NetworkRemover(self._shown, self.settings.network, trained_map=trained_map)

    @property
    def _shown(self) -> CloudRemovalGenerator:
        return self.ema.network if self.ema is not None else self.objective.generator

    def _validate(self, triplets: TripletSource) -> None:
        """Validate on rank 0 and save the weights if they are the best so far; other ranks wait in the next step."""
        if not self.fabric.is_global_zero:
            return
        scores = validate(self.remover(), triplets, self.fabric.device)
        self.objective.generator.train()
        if is_best(scores, self.run):
            self._save_weights(self.run.best)
        self.metric_logger.validated(self.step, scores)

    def _save(self) -> None:
        """Save the training state, then the weights; every rank waits until both are on disk."""
        state = collect_state(self.step, self.objective, self.optimiser_groups.values(), self.ema, self.fabric)

        def write() -> None:
            assert state is not None  # collected on rank 0
            self.run.save_state(state)
            self._save_weights(self.run.weights)

        on_rank_zero(self.fabric, write)

    def _complete_weights(self) -> None:
        """Write the weights of the last step if the run stopped between saving the state and the weights."""
        path = self.run.weights
        if not path.is_file() or read_record(path).training.get("steps") != str(self.step):
            self._save_weights(path)

    def _require_room(self, steps_per_epoch: int, total: int) -> None:
        """Raise before the first step if there is no room to save the run.

        A file is replaced only when the new one is complete, so that both exist for a moment.

        Raises:
            MachineError: The disk is too small.
        """
        weights = _bytes_of(self._shown.state_dict().values())
        trainable = [one for group in self.optimiser_groups.values() for one in group.parameters]
        networks = [one for net in self.objective.networks.values() for one in net.state_dict().values()]
        ema = [] if self.ema is None else self._shown.state_dict().values()
        state = _bytes_of(networks) + 2 * _bytes_of(trainable) + _bytes_of(ema)  # Adam keeps two moments of each
        every = self.settings.logging.checkpoint_every or steps_per_epoch
        again = self.run.state.exists() or total - self.step > every
        first = 0 if self.run.state.exists() else state + weights
        kept = self.settings.logging.keep_every
        extra = weights * ((total // kept - self.step // kept if kept else 0) + (self.validation is not None))
        require_room(self.run.path, first + again * state + extra, "save this run")

    def _save_weights(self, path: Path) -> None:
        trained_map = TrainedMap(self.settings.clouds, self.settings.synthetic)
        card = Card(source=f"trained with unclouded {__version__}", licence=self.settings.licence)
        save_weights(path, self._shown, self.settings.network, self._summary(), trained_map, card)

    def _summary(self) -> dict[str, str]:
        """Return the training summary stored with the weights."""
        decay = self.settings.schedule.ema_decay
        return {
            "steps": str(self.step),
            "patches": str(len(self.data)),
            "weights": f"moving average with decay {decay:g}" if decay else "of the last step",
            "settings": self.settings.model_dump_json(),
            **training_data_summary(self.run),
        }

    def _restored_step(self) -> int:
        """Restore the saved state, if there is one; return its step."""
        state = self.run.load_state()
        groups = self.optimiser_groups.values()
        step = restore_state(state, self.objective, groups, self.ema, self.fabric) if state else 0
        broadcast_from_rank_zero(
            self.fabric, [one for net in self.objective.networks.values() for one in net.parameters()]
        )
        return step


# Errors for losses and gradients that are not finite.


Found = Mapping[str, Sequence[str]]
"""Terms that are not finite, by the names of their patches."""


def on_cpu(terms: Terms) -> dict[str, float]:
    """Return the values of terms, in one transfer from their device."""
    return dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))


def not_finite(names: str, terms: Terms) -> Found:
    """Return the terms of a batch that are not finite, except those that are allowed to be."""
    watched = (CLEAR_RESIDUAL, TOTAL)
    return {names: [name for name, term in terms.items() if not term.isfinite() and name not in watched]}


def not_finite_error(step: int, found: Sequence[Found], state: Path) -> StoppedError:
    """Return an error that names the patches whose terms are not finite, or all patches if only a gradient is not.

    Args:
        step: Number of the step, counted from 1.
        found: Results of :func:`not_finite` of every batch of every rank.
        state: Path of the last saved state, which may not exist.
    """
    everywhere = {names: terms for one in found for names, terms in one.items()}
    affected = {names: terms for names, terms in everywhere.items() if terms}
    affected = affected or {names: ["gradient"] for names in everywhere}
    reasons = "; ".join(f"{', '.join(terms)} is not finite on patch {names}" for names, terms in affected.items())
    kept = f"the state of an earlier step is in {state}" if state.exists() else "nothing was saved"
    return StoppedError(f"step {step}: {reasons}; {kept}; check the patch, or lower schedule.learning_rate")


# Preview pictures.


PREVIEWED = 4
"""Number of patches in a preview, equally spaced over the patches of the run."""

EARLY = (1, 10, 100)
"""Steps of the first previews, which show early whether a run goes wrong."""


def is_previewed(step: int, every: int) -> bool:
    """Whether a preview is due after a step; never if ``every`` is 0."""
    return every > 0 and (step % every == 0 or step in EARLY)


def write_preview(path: Path, remover: NetworkRemover, triplets: TripletSource, step: int, place: device) -> None:
    """Write predictions of some of the training patches beside their clear images."""
    shown = [triplets[i] for i in equally_spaced(min(PREVIEWED, len(triplets)), len(triplets))]
    rows = [(triplet, {"prediction": remover(triplet.observation.to(place)).cpu()}) for triplet in shown]
    write_comparison(path, rows, title=f"step {step}")


# Monitoring of the discriminators.


WINDOW = 200
"""Number of steps over which discriminator outputs are averaged."""

WON = 0.9
"""Difference of the mean outputs for real and generated images above which a discriminator has won."""


class DiscriminatorMonitor:
    """Compares the mean outputs for real and generated images, and warns once if a discriminator has won.

    The least-squares loss drives a discriminator to outputs of 1 and 0. Once it reaches them everywhere, its gradient
    no longer guides the generators, and colours drift.

    Args:
        window: Number of steps to average over.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self._seen: dict[str, deque[tuple[float, float]]] = {}
        self._warned: set[str] = set()

    def warning(self, terms: Mapping[str, float]) -> str | None:
        """Return a message the first time a discriminator has won over the last steps."""
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
                    f" steps): its gradient no longer guides the generator; see docs/coloured-noise.md"
                )
        return None
