"""From a place and a date to images on disk: archives, credentials, choice with reasons, verified downloads."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.acquisition.choice import GetSettings as GetSettings
    from unclouded.acquisition.places import Place as Place
    from unclouded.acquisition.places import find_place as find_place
    from unclouded.acquisition.providers import find_provider as find_provider
    from unclouded.acquisition.scene import fetch_scene as fetch_scene
    from unclouded.acquisition.scene import plan_scene as plan_scene

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "choice": ("GetSettings",),
        "places": (
            "Place",
            "find_place",
        ),
        "providers": ("find_provider",),
        "scene": (
            "fetch_scene",
            "plan_scene",
        ),
    },
)
