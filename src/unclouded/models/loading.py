"""Removers as users name them: by name, weights file, or reference to code of another package."""

from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.models.adaptation.scene_adapted import NAME as SCENE_ADAPTED
from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.models.baselines import BASELINES, baseline
from unclouded.models.exchange.onnx_remover import SUFFIX, load_onnx
from unclouded.models.known import local_path, require_remover, split_code
from unclouded.models.plugins import is_reference, load_plugin, registered
from unclouded.models.published.weights import ARCHITECTURES, load_published
from unclouded.models.references.baselines import REFERENCE_BASELINES, reference_baseline
from unclouded.models.references.remover import NAME as REFERENCE_ADAPTED
from unclouded.models.references.remover import ReferenceRemover
from unclouded.models.remover import CloudRemover
from unclouded.models.weights import architecture_of, load_network
from unclouded.sensors import RGB, SENTINEL2


def load_remover(text: str | Path, bands: tuple[str, ...] | None = None, device: str = "cpu") -> CloudRemover:
    """Return a remover by name, from a weights file, or from another package.

    Args:
        text: ``scene-adapted``, ``reference-adapted``, a baseline, a name that a package registers in the entry point
            group ``unclouded.removers``, a reference ``package.module:attribute``, the path of a weights file or of an
            ONNX file with its description, their address with its hash (:mod:`unclouded.models.fetching`), or
            ``package.module:Class@FILE`` for weights of a network of that package.
        bands: Optical bands of the result; None for those of the network, or for red, green and blue without a network.
        device: Device of the network.

    Raises:
        InputError: There is no such remover, or it is for other bands.
    """
    text = local_path(str(text))
    if text == "auto":
        raise InputError(
            "auto selects a remover for each scene, which commands, predict_scene and evaluate do; name one"
        )
    if text == SCENE_ADAPTED:
        return SceneAdapted(SENTINEL2.named(bands)) if bands else SceneAdapted()
    if text == REFERENCE_ADAPTED:
        chosen = SENTINEL2.named(bands) if bands else RGB
        return ReferenceRemover(chosen, fallback=SceneAdapted(chosen))
    if text in BASELINES:
        return baseline(text, bands) if bands else baseline(text)
    if text in REFERENCE_BASELINES:
        return reference_baseline(text, SENTINEL2.named(bands) if bands else RGB)
    require_remover(text)
    return _with_bands(_found(text, bands, device), text, bands)


def _found(text: str, bands: tuple[str, ...] | None, device: str) -> CloudRemover:
    if is_reference(text):
        return _plugin(text, bands, device)
    code, file = split_code(text)
    if code:
        other = load_network(Path(file), code)
        other.generator.to(device)
        return other
    path = Path(text)
    if not path.suffix and (entry := registered().get(text)) and not path.exists():
        return _plugin(f"{entry.module}:{entry.attr}", bands, device)
    if path.suffix == SUFFIX:
        return load_onnx(path)
    architecture = architecture_of(path)
    if architecture in ARCHITECTURES:
        return load_published(path, device)
    remover = load_network(path)
    remover.generator.to(device)
    return remover


def _plugin(reference: str, bands: tuple[str, ...] | None, device: str) -> CloudRemover:
    """Return a remover of another package whose bands are valid."""
    remover: Any = load_plugin(reference, bands=bands, device=device)
    found = remover.bands
    if not isinstance(found, tuple) or not found or not all(isinstance(band, str) for band in found):
        raise InputError(f"{reference}: bands is {str(found)[:80]!r}, expected a tuple of names such as ('B04', 'B03')")
    if (spelled := SENTINEL2.named(found)) != found:
        raise InputError(f"{reference}: bands is {' '.join(found)[:80]!r}, expected {' '.join(spelled)!r}; correct it")
    return remover  # type: ignore[no-any-return]  # name, bands and call were checked


def _with_bands(remover: CloudRemover, text: str, bands: tuple[str, ...] | None) -> CloudRemover:
    """Return a remover that restores the requested bands, and possibly more."""
    if bands is not None and set(bands) - set(remover.bands):
        raise InputError(
            f"{named(Path(text))} restores {' '.join(remover.bands)}, expected {' '.join(bands)}; choose its bands"
        )
    return remover
