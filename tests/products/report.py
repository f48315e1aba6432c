"""Report data of a simulated scene, of which a test changes the fields that it is about."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.prediction.products import Provenance
from unclouded.prediction.report.data import Input, ReportData
from unclouded.prediction.report.overview import Overview

EVEN = np.full((3, 4, 4), 0.1, np.float32)
"""Image of constant reflectance."""

COUNTS = dict.fromkeys((code.name.lower() for code in Provenance), 0) | {"observed": 9_999, "blended": 1}
"""Pixel counts of a scene of 100 x 100 px with one cloudy pixel."""

RADAR = Input("Sentinel-1", "radar.tif", "ab" * 32, datetime(2018, 1, 3, 6, 0, tzinfo=UTC))

OPTICS = Input("Sentinel-2", "optics.tif", "cd" * 32, datetime(2018, 1, 1, 18, 0, tzinfo=UTC))


def simulated_overview(**changes: Any) -> Overview:
    """Return the overview of a scene of 100 x 100 px with one cloudy pixel; fields can be changed."""
    given: dict[str, Any] = {
        "shape": (100, 100),
        "shown": ("B04",) * 3,
        "step": 1,
        "before": EVEN,
        "after": EVEN,
        "cloud_map": np.zeros((4, 4), np.float32),
        "provenance": np.ones((4, 4), np.uint8),
        "confidence": None,
        "spectra": {},
        "counts": COUNTS,
        "mean_coverage": 0.25,
        "cloudy_share": 0.3,
        "guessed": 0,
        "crops": [],
    }
    return Overview(**(given | changes))


def simulated_report(**changes: Any) -> ReportData:
    """Return the report data of a scene in three bands; fields can be changed."""
    given: dict[str, Any] = {
        "title": "Spain",
        "remover": "scene-adapted",
        "bands": ("B04", "B03", "B02"),
        "geobox": GeoBox((100, 100), Affine(10, 0, 500_000, 0, -10, 4_500_000), "EPSG:32630"),
        "inputs": [OPTICS, RADAR],
        "overview": simulated_overview(),
        "files": {},
        "modified": datetime(2020, 1, 1, tzinfo=UTC),
    }
    return ReportData(**(given | changes))
