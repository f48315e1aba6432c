"""Before and after in a notebook, without a server."""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from unclouded.errors import InputError
from unclouded.files import is_file, named, require_folder

_PICTURE_PX = 1000
"""Longest side of the pictures, at most."""


@runtime_checkable
class InFolder(Protocol):
    """Anything with a folder of products, such as the result of :func:`unclouded.predict_scene`."""

    @property
    def folder(self) -> Path:
        """Folder of the products."""


@dataclass(frozen=True)
class SceneView:
    """Picture of a scene before and after, which notebooks display with a movable border.

    Attributes:
        title: Title.
        before: Picture of the observed image, as data URL.
        after: Picture of the image without clouds, as data URL.
        height_px: Height of the display, pixels of the screen.
    """

    title: str
    before: str
    after: str
    height_px: int

    def page(self) -> str:
        """Return a self-contained HTML page, which makes no request."""
        from unclouded.html_page import render_page

        return render_page(
            "comparison.html", script="comparison.js", title=self.title, before=self.before, after=self.after
        )

    def _repr_html_(self) -> str:
        """Return what a notebook displays: the page in a frame that has no access to the notebook."""
        return (
            f'<iframe srcdoc="{escape(self.page())}" sandbox="allow-scripts" title="{escape(self.title)}" '
            f'width="100%" height="{self.height_px}" frameborder="0"></iframe>'
        )


def show(scene: InFolder | Path | str, height_px: int = 560) -> SceneView:
    """Return before and after of a predicted scene, which a notebook displays with a movable border.

    The pictures are those that :func:`unclouded.predict_scene` writes, ``observed_visual.tif`` and ``visual.tif``.

    Args:
        scene: Result of :func:`unclouded.predict_scene`, or its folder.
        height_px: Height of the display, pixels of the screen.

    Raises:
        InputError: The folder has no pictures.
    """
    folder = Path(scene) if isinstance(scene, Path | str) else scene.folder
    require_folder(folder)
    before, after = folder / "observed_visual.tif", folder / "visual.tif"
    if not (is_file(before) and is_file(after)):
        raise InputError(f"{named(folder)} has no pictures; predict the scene again, with pictures")
    return SceneView(folder.resolve().name, _picture(before), _picture(after), height_px)


def _picture(path: Path) -> str:
    from PIL import Image

    from unclouded.io.geotiff import image_bands, open_geotiff
    from unclouded.stretch import JPEG_QUALITY, data_url

    with open_geotiff(path) as source:
        factor = max(1, -(-max(source.shape) // _PICTURE_PX))
        shape = (3, *(-(-side // factor) for side in source.shape))
        pixels = source.read(image_bands(source)[:3], out_shape=shape)
    return data_url(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))), "jpeg", quality=JPEG_QUALITY)
