"""Run the commands that need no PyTorch, on a simulated data set: ``python tests/without_torch.py FOLDER``.

Needs the package and its dependencies alone, so that it also checks an installation by another version of Python.
"""

import sys
from pathlib import Path


def status_of(*words: object) -> int:
    """Return the exit status of a command."""
    from unclouded.cli.main import run

    sys.argv = ["unclouded", *map(str, words)]
    try:
        run()
    except SystemExit as ended:
        return int(ended.code or 0)


def main(folder: Path) -> None:
    """Run the commands and check their results."""
    for name in ("torch", "torchvision", "lightning_fabric"):
        sys.modules[name] = None  # type: ignore[assignment]  # as if it were not installed
    from unclouded.simulation.layout import simulate_data_set

    root = folder / "patches"
    simulate_data_set(root, seed=1, regions=3, size_px=256)
    cloudy = next(root.rglob("*_s2_cloudy_*.tif"))
    expected = {
        ("--version",): 0,
        ("doctor",): 0,
        ("clouds", cloudy, "--out", folder / "map.tif"): 0,
        ("data", "check", root): 0,
        ("data", "stats", root, "--out", folder / "stats"): 0,
        ("data", "sheet", root, "--out", folder / "sheet.html"): 0,
        ("data", "manifest", root, "--out", folder / "manifest.parquet"): 0,
        ("data", "sample", "world", folder / "regions.geojson", "--regions", 6): 0,
        ("view", cloudy.parent, "--export", folder / "view"): 0,
        ("predict", "--cloudy", cloudy, "--out", folder / "clear"): 2,
    }
    for words, status in expected.items():
        assert status_of(*words) == status, words
    assert (folder / "sheet.html").stat().st_size > 10_000


if __name__ == "__main__":
    main(Path(sys.argv[1]))
