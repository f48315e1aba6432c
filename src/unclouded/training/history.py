"""Generated images of earlier steps, shown to a discriminator again so that it does not forget."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


class HistoryPool:
    """A pool of the last generated images (Shrivastava et al. 2017 [36], as in CycleGAN [18]; section III-B.2).

    Until it is full, each image is stored and returned. Then, with probability 1/2, the image is returned; otherwise
    it takes the place of a stored one, which is returned instead.

    Args:
        size: Most images it holds; the paper has 50. With 0 every image is returned.
    """

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self._images: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._images)

    def draw(
        self, images: Float[Tensor, "batch channel h w"], generator: torch.Generator
    ) -> Float[Tensor, "batch channel h w"]:
        """Return an image, new or older, for each of ``images``; none of them carries a gradient.

        Args:
            images: Newly generated images.
            generator: Source of randomness, on the CPU.
        """
        return torch.stack([self._draw_one(image, generator) for image in images.detach()])

    def _draw_one(self, image: Tensor, generator: torch.Generator) -> Tensor:
        if len(self._images) < self.size:
            self._images.append(image.clone())
            return image
        if self.size == 0 or torch.rand((), generator=generator).item() < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=generator))
        older, self._images[place] = self._images[place], image.clone()
        return older

    def state_dict(self) -> dict[str, Tensor]:
        """Return the images as one tensor under ``images``, with no rows while the pool is empty."""
        return {"images": torch.stack(self._images) if self._images else torch.empty(0)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Hold the images of a :meth:`state_dict` instead; the pool then goes on bit for bit."""
        self._images = list(state["images"].clone())
