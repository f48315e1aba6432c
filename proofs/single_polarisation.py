"""Print the median of VV - VH in real pixels, by land and water.

    python proofs/single_polarisation.py PIXELS.npz

PIXELS holds ``vv_db``, ``vh_db`` and ``land_class`` (0 for water) of pixels of many places and months. Also printed:
the mean absolute error of VH taken as VV minus the median over land.
"""

import sys

import numpy as np

from unclouded.sentinel.radar_delivery import VH_BELOW_VV_DB


def main(path: str) -> None:
    """Print the medians."""
    with np.load(path) as pixels:
        vv, vh, is_land = pixels["vv_db"].astype(float), pixels["vh_db"].astype(float), pixels["land_class"] != 0
    for name, where in (("land", is_land), ("water", ~is_land)):
        print(
            f"{name}: {where.sum():,} px, median of VV - VH {np.median((vv - vh)[where]):.2f} dB, error of VV - "
            f"{VH_BELOW_VV_DB:g} dB {np.abs(vv - VH_BELOW_VV_DB - vh)[where].mean():.2f} dB"
        )


if __name__ == "__main__":
    main(sys.argv[1])
