"""Inference of a folded network with OpenVINO instead of torch (extra ``[openvino]``)."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from unclouded.errors import InputError


@dataclass(frozen=True, eq=False)
class OpenVinoTrunk:
    """A compiled trunk for images of any size.

    Attributes:
        compiled: Compiled model of OpenVINO.
    """

    compiled: Any

    def __call__(self, image: Float[Tensor, "1 channel h w"]) -> Float[Tensor, "1 band h w"]:
        """Return the residual in float32."""
        (residual,) = self.compiled([image.float().contiguous().numpy()]).values()
        return torch.from_numpy(residual.copy())


def compiled(trunk: nn.Sequential, dtype: torch.dtype, seen: Sequence[Tensor] | None = None) -> OpenVinoTrunk:
    """Compile a folded trunk for the processor.

    Args:
        trunk: Folded trunk in float32.
        dtype: Data type of the computation.
        seen: Windows of the scene for :func:`~unclouded.models.exchange.openvino.quantise`; None for no quantisation.

    Raises:
        InputError: OpenVINO is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise InputError("the engine 'openvino' is not installed; run 'pip install unclouded[openvino]'") from error
    channels = next(trunk.parameters()).shape[1]
    example = torch.zeros(1, channels, 64, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO uses torch.jit.trace, which torch deprecates
        model = openvino.convert_model(trunk, example_input=example, input=[1, channels, -1, -1])
    hint = {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype]
    if seen is not None:
        quantise(model, seen, hint)
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": hint}
    return OpenVinoTrunk(openvino.Core().compile_model(model, "CPU", threads))


# Quantisation: OpenVINO computes all convolutions but the first and the last in int8.
#
# Weights are rounded to 255 steps for each output channel, activations to 256 steps over the range found in windows of
# the scene. Sums of 8-bit products are exact. The first and the last convolution are not quantised: they take a
# twentieth of the time and would cause a third of the error.


_CONVOLUTIONS = {"Convolution": 0, "ConvolutionBackpropData": 1}
"""Types of convolutions in OpenVINO, with the axis of the output channels in their weights."""


def quantise(model: Any, seen: Sequence[Float[Tensor, "1 channel _ _"]], hint: str) -> None:
    """Quantise the inner convolutions of a model to int8.

    Args:
        model: OpenVINO model of a folded trunk; changed in place.
        seen: Windows of the scene as input of the network, at least one; activations outside their range are clipped.
        hint: Precision in which the ranges of the activations are computed, ``f32`` or ``bf16``.
    """
    from openvino import opset13 as ops

    inner = _convolutions(model)[1:-1]
    for convolution, (least, greatest) in zip(inner, _ranges(model, inner, seen, hint), strict=True):
        shown, weight = convolution.input_value(0), convolution.input_value(1)
        low, high = levels(least, greatest)
        bounds = [ops.constant(np.full((1, 1, 1, 1), bound, np.float32)) for bound in (low, high)]
        convolution.input(0).replace_source_output(ops.fake_quantize(shown, *bounds, *bounds, 256).output(0))
        reach = _reach(weight.get_node().get_data(), _CONVOLUTIONS[convolution.get_type_name()])
        bounds = [ops.constant(-reach), ops.constant(reach)]
        convolution.input(1).replace_source_output(ops.fake_quantize(weight, *bounds, *bounds, 255).output(0))
    model.validate_nodes_and_infer_types()


def levels(least: float, greatest: float) -> tuple[float, float]:
    """Return the first and the last of 256 equal steps over a range; one of the steps is 0.

    A range without negative values, such as after a ReLU, starts at 0; other ranges have 128 steps below 0 and 127
    above.
    """
    if least >= 0:
        return 0.0, max(greatest, float(np.finfo(np.float32).tiny))
    reach = max(-least, greatest * 128 / 127)
    return -reach, reach * 127 / 128


def _convolutions(model: Any) -> list[Any]:
    return [one for one in model.get_ordered_ops() if one.get_type_name() in _CONVOLUTIONS]


def _reach(weight: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the largest absolute weight of each output channel, as an array that broadcasts to the weights."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    reach: NDArray[np.float32] = np.abs(weight).max(axis=others, keepdims=True).astype(np.float32)
    return np.maximum(reach, np.finfo(np.float32).tiny)


def _ranges(model: Any, convolutions: Sequence[Any], seen: Sequence[Tensor], hint: str) -> list[tuple[float, float]]:
    """Return the smallest and largest input of each convolution over all windows."""
    import openvino
    from openvino import opset13 as ops

    axes = np.arange(4)
    inputs = [one.input_value(0) for one in convolutions]
    extremes = [reduce(one, axes) for one in inputs for reduce in (ops.reduce_min, ops.reduce_max)]
    watched = openvino.Model(extremes, model.get_parameters(), "ranges")
    compiled = openvino.Core().compile_model(watched, "CPU", {"INFERENCE_PRECISION_HINT": hint})
    found = np.array(
        [[float(one) for one in compiled([image.float().contiguous().numpy()]).values()] for image in seen]
    )
    return list(zip(found[:, ::2].min(axis=0).tolist(), found[:, 1::2].max(axis=0).tolist(), strict=True))
