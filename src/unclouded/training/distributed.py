"""Where a run computes: devices, ranks and precision, and what ranks tell each other.

Ranks are processes that each have one device, the same weights and their own share of every batch. Gradients are summed
here, after each backward pass, rather than by a wrapper around the networks: the wrapper cannot serve networks that are
frozen in one half of a step and run several times in the other.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from unclouded.errors import BusyError, InputError, MachineError, StoppedError
from unclouded.machine import memory_fault, most_processes
from unclouded.training.settings import Device

T = TypeVar("T")

PATIENCE = timedelta(hours=12)
"""How long ranks wait for each other: the cloud maps of one rank's share may take hours longer than another's."""

WATCH_S = 5
"""Seconds between two looks at whether the process that started this one lives."""


def launch(device: Device) -> Fabric:
    """Start the other ranks, if there are to be any, and return this rank's place among them.

    Raises:
        InputError: The device is not there.
    """
    many = device.devices * device.nodes > 1
    if device.devices > most_processes() and not (device.accelerator != "cpu" and torch.cuda.is_available()):
        raise InputError(
            f"device.devices is {device.devices:,}; without a graphics card each is a process, of which this machine"
            f" takes at most {most_processes()}; lower it"
        )
    try:
        fabric = Fabric(
            accelerator=device.accelerator,
            devices=device.devices,
            num_nodes=device.nodes,
            precision=device.precision,
            strategy=DDPStrategy(timeout=PATIENCE) if many else "auto",
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        if memory_fault(error) is not None:
            raise
        raise InputError(
            f"cannot compute on {device.devices} devices of kind {device.accelerator!r} ({error});"
            " correct device.accelerator or device.devices"
        ) from error
    fabric.launch()
    if fabric.local_rank:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    torch.backends.cudnn.benchmark = fabric.device.type == "cuda"  # patches are all of one size: choose once
    return fabric


def _end_with(parent: int) -> None:
    """End this rank when the process that started it is gone: on CUDA it would wait, and hold its device, for hours."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


@contextmanager
def report_lost_ranks(fabric: Fabric) -> Iterator[None]:
    """Turn the death of another rank, which the next message to it shows, into one line.

    Raises:
        StoppedError: Another rank is gone.
    """
    try:
        yield
    except RuntimeError as error:  # gloo has no error of its own
        if fabric.world_size == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        reason = str(error).splitlines()[0][:160]
        raise StoppedError(
            f"another process of this run died ({reason}); the last saved state is whole: go on with --resume"
        ) from error


def is_rank_zero() -> bool:
    """Say whether this process is rank 0, which speaks for all; known once the ranks are launched."""
    return not dist.is_initialized() or dist.get_rank() == 0


class InPrecision(nn.Module):
    """A network that computes in the run's precision and answers in float32, whatever that is.

    Args:
        network: Whose weights stay in float32.
        fabric: Knows the precision.
    """

    def __init__(self, network: nn.Module, fabric: Fabric) -> None:
        super().__init__()
        self.network, self._fabric = network, fabric

    def forward(self, *images: Tensor) -> Any:
        """Return what the network makes of the images."""
        with self._fabric.autocast():
            made = self.network(*images)
        return made.float() if isinstance(made, Tensor) else type(made)(*(one.float() for one in made))


def sum_gradients(fabric: Fabric, parameters: Iterable[nn.Parameter]) -> None:
    """Give every rank the sum of all ranks' gradients; a rank without any adds nothing."""
    if fabric.world_size == 1:
        return
    learnt = list(parameters)
    for parameter in learnt:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    _together([p.grad for p in learnt if p.grad is not None], lambda joined: dist.all_reduce(joined))


def broadcast_from_rank_zero(fabric: Fabric, tensors: Iterable[Tensor]) -> None:
    """Make tensors those of rank 0."""
    if fabric.world_size > 1:
        _together([one.detach() for one in tensors], lambda joined: dist.broadcast(joined, src=0))


def _together(tensors: list[Tensor], change: Callable[[Tensor], object]) -> None:
    """Change many tensors in one message, in place."""
    if not tensors:
        return
    joined = torch.cat([one.flatten() for one in tensors])
    change(joined)
    for one, new in zip(tensors, torch.split(joined, [one.numel() for one in tensors]), strict=True):
        one.copy_(new.view_as(one))


def all_gathered(fabric: Fabric, item: T) -> list[T]:
    """Return every rank's item, in the order of ranks."""
    if fabric.world_size == 1:
        return [item]
    items: list[Any] = [None] * fabric.world_size
    dist.all_gather_object(items, item)
    return items


def on_rank_zero(fabric: Fabric, act: Callable[[], T]) -> T:
    """Let rank 0 act and give its answer to all; its error, too."""
    if fabric.world_size == 1:
        return act()
    answer: Any = None
    error: Exception | None = None
    if fabric.is_global_zero:
        try:
            answer = act()
        except (InputError, MachineError, BusyError, StoppedError) as raised:
            error = raised
    answer, error = fabric.broadcast((answer, error))
    if error is not None:
        raise error
    return answer  # type: ignore[no-any-return]


def gather_on_rank_zero(fabric: Fabric, item: T) -> list[T] | None:
    """Return every rank's item, in the order of ranks, to rank 0, and None to the others."""
    if fabric.world_size == 1:
        return [item]
    items: list[Any] | None = [None] * fabric.world_size if fabric.is_global_zero else None
    dist.gather_object(item, items, dst=0)
    return items


def any_rank(fabric: Fabric, found: int) -> int:
    """Return the largest number that any rank found, to all."""
    if fabric.world_size == 1:
        return found
    most = torch.tensor(found, device=fabric.device)
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)


# Signals that ask a run to end: it finishes its step, saves, and says by whose wish it ended.


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""SIGTERM comes from batch systems before they take a machine away, SIGINT from the keyboard."""


class StopRequest:
    """Whether somebody asked the run to end.

    Attributes:
        signal: The number of the signal, None as long as there was none.
    """

    def __init__(self) -> None:
        self.signal: int | None = None


@contextmanager
def graceful_shutdown() -> Iterator[StopRequest]:
    """Note the first signal that asks for an end; the second one takes its usual effect.

    Python hears signals in the main thread only; elsewhere none is noted.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = number
        for one, handler in before.items():
            signal.signal(one, handler)

    for number in STOP_SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def die_with_parent(parent: int, worker: int) -> None:
    """Let a process that reads patches live as long as its parent: a signal to the group is the parent's.

    A parent that was killed while the process started is not missed by torch, which takes whoever adopted the process
    for its parent: it would wait for ever.

    Args:
        parent: Identity of the process that started this one.
        worker: Number of this one, from torch.

    Raises:
        SystemExit: The parent is dead already.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if os.name == "posix" and os.getppid() != parent:
        raise SystemExit(1)
