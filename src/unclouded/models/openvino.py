"""A folded network run by OpenVINO instead of torch (extra ``[openvino]``): the same answer, sooner where it fits."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unclouded.errors import InputError
from unclouded.models.quantisation import quantise


@dataclass(frozen=True, eq=False)
class OpenVinoTrunk:
    """A compiled trunk, for images of any size.

    Attributes:
        compiled: OpenVINO's model.
    """

    compiled: Any

    def __call__(self, image: Float[Tensor, "1 channel h w"]) -> Float[Tensor, "1 band h w"]:
        """Return the residual in float32."""
        (residual,) = self.compiled([image.float().contiguous().numpy()]).values()
        return torch.from_numpy(residual.copy())


def compiled(trunk: nn.Sequential, dtype: torch.dtype, seen: Sequence[Tensor] | None = None) -> OpenVinoTrunk:
    """Compile a folded trunk for the processor.

    Args:
        trunk: In float32.
        dtype: What to compute in.
        seen: Windows of the scene if bytes are to be multiplied: :func:`~unclouded.models.quantisation.quantise`.

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
        warnings.simplefilter("ignore")  # OpenVINO traces, which torch calls deprecated
        model = openvino.convert_model(trunk, example_input=example, input=[1, channels, -1, -1])
    hint = {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype]
    if seen is not None:
        quantise(model, seen, hint)
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": hint}
    return OpenVinoTrunk(openvino.Core().compile_model(model, "CPU", threads))
