"""Options that ``predict``, ``predict-patches`` and ``batch`` share, and the settings and removers made from them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.cli import options

if TYPE_CHECKING:
    from unclouded.prediction.auto_remover import RemoverSpec
    from unclouded.prediction.scene import SceneSettings

SettingsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.toml",
        help="Settings of the prediction, see docs/scenes.md. Options on the command line take precedence.",
        rich_help_panel=options.INPUT,
    ),
]


@dataclass(frozen=True)
class NetworkOptions:
    """How a remover is run; the attributes are the options of the command line."""

    bands: options.Bands = None
    engine: options.Engine = "torch"
    precision: options.Precision = "auto"
    device: options.Device = None

    def spec(self, name: str | None) -> "RemoverSpec":
        """Specification of a remover.

        Raises:
            InputError: Unknown band or device.
        """
        from unclouded.prediction.auto_remover import RemoverSpec
        from unclouded.sensors import SENTINEL2

        bands = None
        if self.bands is not None:
            bands = SENTINEL2.named(SENTINEL2.bands if self.bands == "all" else self.bands.split(","))
        return RemoverSpec(name, bands, options.resolve_device(self.device), self.precision, self.engine)


@dataclass(frozen=True)
class SceneOptions:
    """Options of the prediction of a scene; the attributes are the options of the command line."""

    settings: SettingsFile = None
    offset: options.Offset = None
    resampling: options.Resampling = None
    tile: options.Tile = None
    date: options.Date = None
    align: options.Align = None
    units: options.Units = None
    radiometry: options.Radiometry = None
    incidence: options.Incidence = None
    heights: options.Heights = None
    heights_datum: options.HeightsDatum = None
    clouds: options.Clouds = None
    detector: options.DetectorName = None
    sun: options.Sun = None
    other: options.Other = None
    window: options.Window = None
    statistics: options.Statistics = None
    uncertainty: options.Uncertainty = None
    area: options.Area = None
    resolution: options.Resolution = None
    compression: options.Compression = None
    split_bands: options.SplitBands = None
    pictures: options.Pictures = None

    def require_files(self) -> None:
        """Refuse files that do not exist.

        Raises:
            InputError: Names the missing file.
        """
        from unclouded.files import require_file

        for path in filter(None, (self.settings, self.heights, self.incidence, self.area)):
            require_file(path)

    def specs(self, remover: str | None, network: NetworkOptions) -> "list[RemoverSpec]":
        """Specifications of the remover and of the further ones of an ensemble.

        Raises:
            InputError: Unknown remover, band or device.
        """
        from unclouded.models.known import require_remover

        names = (remover, *(self.other or ()))
        for name in filter(None, names):
            require_remover(name)
        return [network.spec(name) for name in names]

    def read(self, cloud_map: Path | None = None) -> "SceneSettings":
        """Settings of the prediction: those of the file, replaced by the options that were given.

        Args:
            cloud_map: Cloud map of the user, if any.

        Raises:
            InputError: The file is not TOML, or a setting is unknown or out of range.
        """
        from unclouded.prediction.scene import SceneSettings
        from unclouded.settings import settings_from_options

        values = {
            "window_px": ("--window", self.window),
            "statistics": ("--statistics", self.statistics),
            "uncertainty": ("--uncertainty", True if self.other else self.uncertainty),
            "cloud_map": ("--cloud-map", cloud_map),
            "clouds.mode": ("--clouds", self.clouds),
            "clouds.detector": ("--detector", self.detector),
            "sun": ("--sun", self.sun),
            "optical.offset": ("--offset", self.offset),
            "optical.resampling": ("--resampling", self.resampling),
            "optical.tile": ("--tile", self.tile),
            "optical.date": ("--date", self.date),
            "radar.align": ("--align", self.align),
            "align_references": ("--align", self.align),
            "radar.units": ("--units", self.units),
            "radar.radiometry": ("--radiometry", self.radiometry),
            "radar.incidence": ("--incidence", self.incidence),
            "radar.heights": ("--heights", self.heights),
            "radar.heights_datum_m": ("--heights-datum", self.heights_datum),
            "area": ("--area", self.area),
            "resolution_m": ("--resolution", self.resolution),
            "output.compression": ("--compression", self.compression),
            "output.split_bands": ("--split-bands", self.split_bands),
            "output.pictures": ("--pictures", self.pictures),
        }
        return settings_from_options(SceneSettings, values, self.settings)
