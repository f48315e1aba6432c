import os
import signal
import threading
from collections.abc import Iterator

import pytest

from unclouded.training.signals import ASKING, heard_signals, live_with_parent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_noted_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with heard_signals() as request:
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
        with heard_signals():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()


def test_outside_of_the_main_thread_nothing_is_heard() -> None:
    before, heard = signal.getsignal(signal.SIGTERM), []

    def listen() -> None:
        with heard_signals() as request:
            heard.append((request.signal, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [(None, before)]


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers of this process come back after the test."""
    before = {number: signal.getsignal(number) for number in ASKING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_reading_process_leaves_signals_to_its_parent() -> None:
    live_with_parent(os.getppid(), 0)
    assert {signal.getsignal(number) for number in ASKING} == {signal.SIG_IGN}


@pytest.mark.usefixtures("handlers")
def test_fault_04_a_reading_process_whose_parent_died_while_it_started_ends() -> None:
    with pytest.raises(SystemExit):
        live_with_parent(os.getppid() + 1, 0)
