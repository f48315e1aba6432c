"""``unclouded figure``."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from unclouded.cli.options import Damaged, DamagedOption, Part
from unclouded.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unclouded.models.remover import CloudRemover
    from unclouded.patches.layouts import Inventory, TripletFiles
    from unclouded.patches.reading import DamagedTriplet

NUMBERS = (1, 4, 5, 6, 7, 8, 9)
"""Figures 2 and 3 of the paper draw networks, not data."""


def figure(
    number: Annotated[int, typer.Argument(help="1 predictions; 4 regions; 5, 8 coverage; 6 painted; 7 maps; 9 worst.")],
    root: Annotated[Path, typer.Argument(help="Data set in either layout of SEN12MS-CR.")],
    out: Annotated[Path, typer.Option(help="File; its suffix chooses PNG, PDF or SVG.")],
    patch: Annotated[
        list[str] | None, typer.Option(help="Name of a patch; may be repeated. The first ones if omitted.")
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(help="Figure 4: a region; may be repeated. The largest of each season if omitted."),
    ] = None,
    remover: Annotated[
        list[str] | None, typer.Option(help="Figures 1, 9: weights file or baseline; may be repeated in figure 1.")
    ] = None,
    split: Annotated[
        Part | None, typer.Option(help="Part of the data set. If omitted, all; in figure 8, test.")
    ] = None,
    damaged: DamagedOption = Damaged.REFUSE,
) -> None:
    """Draw a figure of the paper from a data set."""
    from unclouded.files import require_folder

    require_folder(root)  # before the imports below, which take a second
    if number not in NUMBERS:
        raise InputError(f"figure {number} cannot be drawn from data; choose from {', '.join(map(str, NUMBERS))}")
    from unclouded.cli.options import tell_skipped
    from unclouded.experiments.drawing import require_format
    from unclouded.files import require_new_file
    from unclouded.patches.layouts import find_triplets

    require_format(out)
    require_new_file(out)
    choice = _Choice(damaged.value, [])
    if number == 4:
        _regions(root, out, region, choice)
    elif number in (5, 8):
        _coverage(root, out, split or (Part.TEST if number == 8 else Part.ALL), choice)
    else:
        _patches(number, find_triplets(root), out, patch, remover or ["clear-mean"], split or Part.ALL, choice)
    tell_skipped(choice.skipped)
    typer.echo(f"look at {out}")


class _Choice(NamedTuple):
    """What to do about damaged patches, and those that were skipped."""

    damaged: "Literal['refuse', 'skip']"
    skipped: "list[DamagedTriplet]"

    def first(self, files: "Sequence[TripletFiles]", most: int) -> "tuple[TripletFiles, ...]":
        """Return the first patches that can be read."""
        from unclouded.patches.reading import each_readable, read_triplet

        def read(index: int) -> "TripletFiles":
            read_triplet(files[index])
            return files[index]

        return tuple(islice(each_readable([one.name for one in files], read, self.damaged, self.skipped), most))


def _patches(
    number: int,
    inventory: "Inventory",
    out: Path,
    names: list[str] | None,
    removers: list[str],
    part: Part,
    choice: _Choice,
) -> None:
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.experiments.figures import figure_1, figure_6, figure_7, figure_9
    from unclouded.patches.splits import SplitName, triplets_of

    cache = ProbabilityCache()
    split: SplitName = part.value
    if number == 7:
        observed = inventory.observations if split == "all" else triplets_of(inventory, split)
        figure_7(out, [files.cloudy for files in choice.first(*_chosen(observed, names, 12))], cache)
        return
    triplets = triplets_of(inventory, split)
    if number == 6:
        figure_6(out, choice.first(*_chosen(triplets, names, 3)), cache)
    elif number == 1:
        found = {one.name: one for one in map(_found, removers)}
        figure_1(out, choice.first(*_chosen(triplets, names, 3)), found, cache)
    elif len(removers) > 1:
        raise InputError(f"figure 9 shows the mistakes of one remover, found {len(removers)}; name one")
    else:
        files, _ = _chosen(triplets, names, len(triplets))
        figure_9(out, files, _found(removers[0]), cache, damaged=choice.damaged, skipped=choice.skipped)


def _found(text: str) -> "CloudRemover":
    from unclouded.models.catalogue import find_remover

    return find_remover(text, None)


def _regions(root: Path, out: Path, names: list[str] | None, choice: _Choice) -> None:
    from unclouded.experiments.mosaics import choose_regions, figure_4
    from unclouded.patches.mosaic import clear_regions, whole_images

    regions = choose_regions(clear_regions(root), names)
    figure_4(out, whole_images(regions, choice.skipped) if choice.damaged == "skip" else regions)


def _coverage(root: Path, out: Path, part: Part, choice: _Choice) -> None:
    from unclouded.cli.progress import counted, shown_progress
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.patches.coverage import CoverageStatistics, measure_coverage
    from unclouded.patches.coverage_picture import write_histogram
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.splits import SplitName, triplets_of

    inventory = find_triplets(root)
    split: SplitName = part.value
    files = inventory.require_observations() if split == "all" else triplets_of(inventory, split)
    with shown_progress() as told:
        measured = measure_coverage(
            files, CloudMapSettings(), ProbabilityCache(), damaged=choice.damaged, skipped=choice.skipped
        )
        statistics = CoverageStatistics(tuple(counted(measured, "measuring", len(files), told)))
    write_histogram(out, statistics, root.name if part is Part.ALL else f"{root.name}, {part.value}")


def _chosen(
    files: "tuple[TripletFiles, ...]", names: list[str] | None, most: int
) -> "tuple[tuple[TripletFiles, ...], int]":
    """Return the patches to choose from, and how many of them to draw."""
    if not files:
        raise InputError("expected patches with radar and a cloudy image, found none; fetch the missing files")
    if not names:
        return files, most
    known = {one.name: one for one in files}
    if absent := [name for name in names if name not in known]:
        raise InputError(f"{', '.join(absent)} is no patch of this data set; its first one is {files[0].name}")
    return tuple(known[name] for name in names), len(names)
