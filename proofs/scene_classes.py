"""Measure how far cloud and shadow reach beyond their classes in the scene classification of Sentinel-2 L2A.

    python proofs/scene_classes.py SERIES

SERIES is a folder of places, each with ``dates.csv`` (columns ``name`` and ``by_eye``), ``s2/NAME.tif`` (L2A, first
band visible or B05) and ``scl/NAME.tif``. On partly cloudy dates the first band is compared with the median of the four
nearest dates that are clear by eye, at growing distance from the classes of cloud and of shadow. The last lines are the
shares of class 7 (unclassified) on dates that are clear by eye and not.
"""

import csv
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
from scipy.ndimage import distance_transform_edt

from unclouded.clouds.scene_classes import CLEAR, CLOUD, SHADOW, UNCLASSIFIED

DISTANCES_PX = range(1, 11)
"""Distances in pixels of 20 m."""
NEAREST, MOST_DAYS = 4, 60
"""Number of clear dates around a date, and their largest distance in days."""


def excess_by_distance(place: Path) -> tuple[dict[int, list[float]], dict[int, list[float]], dict[str, list[float]]]:
    """Return the excess of clear classes by distance to cloud and to shadow, and the shares of class 7 by eye."""
    with (place / "dates.csv").open() as file:
        rows = list(csv.DictReader(file))
    images, classes = ([], [])
    for row in rows:
        with rasterio.open(place / "s2" / f"{row['name']}.tif") as source:
            images.append(source.read(1) / 1e4)
        with rasterio.open(place / "scl" / f"{row['name']}.tif") as source:
            classes.append(source.read(1))
    days = np.array([datetime.strptime(row["name"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp() for row in rows])
    days /= 86400
    is_clear = np.array([row["by_eye"] == "clear" for row in rows])
    near: tuple[dict[int, list[float]], dict[int, list[float]]] = ({}, {})
    for k, scl in enumerate(classes):
        others = np.flatnonzero(is_clear)
        others = others[np.argsort(np.abs(days[others] - days[k]))[:NEAREST]]
        if not 0.05 < np.isin(scl, CLOUD).mean() < 0.7 or np.abs(days[others] - days[k]).max() > MOST_DAYS:
            continue
        excess = images[k] - np.median([images[i] for i in others], axis=0)
        for kind, found in ((CLOUD, near[0]), (SHADOW, near[1])):
            other = SHADOW if kind is CLOUD else CLOUD
            distance = distance_transform_edt(~np.isin(scl, kind)) if np.isin(scl, kind).any() else None
            apart = distance_transform_edt(~np.isin(scl, other)) > 6 if kind is SHADOW else np.ones(scl.shape, bool)
            for px in DISTANCES_PX if distance is not None else ():
                at = (np.abs(distance - px) <= 0.5) & np.isin(scl, CLEAR) & apart
                found.setdefault(px, []).extend(excess[at].tolist())
    shares = {
        by_eye: [
            float((scl == UNCLASSIFIED).mean())
            for scl, row in zip(classes, rows, strict=True)
            if row["by_eye"] == by_eye
        ]
        for by_eye in ("clear", "not clear")
    }
    return *near, shares


def main(series: Path) -> None:
    """Print a table for each place."""
    for place in sorted(path for path in series.iterdir() if (path / "dates.csv").is_file()):
        cloud, shadow, shares = excess_by_distance(place)
        print(place.name)
        print("  metres   beside cloud   beside shadow: median excess of reflectance (pixels)")
        for px in DISTANCES_PX:
            cells = [f"{np.median(one[px]):+.4f} ({len(one[px])})" if one.get(px) else "-" for one in (cloud, shadow)]
            print(f"  {20 * px:6}   {cells[0]:15} {cells[1]:15}")
        print("  class 7:", ", ".join(f"{np.mean(part):.1%} of dates {name}" for name, part in shares.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
