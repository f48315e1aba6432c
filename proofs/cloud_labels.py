"""Cloud detectors compared with human labels, and their maps of real patches side by side.

The labelled image is ``cloud_labels/sentinel2.npz`` of the samples: six bands of an L1C product at about 30 m, with a
human label for each pixel. The network of csmask is evaluated at these pixels, with a threshold of 0.5 on its
probabilities. Detectors that cannot be evaluated there are listed with the reason.

    python proofs/cloud_labels.py [LABELS.npz]                     the last line is one JSON object
    python proofs/cloud_labels.py --sheet OUT.png --patches ROOT   maps of the cloudy patches of ROOT, as in Fig. 7
    ... --clear                                                    of its clear patches: all detections are false
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from unclouded.clouds.csmask import BANDS, CLOUD, CSMASK, SHADOW, class_probabilities
from unclouded.clouds.detector import Detector
from unclouded.clouds.detectors import CSMASK_SHADOW, DETECTORS, S2CLOUDLESS, S2CLOUDLESS_SHADOW
from unclouded.clouds.map import cloud_map, cloudy_share
from unclouded.errors import InputError
from unclouded.files import require_file, require_folder, whole_file
from unclouded.io.raster import read
from unclouded.patches.roi import natural
from unclouded.sensors import RGB, SENTINEL2

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
TRUTH = {"cloud": (4,), "shadow": (0,), "cloud or shadow": (0, 4)}
"""Labels of each question; 1, 2 and 3 are kinds of clear ground."""
QUESTIONS = {
    CSMASK.name: {"cloud": [CLOUD]},
    CSMASK_SHADOW.name: {"shadow": [SHADOW], "cloud or shadow": [CLOUD, SHADOW]},
}
"""Detection targets, and the network classes that belong to each."""
PIECE_PX = 86
"""Side of a patch of 256 px of 10 m in pixels of 30 m."""
COLUMNS = (S2CLOUDLESS, CSMASK, CSMASK_SHADOW, S2CLOUDLESS_SHADOW)
CLOUDY = ("s2_cloudy/*.tif", "*_s2_cloudy/s2_cloudy_*/*.tif")
CLEAR = ("s2_cloud[fF]ree/*.tif", "*_s2/s2_*/*.tif")
BRIGHTEST = 0.3
ROWS = 8

Image = Float32[np.ndarray, "band y x"]
Scores = dict[str, float]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("labels", type=Path, nargs="?", default=SAMPLES / "cloud_labels" / "sentinel2.npz")
    words.add_argument("--sheet", type=Path, metavar="OUT.png", help=f"more than {ROWS} patches: OUT-1.png, ...")
    words.add_argument("--patches", type=Path, metavar="ROOT", default=SAMPLES / "triplets")
    words.add_argument("--clear", action="store_true")
    options = words.parse_args()
    try:
        if options.sheet:
            draw_sheets(options.sheet, images(options.patches, CLEAR if options.clear else CLOUDY))
        else:
            evaluate(options.labels)
    except InputError as error:
        raise SystemExit(str(error)) from None


def evaluate(path: Path) -> None:
    image, labels = read_labels(path)
    evaluated = {way: score_classes(classify(image), labels) for way, classify in WAYS.items()}
    not_evaluated = {name: reason(detector) for name, detector in DETECTORS.items() if name not in QUESTIONS}
    show(evaluated, not_evaluated)
    print(json.dumps({"name": "cloud_labels", "evaluated": evaluated, "not_evaluated": not_evaluated}))


def whole(image: Image) -> Image:
    return class_probabilities(image, BANDS, "L1C")


def in_pieces(image: Image) -> Image:
    """Apply a detector piece by piece, with pieces as large as patches of 256 px of 10 m."""
    edges = range(0, image.shape[1] // PIECE_PX * PIECE_PX, PIECE_PX)
    pieces = [[whole(image[:, y : y + PIECE_PX, x : x + PIECE_PX]) for x in edges] for y in edges]
    return np.concatenate([np.concatenate(row, axis=2) for row in pieces], axis=1)


WAYS = {"whole image": whole, f"pieces of {PIECE_PX} px": in_pieces}


def score_classes(classes: Image, labels: UInt8[np.ndarray, "y x"]) -> dict[str, dict[str, Scores]]:
    true = labels[: classes.shape[1], : classes.shape[2]]
    return {
        name: {
            question: scores(classes[positive].sum(axis=0) >= 0.5, np.isin(true, TRUTH[question]))
            for question, positive in questions.items()
        }
        for name, questions in QUESTIONS.items()
    }


def read_labels(path: Path) -> tuple[Image, UInt8[np.ndarray, "y x"]]:
    require_file(path)
    with np.load(path, allow_pickle=False) as file:
        return np.ascontiguousarray(np.moveaxis(file["img"], -1, 0)), file["msk"][..., 0]


def scores(found: Bool[np.ndarray, "y x"], true: Bool[np.ndarray, "y x"]) -> Scores:
    """Return precision, recall and intersection over union; NaN without detections or without positive labels."""
    both = np.count_nonzero(found & true)
    of = {"precision": found, "recall": true, "iou": found | true}
    return {name: both / n if (n := np.count_nonzero(pixels)) else float("nan") for name, pixels in of.items()}


def reason(detector: Detector) -> str:
    """Return why a detector cannot be evaluated on an L1C image of six bands."""
    if "B10" not in detector.bands:
        return "serves L2A, the image is L1C"
    return f"needs {' '.join(band for band in detector.bands if band not in BANDS)}, which the image lacks"


def show(evaluated: dict[str, dict[str, dict[str, Scores]]], not_evaluated: dict[str, str]) -> None:
    table = Table("input", "detector", "class", "precision", "recall", "IoU", title="Against the labels")
    for way, detectors in evaluated.items():
        for name, questions in detectors.items():
            for question, found in questions.items():
                table.add_row(way, name, question, *(f"{found[score]:.3f}" for score in ("precision", "recall", "iou")))
    console = Console(width=120)
    console.print(table)
    for name, why in not_evaluated.items():
        console.print(f"not evaluated: {name}: {why}")


def images(root: Path, layer: tuple[str, ...]) -> list[Path]:
    """Return the images of one layer in either layout, with or without the other files of their patch."""
    require_folder(root)
    found = [path for pattern in layer for path in root.glob(pattern)]
    if not found:
        raise InputError(f"{root} holds no image that matches {' or '.join(layer)}; name the folder of a data set")
    return sorted(found, key=lambda path: natural(path.name))


def draw_sheets(path: Path, files: list[Path]) -> None:
    sheets = [files[first : first + ROWS] for first in range(0, len(files), ROWS)]
    for number, sheet in enumerate(sheets, start=1):
        draw_sheet(path if len(sheets) == 1 else path.with_stem(f"{path.stem}-{number}"), sheet)


def draw_sheet(path: Path, files: list[Path]) -> None:
    """Draw one row per patch: the image, and the map m of each detector with its share of m > 0."""
    side = 2.4
    figure = Figure(figsize=(side * (len(COLUMNS) + 1), (side + 0.15) * len(files)), layout="constrained")
    axes = figure.subplots(len(files), len(COLUMNS) + 1, squeeze=False)
    for line, file in zip(axes, files, strict=True):
        image = read(file, SENTINEL2)
        line[0].imshow(np.clip(np.moveaxis(image.select(RGB).values, 0, -1) / BRIGHTEST, 0, 1))
        line[0].set_title(file.stem, fontsize=7)
        for axis, detector in zip(line[1:], COLUMNS, strict=True):
            m = cloud_map(image.values, image.bands, detector=detector)
            axis.imshow(m, cmap="gray", vmin=0, vmax=1)
            axis.set_title(f"{detector.name} {cloudy_share(m):.0%}", fontsize=7)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=100)


if __name__ == "__main__":
    main()
