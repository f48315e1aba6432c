"""``unclouded reproduce``."""

from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from unclouded.cli.options import Damaged, DamagedOption, Part
from unclouded.errors import InputError


class Size(StrEnum):
    """How much work a reproduction is; see ``experiments/sizes``."""

    SMOKE = "smoke"
    SAMPLE = "sample"
    PAPER = "paper"


def reproduce(
    table: Annotated[str, typer.Argument(help="table-2, table-3 or table-4; figures are drawn by 'unclouded figure'.")],
    runs: Annotated[Path, typer.Argument(help="Folder of runs; each size has a folder in it.")],
    size: Annotated[Size, typer.Option(help="smoke: seconds; sample: real samples; paper: the protocol.")] = Size.PAPER,
    train: Annotated[
        bool, typer.Option("--train", help="Train and judge what is missing; go on where it stopped.")
    ] = False,
    root: Annotated[Path | None, typer.Option(help="Data set, to train from; smoke simulates its own.")] = None,
    experiments: Annotated[
        Path | None, typer.Option(help="Folder of the rows. If omitted, ./experiments, or that of the package.")
    ] = None,
    vgg: Annotated[str, typer.Option(help="Weights of VGG16 for precision and recall: a file, or auto.")] = "auto",
    damaged: DamagedOption = Damaged.REFUSE,
) -> None:
    """Make a table of the paper from a folder of runs, as Markdown, CSV, LaTeX and HTML; cells link to scores."""
    if table.startswith("figure-"):
        raise InputError(
            f"{table} is drawn from a data set: unclouded figure {table.removeprefix('figure-')} ROOT --out PNG"
        )
    from unclouded.cli.progress import progress_bar
    from unclouded.experiments.reproduce import Reproduction
    from unclouded.experiments.rows import find_experiments
    from unclouded.experiments.tables import to_markdown
    from unclouded.files import require_writable

    wanted = Reproduction(
        find_experiments(experiments), table.replace("-", "_"), size.value, runs, root, vgg, damaged.value
    )
    require_writable(wanted.folder)
    if train:
        with progress_bar() as on_progress:
            wanted.complete(on_progress)
    made, _ = wanted.read()
    typer.echo(to_markdown(made, links=False))
    typer.echo("\n".join(f"wrote {path}" for path in wanted.write(made)))


# ``unclouded figure``.


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
    from unclouded.experiments.figures import require_format
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
    from unclouded.models.weights import load_remover

    return load_remover(text, None)


def _regions(root: Path, out: Path, names: list[str] | None, choice: _Choice) -> None:
    from unclouded.experiments.figures import choose_regions, figure_4
    from unclouded.patches.mosaic import clear_regions, whole_images

    regions = choose_regions(clear_regions(root), names)
    figure_4(out, whole_images(regions, choice.skipped) if choice.damaged == "skip" else regions)


def _coverage(root: Path, out: Path, part: Part, choice: _Choice) -> None:
    from unclouded.cli.progress import counted, progress_bar
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.patches.coverage import CoverageStatistics, measure_coverage
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.plots import write_histogram
    from unclouded.patches.splits import SplitName, triplets_of

    inventory = find_triplets(root)
    split: SplitName = part.value
    files = inventory.require_observations() if split == "all" else triplets_of(inventory, split)
    with progress_bar() as on_progress:
        measured = measure_coverage(
            files, CloudMapSettings(), ProbabilityCache(), damaged=choice.damaged, skipped=choice.skipped
        )
        statistics = CoverageStatistics(tuple(counted(measured, "measuring", len(files), on_progress)))
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


# ``unclouded leaderboard``.


def leaderboard(
    folder: Annotated[
        Path, typer.Argument(help="Folder with scores that 'evaluate' or 'reproduce' wrote, at any depth.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for leaderboard.md and leaderboard.html.")],
) -> None:
    """Set results side by side that were judged alike, with who had seen the test regions; published ones apart."""
    from unclouded.files import require_folder

    require_folder(folder)  # before the imports below, which take seconds
    from unclouded.experiments.leaderboard import (
        find_entries,
        leaderboard_html,
        leaderboard_markdown,
        other_files,
        published,
    )
    from unclouded.files import require_writable, write_text

    require_writable(out)
    entries, ours = find_entries(folder), published()
    text = leaderboard_markdown(entries, ours)
    write_text(out / "leaderboard.md", text)
    write_text(out / "leaderboard.html", leaderboard_html(entries, ours))
    if others := other_files(folder):
        more = f" and {len(others) - 3:,} more" if len(others) > 3 else ""
        typer.echo(f"{len(others):,} JSON files are no scores and left out: {', '.join(others[:3])}{more}", err=True)
    typer.echo(f"{text}\nwrote {out / 'leaderboard.md'} and {out / 'leaderboard.html'}")
