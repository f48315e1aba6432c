"""A graphics processor that need not be there: tensors that have shape, type and device, and no memory.

Two tensors of different devices in one operation are an error, as they are on the real device, and a tensor is on the
CPU unless its device is named, as there.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

CUDA = torch.device("cuda", 0)


@contextmanager
def simulated_cuda() -> Iterator[None]:
    """A context whose tensors have no values and may be on a device that is not there."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    copied = patch.object(FakeTensorMode, "__deepcopy__", lambda *_: mode, create=True)
    with mode, copied, patch.object(nn.Module, "to", _to), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")  # by copies
        yield


def _to(module: nn.Module, *place: Any, **kept: Any) -> nn.Module:
    """Move a module: its tensors are replaced, as torch cannot change those without memory in place."""
    for one in module.modules():
        for name, tensor in one._parameters.items():
            if tensor is not None and (place or tensor.ndim == 4):  # memory formats are of four axes
                moved = tensor.detach().to(*place, **kept)
                one._parameters[name] = nn.Parameter(moved, tensor.requires_grad)
        for name, buffer in one._buffers.items():
            if buffer is not None and place:
                one._buffers[name] = buffer.to(*place)
    return module
