"""Devices, ranks, precision, and the exit of a run on signals.

Ranks are processes with one device each, the same weights, and their own share of every batch. Gradients are summed
here after each backward pass instead of by DistributedDataParallel, which does not support networks that are frozen in
one half of a step and run several times in the other.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from unclouded.training.settings import Device, Precision

T = TypeVar("T")

PATIENCE = timedelta(hours=12)
"""Timeout of collective operations: the cloud maps of one rank may take hours longer than those of another."""

WATCH_S = 5
"""Seconds between two checks that the parent process is alive."""


def launch(device: Device) -> Fabric:
    """Start the other ranks, if any, and return the Fabric of this one.

    Raises:
        InputError: The device is not available.
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
    if fabric.device.type == "cuda":
        _choose_algorithms(device.deterministic)
    return fabric


def _choose_algorithms(deterministic: bool) -> None:
    """Choose algorithms of CUDA: the fastest for the one size that all patches have, or those that repeat their bytes.

    cuBLAS reads its variable when it is first used.
    """
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)


def _end_with(parent: int) -> None:
    """Exit when the parent process is gone: on CUDA a rank would otherwise hold its device for hours."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


@contextmanager
def report_lost_ranks(fabric: Fabric) -> Iterator[None]:
    """Turn the error of a collective operation with a dead rank into one message.

    Raises:
        StoppedError: Another rank died.
    """
    try:
        yield
    except RuntimeError as error:  # gloo has no exception class
        if fabric.world_size == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        reason = str(error).splitlines()[0][:160]
        raise StoppedError(
            f"another process of this run died ({reason}); the last saved state is intact: continue with --resume"
        ) from error


def is_rank_zero() -> bool:
    """Whether this process is rank 0; known once the ranks are launched."""
    return not dist.is_initialized() or dist.get_rank() == 0


AUTOCAST: Mapping[Precision, torch.dtype] = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Data type of convolutions in the mixed precisions."""


class InPrecision(nn.Module):
    """A network that computes in the precision of the run, compiled if that is set, and returns float32.

    Args:
        network: Network; its weights stay in float32.
        device: Settings with the precision.
    """

    def __init__(self, network: nn.Module, device: Device) -> None:
        super().__init__()
        self.network, self._dtype = network, AUTOCAST.get(device.precision)
        self._run: Callable[..., Any] = network
        if device.compile != "off":
            self._run = torch.compile(network, mode=device.compile)

    def forward(self, *images: Tensor) -> Any:
        """Return the output of the network in float32."""
        with torch.autocast(images[0].device.type, self._dtype, enabled=self._dtype is not None):
            output = self._run(*images)
        return output.float() if isinstance(output, Tensor) else type(output)(*(one.float() for one in output))


def sum_gradients(fabric: Fabric, parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients of every rank by their sum over ranks; a missing gradient counts as 0."""
    if fabric.world_size == 1:
        return
    trained = list(parameters)
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    _together([p.grad for p in trained if p.grad is not None], lambda joined: dist.all_reduce(joined))


def broadcast_from_rank_zero(fabric: Fabric, tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with those of rank 0."""
    if fabric.world_size > 1:
        _together([one.detach() for one in tensors], lambda joined: dist.broadcast(joined, src=0))


def _together(tensors: list[Tensor], change: Callable[[Tensor], object]) -> None:
    """Apply a collective operation to many tensors at once, in place."""
    if not tensors:
        return
    joined = torch.cat([one.flatten() for one in tensors])
    change(joined)
    for one, new in zip(tensors, torch.split(joined, [one.numel() for one in tensors]), strict=True):
        one.copy_(new.view_as(one))


def all_gathered(fabric: Fabric, item: T) -> list[T]:
    """Return the items of all ranks, in the order of ranks."""
    if fabric.world_size == 1:
        return [item]
    items: list[Any] = [None] * fabric.world_size
    dist.all_gather_object(items, item)
    return items


def on_rank_zero(fabric: Fabric, act: Callable[[], T]) -> T:
    """Call a function on rank 0 and return its result, or raise its error, on all ranks."""
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
    """Return the items of all ranks, in the order of ranks, on rank 0, and None on the others."""
    if fabric.world_size == 1:
        return [item]
    items: list[Any] | None = [None] * fabric.world_size if fabric.is_global_zero else None
    dist.gather_object(item, items, dst=0)
    return items


def any_rank(fabric: Fabric, found: int) -> int:
    """Return the maximum of a number over all ranks."""
    if fabric.world_size == 1:
        return found
    most = torch.tensor(found, device=fabric.device)
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)


# Stop signals: the run finishes its step, saves, and reports the signal.


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Signals that stop a run: SIGTERM is sent by batch systems, SIGINT by the keyboard."""


class StopRequest:
    """The first stop signal that the process received.

    Attributes:
        signal: Number of the signal; None if there was none.
    """

    def __init__(self) -> None:
        self.signal: int | None = None


@contextmanager
def graceful_shutdown() -> Iterator[StopRequest]:
    """Record the first stop signal; a second one has its usual effect.

    Python handles signals in the main thread only; in other threads none is recorded.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def record(number: int, frame: FrameType | None) -> None:
        request.signal = number
        for one, handler in before.items():
            signal.signal(one, handler)

    for number in STOP_SIGNALS:
        signal.signal(number, record)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def die_with_parent(parent: int, worker: int) -> None:
    """Initialise a worker that reads patches: ignore stop signals, which the parent handles, and exit with the parent.

    If the parent was killed while the worker started, torch would watch the process that adopted the worker instead,
    and the worker would wait for ever.

    Args:
        parent: Process ID of the parent.
        worker: Number of the worker, from torch.

    Raises:
        SystemExit: The parent is dead.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if os.name == "posix" and os.getppid() != parent:
        raise SystemExit(1)
