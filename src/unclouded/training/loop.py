"""The training loop (section III-B.2): plain to read, and the same bytes whether it was ever killed or not."""

import time
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from lightning_fabric import Fabric

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import BusyError, InputError, SignalledError, StoppedError
from unclouded.evaluation.pictures import write_comparison
from unclouded.files import write_text
from unclouded.models.generator import SarToOptical
from unclouded.models.network import NetworkRemover
from unclouded.models.weights import save_weights
from unclouded.tensors.dataset import TripletSource
from unclouded.training.average import MovingAverage
from unclouded.training.balance import Balance
from unclouded.training.data import Batches, EpochOrder, choose_triplets, loaded, training_data
from unclouded.training.devices import any_rank, follow_first, from_first, gathered, launch
from unclouded.training.learner import Learner
from unclouded.training.listener import Listener, Told, silent
from unclouded.training.logbook import Logbook, Part, mean_terms
from unclouded.training.objectives import TOTAL, build_objective
from unclouded.training.pairing import equally_spaced
from unclouded.training.preparation import check_patches
from unclouded.training.provenance import add_session, write_provenance
from unclouded.training.run import RunFolder
from unclouded.training.settings import TrainSettings
from unclouded.training.signals import Request, heard_signals
from unclouded.training.state import collect_state, restore_state
from unclouded.training.step import CLEAR_RESIDUAL, Batch, Terms

PREVIEWED = 4
"""Patches in every preview picture, equally spaced over the run's patches."""
EARLY = (1, 10, 100)
"""Steps of the first previews, where a run that goes wrong shows it."""


def train(
    settings: TrainSettings,
    run: RunFolder,
    *,
    resume: bool = False,
    told: Told = silent,
    listener: Listener | None = None,
) -> None:
    """Train what the settings name, and leave weights, log and pictures in the run's folder.

    On more than one device every process calls this with the same arguments; only that of rank 0 writes, is told, and
    raises.

    Args:
        settings: What to learn, from which patches.
        run: Where to.
        resume: Go on from the last saved state; on a CPU the end is the same, byte for byte, as without the break.
        told: Is told stage, done and total.
        listener: Hears terms and warnings.

    Raises:
        InputError: Settings, patches, folder or device are not fit.
        BusyError: Another process writes this run.
        StoppedError: A loss or a gradient was not finite, or a worker died; the last saved state is whole.
        SignalledError: SIGTERM or SIGINT came; the state after the step it came in is saved.
    """
    fabric = launch(settings.device)
    try:
        with ExitStack() as held:
            from_first(fabric, lambda: held.enter_context(run.lock()))
            settings, triplets = _patches(settings, run, fabric, resume, told)
            Training(settings, run, triplets, fabric, told, listener or Listener()).go()
    except (InputError, BusyError, StoppedError, SignalledError):
        if fabric.is_global_zero:
            raise


def _patches(
    settings: TrainSettings, run: RunFolder, fabric: Fabric, resume: bool, told: Told
) -> tuple[TrainSettings, TripletSource]:
    """Begin a run or take one up; return its settings and its patches."""
    cache = ProbabilityCache()
    if resume:
        settings = from_first(fabric, lambda: run.resumed_settings(settings))
        again = settings.model_copy(update={"patch_list": run.patches, "subset": None})
        return settings, choose_triplets(again, cache)
    from_first(fabric, lambda: run.start(settings))
    triplets, digests = check_patches(choose_triplets(settings, cache), settings, fabric, told)
    if fabric.is_global_zero:
        write_text(run.patches, "".join(f"{name}\n" for name in triplets.names))
        write_provenance(run, settings, digests)
    return settings, triplets


class Training:
    """Everything that changes during a run, and the loop that changes it."""

    def __init__(
        self,
        settings: TrainSettings,
        run: RunFolder,
        triplets: TripletSource,
        fabric: Fabric,
        told: Told,
        listener: Listener,
    ) -> None:
        self.settings, self.run, self.fabric, self.told, self.listener = settings, run, fabric, told, listener
        self.data = training_data(triplets, settings)
        self.objective = build_objective(settings, fabric)
        networks, schedule = self.objective.networks, settings.schedule
        self.learners = [
            Learner(name, [p for one in members for p in networks[one].parameters()], schedule)
            for name, members in self.objective.learners.items()
        ]
        decay = schedule.moving_average
        self.average = MovingAverage(self.objective.restorer, decay) if decay else None
        self.balance = Balance()
        self.step = self._restored_step()
        self.logbook = Logbook(run, settings.journal.log_every, fabric, self.step)

    def go(self) -> None:
        """Take every step that is left."""
        schedule, ranks = self.settings.schedule, (self.fabric.global_rank, self.fabric.world_size)
        order = EpochOrder(
            len(self.data), self.settings.patches_a_step, schedule.epochs, self.settings.seed, self.step, *ranks
        )
        total = min(order.steps_per_epoch * schedule.epochs, schedule.max_steps or 2**62)
        if self.step >= total:
            return
        workers = self.settings.device.workers
        with heard_signals() as request, loaded(self.data, order, schedule.batch, workers) as steps:
            for batches in steps:
                epoch = self.step // order.steps_per_epoch
                rate = schedule.learning_rate * schedule.rate_factor(epoch)
                started = time.perf_counter()
                parts = self._take_step(batches, rate, order.patches_of(self.step))
                self.step += 1
                self._record(epoch, rate, parts, time.perf_counter() - started, total)
                if self._due(self.settings.journal.preview_every, EARLY):
                    self._preview()
                ended = self.step == total
                if ended or self.step % order.steps_per_epoch == 0 or self._due(self.settings.journal.checkpoint_every):
                    self._save()
                if not ended:
                    self._heed(request)
                else:
                    break
        self.logbook.close()

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
        for learner in self.learners:
            with learner.alone(self.learners):
                for batch, one, terms in zip(seen, losses, watched, strict=True):
                    loss, found = next(one)
                    terms |= {name: term.detach() for name, term in found.items()}
                    torch.autograd.backward(loss * (len(batch.paired) / patches))
                if not learner.learn(rate, self.fabric):
                    self._stop(seen, watched)
        follow_first(self.fabric, [one for net in self.objective.networks.values() for one in net.buffers()])
        if self.average is not None:
            self.average.update(self.objective.restorer, self.step + 1)
        return [
            (len(batch.paired), {name: float(term) for name, term in terms.items()})
            for batch, terms in zip(seen, watched, strict=True)
        ]

    def _stop(self, batches: Sequence[Batch], watched: Sequence[Terms]) -> None:
        """Name the patches whose terms are not finite; of all patches, where only a gradient is not."""
        bad = {
            batch.names: [
                name for name, term in terms.items() if not term.isfinite() and name not in (CLEAR_RESIDUAL, TOTAL)
            ]
            for batch, terms in zip(batches, watched, strict=True)
        }
        everywhere = {names: terms for share in gathered(self.fabric, bad) for names, terms in share.items()}
        named = {names: terms for names, terms in everywhere.items() if terms}
        named = named or {names: ["gradient"] for names in everywhere}
        kept = (
            f"the state of an earlier step is in {self.run.state}" if self.run.state.exists() else "nothing was saved"
        )
        found = "; ".join(f"{', '.join(terms)} is not finite on patch {names}" for names, terms in named.items())
        raise StoppedError(f"step {self.step + 1}: {found}; {kept}; look at the patch, or lower schedule.learning_rate")

    def _heed(self, request: Request) -> None:
        """Save and end if any rank was asked to."""
        number = any_rank(self.fabric, request.signal or 0)
        if not number:
            return
        self._save()
        raise SignalledError(
            number, f"signal {number} ended the run after step {self.step}, which is saved; go on with --resume"
        )

    def _due(self, every: int, besides: Sequence[int] = ()) -> bool:
        return every > 0 and (self.step % every == 0 or self.step in besides)

    def _record(self, epoch: int, rate: float, parts: Sequence[Part], seconds: float, total: int) -> None:
        self.logbook.record(self.step, epoch, rate, parts, seconds)
        if not self.fabric.is_global_zero:
            return
        self.told("training", self.step, total)
        terms = mean_terms(parts)
        self.listener.terms(self.step, terms)
        if warning := self.balance.warning(terms):
            self.listener.said(warning)

    def remover(self) -> NetworkRemover:
        """Return the cloud remover as it is now, or the average of what it was, where that is wanted."""
        return NetworkRemover(self._shown, self.settings.network)

    @property
    def _shown(self) -> SarToOptical:
        return self.average.network if self.average is not None else self.objective.restorer

    def _preview(self) -> None:
        if not self.fabric.is_global_zero:
            return
        remover, triplets = self.remover(), self.data.triplets
        shown = [triplets[i] for i in equally_spaced(min(PREVIEWED, len(triplets)), len(triplets))]
        rows = [
            (triplet, {"prediction": remover(triplet.observation.to(self.fabric.device)).cpu()}) for triplet in shown
        ]
        write_comparison(self.run.previews / f"step_{self.step:07d}.png", rows, title=f"step {self.step}")
        self.objective.restorer.train()

    def _save(self) -> None:
        """Everything that the next step depends on, then the remover."""
        state = collect_state(self.step, self.objective, self.learners, self.average, self.fabric)
        if state is None:
            return
        self.run.save_state(state)
        decay = self.settings.schedule.moving_average
        summary = {
            "steps": str(self.step),
            "patches": str(len(self.data)),
            "weights": f"moving average with decay {decay:g}" if decay else "of the last step",
            "settings": self.settings.model_dump_json(),
        }
        save_weights(self.run.weights, self._shown, self.settings.network, summary)

    def _restored_step(self) -> int:
        """Take up the saved state, if there is one; return its step."""
        state = self.run.load_state()
        step = restore_state(state, self.objective, self.learners, self.average, self.fabric) if state else 0
        follow_first(self.fabric, [one for net in self.objective.networks.values() for one in net.parameters()])
        if state and self.fabric.is_global_zero:
            add_session(self.run, step)
        return step
