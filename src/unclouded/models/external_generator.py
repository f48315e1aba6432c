"""Generators of other packages: a network of the user as the cloud-removal generator of a training.

``network.architecture = "package.module:Class"`` names a class or function that returns a ``torch.nn.Module``. It gets
``bands``, ``width`` and ``device`` if it has parameters of these names. Its attribute ``inputs`` declares the images
that it is called with, in this order; ``stride_px`` and ``margin_px`` are optional.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from unclouded.errors import InputError
from unclouded.models.cyclegan import STRIDE_PX, CloudRemovalGenerator, Restoration
from unclouded.models.inference import MARGIN_PX
from unclouded.models.plugins import call_plugin

INPUTS = ("sar", "cloudy", "cloud_map")
"""Images of a batch, network values: VV, VH and their mean; the optical bands; the map m."""
MAX_PX = 4096


class ExternalGenerator(CloudRemovalGenerator):
    """A network that returns an image, with what the losses need beside it.

    The residual is the change of the cloudy image, from which the cloud map is regressed, as in the paper's generator.

    Args:
        inner: Network of another package.
        bands: Number of optical bands.
        reference: Its name, for messages.
    """

    def __init__(self, inner: nn.Module, bands: int, reference: str) -> None:
        super().__init__()
        self.inner, self.reference = inner, reference
        self.inputs = _declared_inputs(inner, reference)
        self.stride_px = _declared_px(inner, "stride_px", STRIDE_PX, 1, reference)
        self.margin_px = _declared_px(inner, "margin_px", MARGIN_PX, 0, reference)
        self.cloud_map = nn.Conv2d(bands, 1, kernel_size=3, padding=1)

    def forward(
        self,
        sar: Float[Tensor, "batch 3 h w"],
        cloudy: Float[Tensor, "batch band h w"],
        cloud_map: Float[Tensor, "batch 1 h w"],
    ) -> Restoration:
        """Restore a cloudy image; see :meth:`unclouded.models.cyclegan.SarToOptical.forward`.

        Raises:
            InputError: The network returned something else than an image of the size of the cloudy one.
        """
        images = {"sar": sar, "cloudy": cloudy, "cloud_map": cloud_map}
        optical: Any = self.inner(*(images[name] for name in self.inputs))
        if not isinstance(optical, Tensor) or optical.shape != cloudy.shape:
            found = list(optical.shape) if isinstance(optical, Tensor) else type(optical).__name__
            raise InputError(f"{self.reference} returned {found}, expected an image {list(cloudy.shape)}; correct it")
        residual = optical - cloudy
        return Restoration(optical, residual, self.cloud_map(residual))


def build_external_generator(reference: str, bands: tuple[str, ...], width: int) -> ExternalGenerator:
    """Return the network of another package with initial weights of its own.

    Raises:
        InputError: It cannot be imported or built, is no ``torch.nn.Module``, declares unknown inputs, or has buffers.
    """
    inner = call_plugin(reference, bands=bands, width=width)
    if not isinstance(inner, nn.Module):
        raise InputError(f"{reference} made a {type(inner).__name__}, expected a torch.nn.Module; correct it")
    if buffers := [name for name, _ in inner.named_buffers()]:
        raise InputError(
            f"{reference} has running statistics or other buffers, first {buffers[0][:80]}; use group or instance"
            " norms, because averages and weights files hold parameters only"
        )
    return ExternalGenerator(inner, len(bands), reference)


def _declared_inputs(inner: nn.Module, reference: str) -> tuple[str, ...]:
    found = getattr(inner, "inputs", INPUTS)
    if not isinstance(found, tuple) or not found or not set(found) <= set(INPUTS) or len(set(found)) < len(found):
        raise InputError(f"{reference}: inputs is {str(found)[:80]!r}, expected names among {' '.join(INPUTS)}")
    return found


def _declared_px(inner: nn.Module, name: str, default: int, least: int, reference: str) -> int:
    found = getattr(inner, name, default)
    if not isinstance(found, int) or not least <= found <= MAX_PX:
        raise InputError(f"{reference}: {name} is {str(found)[:40]!r}, expected {least} to {MAX_PX}; correct it")
    return found
