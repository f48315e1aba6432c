import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from unclouded.errors import InputError, OutOfMemoryError
from unclouded.files import machine_fault
from unclouded.machine import allowed_bytes, capped, memory_fault, most_processes, used_bytes

GIB = 2**30


def raised(action: object) -> BaseException:
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        action()  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize(
    ("action", "requested"),
    [
        (lambda: np.empty(2**50, np.float32), "4194304.0 GiB more"),
        (lambda: torch.empty(2**50), "4194304.0 GiB more"),
        (lambda: bytearray(2**60), "more is needed than"),
    ],
)
def test_fault_38_the_error_for_exhausted_memory_names_the_requested_bytes(action: object, requested: str) -> None:
    fault = memory_fault(raised(action))
    assert isinstance(fault, OutOfMemoryError)
    assert requested in str(fault)
    assert "in use of" in str(fault)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("can't start new thread"),
        RuntimeError("could not create a primitive"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB."),
    ],
)
def test_fault_38_every_way_to_run_out_of_memory_is_one_line(error: Exception) -> None:
    fault = memory_fault(error)
    assert isinstance(fault, OutOfMemoryError)
    assert "\n" not in str(fault)
    outer = ValueError("a patch")
    outer.__cause__ = error
    assert isinstance(machine_fault(outer), OutOfMemoryError)


def test_the_memory_of_a_device_is_not_that_of_the_process() -> None:
    fault = memory_fault(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 8 GiB"))
    assert str(fault) == "the memory of the device ran out (CUDA out of memory. Tried to allocate 2.00 GiB)"


@pytest.mark.parametrize(
    "error", [InputError("a.tif: out of memory"), KeyError("out of memory"), RuntimeError("shape mismatch"), OSError(2)]
)
def test_other_errors_are_not_taken_for_memory(error: Exception) -> None:
    assert memory_fault(error) is None


def test_used_memory_is_below_the_limit() -> None:
    assert 2**20 < used_bytes() <= allowed_bytes()


def test_the_number_of_processes_is_limited() -> None:
    most = most_processes()
    assert most == 4 * len(os.sched_getaffinity(0))
    assert capped("device.workers", most) == (most, "")
    expected = f"device.workers is 100,000, more than suits this machine; {most} are started"
    assert capped("device.workers", 100_000) == (most, expected)
    assert capped("device.workers", 100_000, share=most)[0] == 1
    assert capped("device.workers", 1, share=10 * most) == (1, "")


def test_memory_of_the_group_counts_where_it_is_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda path: str(path) == "/sys/fs/cgroup/memory.max")
    monkeypatch.setattr(Path, "read_text", lambda path: "1073741824\n")
    assert allowed_bytes() == GIB
