"""Pictures of a scene for display: 8-bit images in natural colours, a thumbnail, and styles that QGIS loads by itself.

All pictures of a scene share one stretch, so that observed and predicted pixels can be compared by eye.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from unclouded.files import whole_file, write_text
from unclouded.io.geotiff import open_geotiff
from unclouded.io.picture_tiff import write_picture
from unclouded.io.strips import row_ranges
from unclouded.prediction.products import CLASSES, Provenance
from unclouded.prediction.report.data import OutputFile, ReportData
from unclouded.prediction.report.figures import (
    CLOUD_COLOURS,
    CONFIDENCE_COLOURS,
    PROVENANCE_COLOURS,
    Colour,
    hexadecimal,
)
from unclouded.prediction.report.overview import shrunk
from unclouded.prediction.sources import Sources
from unclouded.progress import ProgressCallback
from unclouded.sentinel.radiometry import NO_DATA, SATURATED, Radiometry
from unclouded.stretch import Stretch

PICTURES = ("visual", "observed_visual")
"""Names of the pictures that are GeoTIFFs."""
THUMBNAIL_PX = 512
"""Longest side of the thumbnail, at most."""
_STRIP_PX = 512


@dataclass(frozen=True, eq=False)
class _Picture:
    """Conversion of stored integers of the displayed bands to a picture."""

    stretch: Stretch
    radiometry: Radiometry

    def draw(self, stored: NDArray[np.integer]) -> UInt8[np.ndarray, "4 rows x"]:
        """Return red, green, blue, and 255 where there are data; saturated pixels are white."""
        visible = np.minimum(stored, stored.dtype.type(min(SATURATED - 1, np.iinfo(stored.dtype).max)))
        seen = self.radiometry.is_seen(stored).any(axis=0)
        colours = self.stretch.brightness(self.radiometry.decode(visible))
        return np.concatenate([np.where(seen, colours, np.uint8(0)), np.where(seen, 255, 0).astype(np.uint8)[None]])


def write_pictures(
    folder: Path, data: ReportData, sources: Sources, tags: Mapping[str, str], on_progress: ProgressCallback
) -> dict[str, OutputFile]:
    """Write ``visual.tif``, ``observed_visual.tif``, ``thumbnail.png``, and a style beside each map.

    Args:
        folder: Folder of the products.
        data: Data of the scene, with its finished products.
        sources: Input images.
        tags: Tags of the GeoTIFFs.
        on_progress: Called with (stage, completed, total).

    Returns:
        Files by name.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
    """
    shown = data.overview.shown
    picture = _Picture(data.overview.stretch, sources.radiometry(shown))
    stretch = " ".join(f"{low:.4f}-{low + picture.stretch.span:.4f}" for low in picture.stretch.black)
    tags = {**tags, "UNCLOUDED_SHOWN": " ".join(shown), "UNCLOUDED_STRETCH": stretch}
    after = _clear_rows(data.files["clear"].path, [data.bands.index(band) for band in shown], sources.shape[0])
    before = _observed_rows(sources, [sources.optical.bands.index(band) for band in shown])
    files: dict[str, OutputFile] = {}
    titles = ("Picture without clouds", "Picture as observed")
    for done, (name, title, strips) in enumerate(zip(PICTURES, titles, (after, before), strict=True), start=1):
        path = folder / f"{name}.tif"
        write_picture(path, ((top, picture.draw(stored)) for top, stored in strips), tags, data.geobox)
        files[name] = OutputFile(path, title, ("visual", "overview"))
        on_progress("writing pictures", done, 2)
    thumbnail = folder / "thumbnail.png"
    _write_thumbnail(thumbnail, data, picture.stretch)
    files["thumbnail"] = OutputFile(thumbnail, "Thumbnail", ("thumbnail",))
    return files | _write_styles(folder, data)


def _clear_rows(path: Path, picked: list[int], height: int) -> Iterator[tuple[int, NDArray[np.integer]]]:
    with open_geotiff(path) as source:
        for top, bottom in row_ranges(height, _STRIP_PX):
            yield top, source.read([band + 1 for band in picked], window=((top, bottom), (0, source.width)))


def _observed_rows(sources: Sources, picked: list[int]) -> Iterator[tuple[int, NDArray[np.integer]]]:
    for top, bottom in row_ranges(sources.shape[0], _STRIP_PX):
        yield top, np.where(sources.target.inside(top, bottom), sources.stored(top, bottom).result()[picked], NO_DATA)


def _write_thumbnail(path: Path, data: ReportData, stretch: Stretch) -> None:
    """Write the overview of the result as a PNG that is transparent where there are no data."""
    after = data.overview.after
    small = shrunk(after, -(-max(after.shape[1:]) // THUMBNAIL_PX))
    seen = np.isfinite(small).all(axis=0)
    pixels = np.concatenate([stretch.brightness(small), np.where(seen, 255, 0).astype(np.uint8)[None]])
    with whole_file(path) as partial, partial.open("wb") as file:
        Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(file, "png", optimize=True)


# Styles of QGIS, which reads NAME.qml beside NAME.tif when the image is opened.


_DOCUMENT = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
 <pipe>
  <rasterrenderer {attributes} band="1" opacity="1" alphaBand="-1">
   <rasterTransparency/>
{body}
  </rasterrenderer>
  <rasterresampler maxOversampling="2"/>
 </pipe>
 <blendMode>0</blendMode>
</qgis>
"""


def _write_styles(folder: Path, data: ReportData) -> dict[str, OutputFile]:
    styles = {
        "cloud_map": ramp_style(CLOUD_COLOURS, 1.0, "m"),
        "provenance": palette_style({code: (PROVENANCE_COLOURS[Provenance(code)], CLASSES[code]) for code in CLASSES}),
        "confidence": ramp_style(CONFIDENCE_COLOURS, 100.0, "%"),
    }
    files = {}
    for name in styles.keys() & data.files.keys():
        path = folder / f"{name}.qml"
        write_text(path, styles[name])
        files[f"{name}_style"] = OutputFile(path, f"QGIS style of {name}.tif", ("metadata", "style"))
    return dict(sorted(files.items()))


def palette_style(classes: Mapping[int, tuple[Colour, str]]) -> str:
    """Return a QGIS style of a classification.

    Args:
        classes: Colour and label by code; code 0, no data, is transparent.
    """
    entries = (
        f'    <paletteEntry value="{code}" color="{hexadecimal(colour)}" alpha="{255 if code else 0}" '
        f'label="{escape(label.replace("_", " "))}"/>'
        for code, (colour, label) in classes.items()
    )
    body = "\n".join(["   <colorPalette>", *entries, "   </colorPalette>"])
    return _DOCUMENT.format(attributes='type="paletted"', body=body)


def ramp_style(scale: Sequence[tuple[float, Colour]], unit_value: float, label: str) -> str:
    """Return a QGIS style of a continuous map with values from 0 to ``unit_value``.

    Args:
        scale: Stops from 0 to 1, each with its colour.
        unit_value: Stored value of the last stop.
        label: Unit, for the legend.
    """
    items = (
        f'     <item value="{stop * unit_value:g}" color="{hexadecimal(colour)}" alpha="255" '
        f'label="{stop * unit_value:g} {escape(label)}"/>'
        for stop, colour in scale
    )
    limits = f'minimumValue="0" maximumValue="{unit_value:g}"'
    body = "\n".join(
        [
            "   <rastershader>",
            f'    <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0" {limits}>',
            *items,
            "    </colorrampshader>",
            "   </rastershader>",
        ]
    )
    attributes = f'type="singlebandpseudocolor" classificationMin="0" classificationMax="{unit_value:g}"'
    return _DOCUMENT.format(attributes=attributes, body=body)
