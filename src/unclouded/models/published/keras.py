"""Convolutions of a Keras HDF5 file, read in a process of its own.

The HDF5 library crashes on some damaged files, which no exception handler sees. The reading process has a limited time
and memory, and hands on nothing but arrays of numbers. Weights are found by the names of layers; the description of the
model, which may hold code, is not read.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from unclouded.errors import InputError
from unclouded.files import named, resolved

MAX_TENSORS = 4096
"""Largest number of arrays of a network."""
MAX_ARRAY_BYTES = 256 << 20
TIMEOUT_S = 120.0
_MEMORY_BYTES = 4 << 30
_REFUSED = 3
"""Exit status of the reading process if it refuses the file; its last line is the reason."""

Convolution = tuple[Float32[np.ndarray, "y x inside outside"], Float32[np.ndarray, " outside"]]
"""Kernel and bias."""


def read_convolutions(path: Path) -> list[Convolution]:
    """Return kernel and bias of every layer with weights, in the order of the layers.

    Raises:
        InputError: The package h5py is missing, or the file is damaged or has other layers.
    """
    with tempfile.TemporaryDirectory(prefix="unclouded-") as folder:
        arrays = Path(folder) / "arrays.npz"
        command = [sys.executable, "-m", __name__, str(resolved(path)), str(arrays)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - our own module
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{named(path)} was not read within {TIMEOUT_S:.0f} s; fetch it again") from error
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason"]
        if done.returncode == _REFUSED:
            raise InputError(f"{named(path)} {lines[-1][:200]}")
        if done.returncode != 0:
            raise InputError(f"{named(path)} is not a whole Keras file (its reader crashed); fetch it again")
        with np.load(arrays, allow_pickle=False) as stored:
            return [(stored[f"{n}-kernel"], stored[f"{n}-bias"]) for n in range(len(stored.files) // 2)]


class _RefusedError(Exception):
    """Reason for which the file is refused."""


def main(path: str, out: str) -> int:
    """Write the arrays of a Keras file as npz; return the exit status."""
    _limit_memory()
    try:
        import h5py
    except ImportError:
        print("is a Keras file, for which the package h5py is needed; pip install h5py", file=sys.stderr)
        return _REFUSED
    try:
        with h5py.File(path, "r", locking=False) as file:
            group = _member(file, "model_weights") if "model_weights" in file else file
            layers = list(_convolutions(group))
    except _RefusedError as error:
        print(f"{error}; expected a file of DSen2-CR", file=sys.stderr)
        return _REFUSED
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        print(f"is not a whole Keras file ({reason}); fetch it again", file=sys.stderr)
        return _REFUSED
    kinds = {f"{n}-{kind}": array for n, pair in enumerate(layers) for kind, array in zip(_KINDS, pair, strict=True)}
    np.savez(out, allow_pickle=False, **kinds)
    return 0


_KINDS = ("kernel", "bias")


def _limit_memory() -> None:
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def _convolutions(group: Any) -> Iterator[Convolution]:
    """Yield kernel and bias of every layer with weights; training on several GPUs nests them in one outer layer."""
    layers = [_text(name) for name in group.attrs["layer_names"]]
    if len(layers) > MAX_TENSORS:
        raise _RefusedError(f"has {len(layers):,} layers")
    for layer in layers:
        inside = _member(group, layer)
        weights = [_text(name) for name in inside.attrs["weight_names"]]
        if len(weights) % 2:
            raise _RefusedError(f"has {len(weights)} arrays in {layer[:40]!r}")
        for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
            if not kernel.endswith("kernel:0") or not bias.endswith("bias:0"):
                raise _RefusedError(f"has the layer {layer[:40]!r}, which is no convolution")
            yield _array(inside, kernel, 4), _array(inside, bias, 1)


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _member(group: Any, name: str) -> Any:
    """Return a member of an HDF5 group that lies in the file itself; links may lead to other files."""
    import h5py

    for part in name.split("/"):
        if not isinstance(group, h5py.Group) or not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise _RefusedError(f"has no {name[:80]!r} of its own: it is absent or a link")
        group = group[part]
    return group


def _array(group: Any, name: str, axes: int) -> Any:
    """Return a float32 array whose values lie in the file itself."""
    import h5py

    found = _member(group, name)
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise _RefusedError(f"refers to another file for {name[:80]!r}")
    if found.dtype != "float32" or found.ndim != axes or found.nbytes > MAX_ARRAY_BYTES:
        raise _RefusedError(f"has no float32 weights in {name[:80]!r}")
    return found[()]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
