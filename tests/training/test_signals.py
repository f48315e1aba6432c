import os
import signal
import threading

import pytest

from unclouded.training.signals import heard_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_noted_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with heard_signals() as request:
        assert request.signal is None
        os.kill(os.getpid(), number)
        assert request.signal == number
    assert signal.getsignal(number) is before


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
