"""Viewer of results: a local web page with maps, scores and the review of a data set. Without torch."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.viewer.notebook import SceneView as SceneView
    from unclouded.viewer.notebook import show as show
    from unclouded.viewer.serving import view as view

__getattr__, __dir__, __all__ = lazy_names(__name__, {"notebook": ("SceneView", "show"), "serving": ("view",)})
