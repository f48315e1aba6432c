"""Two real ranks are in ``proofs/two_ranks.py``; here stands what a single process can show."""

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from unclouded.errors import BusyError, InputError, StoppedError
from unclouded.training import distributed as devices
from unclouded.training.distributed import (
    STOP_SIGNALS,
    InPrecision,
    all_gathered,
    any_rank,
    die_with_parent,
    gather_on_rank_zero,
    graceful_shutdown,
    launch,
    on_rank_zero,
    report_lost_ranks,
    sum_gradients,
)
from unclouded.training.settings import Device

ALONE = launch(Device(accelerator="cpu"))


class TwoRanks(Fabric):
    """One of two ranks; what rank 0 broadcast is given."""

    def __init__(self, rank: int, heard: Any = None) -> None:
        super().__init__(accelerator="cpu")
        self._rank, self._heard = rank, heard

    world_size = property(lambda self: 2)  # type: ignore[assignment]
    is_global_zero = property(lambda self: self._rank == 0)  # type: ignore[assignment]

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return obj if self._rank == src else self._heard


class Pair(NamedTuple):
    """What a network may answer."""

    image: Tensor
    map: Tensor


class Answers(nn.Module):
    """Multiplies, which autocast does in bfloat16, and says in which precision it did."""

    seen: torch.dtype

    def forward(self, image: Tensor) -> Pair:
        product = image @ image
        self.seen = product.dtype
        return Pair(product, product)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_there_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"cannot compute on 2 devices of kind 'cuda' .*; correct device.accelerator"):
        launch(Device(accelerator="cuda", devices=2))


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)],
)
def test_a_network_computes_in_the_precision_and_returns_float32(precision: Any, dtype: torch.dtype) -> None:
    network = Answers()
    answer = InPrecision(network, Device(precision=precision))(torch.eye(2))
    assert network.seen == dtype
    assert type(answer) is Pair
    assert {one.dtype for one in answer} == {torch.float32}


def test_cuda_repeats_its_bytes_only_if_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[bool] = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", chosen.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # restored after the test
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    devices._choose_algorithms(False)
    assert (torch.backends.cudnn.benchmark, os.environ.get("CUBLAS_WORKSPACE_CONFIG")) == (True, None)
    devices._choose_algorithms(True)
    assert (torch.backends.cudnn.benchmark, os.environ["CUBLAS_WORKSPACE_CONFIG"]) == (False, ":4096:8")
    assert chosen == [False, True]


def test_alone_everybody_is_rank_0() -> None:
    assert all_gathered(ALONE, "item") == gather_on_rank_zero(ALONE, "item") == ["item"]
    assert any_rank(ALONE, 15) == 15
    assert on_rank_zero(ALONE, lambda: "answer") == "answer"


@pytest.mark.parametrize("error", [InputError("no patches"), BusyError("somebody writes")])
def test_an_error_of_rank_0_is_everybodys(error: Exception) -> None:
    def fails() -> None:
        raise error

    for fabric in (TwoRanks(0), TwoRanks(1, heard=(None, error))):
        with pytest.raises(type(error), match=str(error)):
            on_rank_zero(fabric, fails)


def test_only_rank_0_acts_and_the_others_receive_its_result() -> None:
    acted = []
    assert on_rank_zero(TwoRanks(1, heard=("answer", None)), lambda: acted.append(1)) == "answer"
    assert acted == []


def test_a_rank_exits_with_its_parent_process(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([70, 70, 1])  # alive, alive, gone: init takes the orphan
    waits: list[float] = []
    monkeypatch.setattr("os.getppid", lambda: next(parents))
    monkeypatch.setattr("time.sleep", waits.append)

    def ended(status: int) -> NoReturn:
        raise SystemExit(status)

    monkeypatch.setattr("os._exit", ended)
    with pytest.raises(SystemExit) as told:
        devices._end_with(70)
    assert told.value.code == 1
    assert waits == [devices.WATCH_S] * 2


@pytest.mark.parametrize(
    "error",
    [RuntimeError("[gloo/pair.cc] Connection closed by peer"), torch.distributed.DistBackendError("NCCL abort")],
)
def test_the_death_of_another_rank_is_reported_in_one_line(error: RuntimeError) -> None:
    expected = r"another process of this run died .*; the last saved state is intact: continue with --resume"
    with pytest.raises(StoppedError, match=expected), report_lost_ranks(TwoRanks(0)):
        raise error
    with pytest.raises(type(error)), report_lost_ranks(ALONE):  # there is no other
        raise error


def test_an_error_of_a_rank_is_not_reported_as_the_death_of_another() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), report_lost_ranks(TwoRanks(0)):
        raise RuntimeError("shapes differ")


def test_gradients_of_any_layout_are_summed_in_one_message_and_absent_ones_are_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = []

    def doubled(joined: Tensor) -> None:  # the other rank found the same
        sent.append(joined.numel())
        joined.mul_(2)

    monkeypatch.setattr(devices.dist, "all_reduce", doubled)
    numbers = torch.arange(36.0).view(1, 4, 3, 3)
    filters, bias, unused = (nn.Parameter(torch.zeros_like(one)) for one in (numbers, numbers[0, :, 0, 0], numbers))
    filters.data = filters.data.to(memory_format=torch.channels_last)
    filters.grad, bias.grad = numbers.to(memory_format=torch.channels_last), torch.ones(4)
    sum_gradients(TwoRanks(0), [filters, bias, unused])
    assert sent == [36 + 4 + 36]
    assert filters.grad.equal(2 * numbers)
    assert bias.grad.tolist() == [2.0] * 4
    assert unused.grad is not None
    assert not unused.grad.any()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_noted_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with graceful_shutdown() as request:
        assert request.signal is None
        os.kill(os.getpid(), number)
        assert request.signal == number
    assert signal.getsignal(number) is before


@pytest.fixture
def usual_interrupt() -> Iterator[None]:
    """Whoever starts the tests in the background may have SIGINT ignored, and Python leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_interrupt")
def test_the_second_signal_takes_its_usual_effect() -> None:
    def interrupt_twice() -> None:
        with graceful_shutdown():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()


def test_outside_of_the_main_thread_nothing_is_heard() -> None:
    before, heard = signal.getsignal(signal.SIGTERM), []

    def listen() -> None:
        with graceful_shutdown() as request:
            heard.append((request.signal, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [(None, before)]


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers of this process come back after the test."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_reading_process_leaves_signals_to_its_parent() -> None:
    die_with_parent(os.getppid(), 0)
    assert {signal.getsignal(number) for number in STOP_SIGNALS} == {signal.SIG_IGN}


@pytest.mark.usefixtures("handlers")
def test_fault_04_a_reading_process_whose_parent_died_while_it_started_ends() -> None:
    with pytest.raises(SystemExit):
        die_with_parent(os.getppid() + 1, 0)
