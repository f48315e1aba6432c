"""The training loop (section III-B.2): plain to read, and the same bytes whether it was ever killed or not."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import StoppedError
from unclouded.evaluation.pictures import write_comparison
from unclouded.files import write_text
from unclouded.models.generator import SarToOptical
from unclouded.models.network import NetworkRemover
from unclouded.models.weights import save_weights
from unclouded.tensors.dataset import TripletSource
from unclouded.tensors.triplet import Triplet
from unclouded.training.data import EpochOrder, Told, batches, check_triplets, choose_triplets, training_data
from unclouded.training.history import HistoryPool
from unclouded.training.pairing import equally_spaced
from unclouded.training.perceptual import PerceptualLoss, perceptual_loss
from unclouded.training.run import RunFolder
from unclouded.training.settings import TrainSettings
from unclouded.training.step import (
    CLEAR_RESIDUAL,
    Batch,
    Networks,
    Pools,
    Terms,
    build_networks,
    critic_terms,
    generator_terms,
)

PREVIEWED = 4
"""Patches in every preview picture, equally spaced over the run's patches."""


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody about progress."""


def train(settings: TrainSettings, run: RunFolder, *, resume: bool = False, told: Told = silent) -> None:
    """Train the ensemble of Fig. 2 and leave weights, log and pictures in the run's folder.

    Args:
        settings: What to learn, from which patches.
        run: Where to.
        resume: Go on from the last saved state; on a CPU the end is the same, byte for byte, as without the break.
        told: Is told stage, done and total.

    Raises:
        InputError: Settings, patches or folder are not fit.
        BusyError: Another process writes this run.
        StoppedError: A loss or a gradient was not finite; the state before that step is saved.
    """
    with run.lock():
        cache = ProbabilityCache()
        if resume:
            settings = run.resumed_settings(settings)
            again = settings.model_copy(update={"patch_list": run.patches, "subset": None})
            triplets = choose_triplets(again, cache)
        else:
            run.start(settings)
            triplets = check_triplets(choose_triplets(settings, cache), settings, told)
            write_text(run.patches, "".join(f"{name}\n" for name in triplets.names))
        Training(settings, run, triplets).go(told)


@contextmanager
def _frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Keep gradients away from parameters inside the block."""
    held = list(parameters)
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)


def _event_writer(run: RunFolder) -> Any:
    """TensorBoard's writer where it is installed."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run.path / "tensorboard"))


class Training:
    """Everything that changes during a run, and the loop that changes it."""

    def __init__(self, settings: TrainSettings, run: RunFolder, triplets: TripletSource) -> None:
        self.settings, self.run = settings, run
        self.data = training_data(triplets, settings)
        self.fabric = Fabric(accelerator=settings.device.accelerator, devices=1, precision=settings.device.precision)
        rng = torch.Generator().manual_seed(settings.seed)
        self.bare = build_networks(settings.network, settings.discriminator_width, rng)
        self.networks = Networks(**{name: self.fabric.setup(net) for name, net in self.bare.named().items()})
        self.generator_optimiser = self._adam(self.networks.generators())
        self.critic_optimiser = self._adam(self.networks.critics())
        self.pools = Pools(HistoryPool(settings.pool), HistoryPool(settings.pool), rng)
        self.perceptual = self._perceptual()
        self.step = 0
        self.watch = _event_writer(run) if self.fabric.is_global_zero else None

    def _adam(self, parameters: Iterable[nn.Parameter]) -> Any:
        rate = self.settings.schedule.learning_rate
        return self.fabric.setup_optimizers(Adam(list(parameters), lr=rate, betas=(0.5, 0.999), eps=1e-8))

    def _perceptual(self) -> PerceptualLoss | None:
        loss = self.settings.loss
        if not (self.settings.paired_percent and (loss.feature or loss.style)):
            return None
        return perceptual_loss(self.settings.vgg, self.settings.network.bands).to(self.fabric.device)

    def go(self, told: Told) -> None:
        """Take every step that is left."""
        self._restore()
        schedule = self.settings.schedule
        order = EpochOrder(len(self.data), schedule.batch, schedule.epochs, self.settings.seed, self.step)
        total = min(order.steps_per_epoch * schedule.epochs, schedule.max_steps or 2**62)
        if self.step >= total:
            return
        for triplet, paired in batches(self.data, order, self.settings.device.workers):
            epoch = self.step // order.steps_per_epoch
            for optimiser in self._optimisers().values():
                optimiser.param_groups[0]["lr"] = schedule.learning_rate * schedule.rate_factor(epoch)
            started = time.perf_counter()
            terms = self._take_step(self._batch(triplet, paired))
            self.step += 1
            self._record(epoch, terms, time.perf_counter() - started)
            told("training", self.step, total)
            if self._due(self.settings.journal.preview_every):
                self._preview()
            if (
                self.step == total
                or self.step % order.steps_per_epoch == 0
                or self._due(self.settings.journal.checkpoint_every)
            ):
                self._save()
            if self.step == total:
                break
        if self.watch is not None:
            self.watch.close()

    def _batch(self, triplet: Triplet, paired: tuple[bool, ...]) -> Batch:
        return Batch.of(triplet.to(self.fabric.device), paired, self.settings.network.scaling)

    def _take_step(self, batch: Batch) -> Terms:
        """Generators with the discriminators frozen, then discriminators."""
        with _frozen(self.networks.critics()):
            terms, generated = generator_terms(self.networks, batch, self.settings.loss, self.perceptual)
            loss = self._weighted(terms)
            self._learn(self.generator_optimiser, loss, terms, batch)
        judged = critic_terms(self.networks, batch, generated, self.pools)
        self._learn(self.critic_optimiser, judged["sar_critic"] + judged["optical_critic"], judged, batch)
        return {name: term.detach() for name, term in (terms | judged | {"total": loss}).items()}

    def _weighted(self, terms: Terms) -> Tensor:
        """L_all of section II-C, and the paired terms where there are any."""
        weights = self.settings.loss.model_dump()
        return torch.stack([weights[name] * term for name, term in terms.items() if name in weights]).sum()

    def _learn(self, optimiser: Any, loss: Tensor, terms: Terms, batch: Batch) -> None:
        optimiser.zero_grad(set_to_none=True)
        if not torch.isfinite(loss):
            self._stop(terms, batch)
        self.fabric.backward(loss)
        gradients = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        if not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            self._stop(terms | {"gradient": torch.tensor(math.nan)}, batch)
        optimiser.step()

    def _stop(self, terms: Terms, batch: Batch) -> None:
        bad = [name for name, term in terms.items() if not torch.isfinite(term) and name != CLEAR_RESIDUAL]
        kept = (
            f"the state of an earlier step is in {self.run.state}" if self.run.state.exists() else "nothing was saved"
        )
        raise StoppedError(
            f"step {self.step + 1}: {', '.join(bad)} is not finite on patch {batch.names}; {kept}; "
            f"look at the patch, or lower schedule.learning_rate"
        )

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _record(self, epoch: int, terms: Terms, seconds: float) -> None:
        """Write the terms of this step to the log, if one is due."""
        if not self._due(self.settings.journal.log_every):
            return
        values = {name: float(term) for name, term in terms.items()}
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        rate = self.generator_optimiser.param_groups[0]["lr"]
        self.run.write_log({"step": self.step, "epoch": epoch, "rate": rate, **finite, "seconds": round(seconds, 3)})
        if self.watch is not None:
            for name, value in values.items():
                self.watch.add_scalar(name, value, self.step)

    def remover(self) -> NetworkRemover:
        """Return the cloud remover as it is now."""
        return NetworkRemover(self._restorer, self.settings.network)

    @property
    def _restorer(self) -> SarToOptical:
        assert isinstance(self.bare.sar_to_optical, SarToOptical)
        return self.bare.sar_to_optical

    def _preview(self) -> None:
        remover, triplets = self.remover(), self.data.triplets
        shown = [triplets[i] for i in equally_spaced(min(PREVIEWED, len(triplets)), len(triplets))]
        rows = [
            (triplet, {"prediction": remover(triplet.observation.to(self.fabric.device)).cpu()}) for triplet in shown
        ]
        write_comparison(self.run.previews / f"step_{self.step:07d}.png", rows, title=f"step {self.step}")
        self.bare.sar_to_optical.train()

    def _save(self) -> None:
        """Everything that the next step depends on, then the remover."""
        self.run.save_state(
            {
                "step": torch.tensor(self.step),
                "random": self.pools.rng.get_state(),
                "networks": {name: network.state_dict() for name, network in self.bare.named().items()},
                "optimisers": {name: one.state_dict()["state"] for name, one in self._optimisers().items()},
                "pools": {name: pool.state_dict() for name, pool in self._pools().items()},
            }
        )
        summary = {"steps": str(self.step), "patches": str(len(self.data)), "settings": self.settings.model_dump_json()}
        save_weights(self.run.weights, self._restorer, self.settings.network, summary)

    def _restore(self) -> None:
        state = self.run.load_state()
        if state is None:
            self.run.forget_log_after(0)
            return
        for name, network in self.bare.named().items():
            network.load_state_dict(state["networks"][name])
        for name, optimiser in self._optimisers().items():
            moments = {int(parameter): saved for parameter, saved in state["optimisers"][name].items()}
            optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
        for name, pool in self._pools().items():
            pool.load_state_dict(self.fabric.to_device(state["pools"][name]))
        self.pools.rng.set_state(state["random"])
        self.step = int(state["step"])
        self.run.forget_log_after(self.step)

    def _optimisers(self) -> dict[str, Any]:
        return {"generators": self.generator_optimiser, "critics": self.critic_optimiser}

    def _pools(self) -> dict[str, HistoryPool]:
        return {"sar": self.pools.sar, "optical": self.pools.optical}
