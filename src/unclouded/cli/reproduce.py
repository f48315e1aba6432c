"""``unclouded reproduce``, ``unclouded figure`` and ``unclouded leaderboard``: tables and figures of the paper."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from unclouded.cli import options
from unclouded.cli.logging import logger
from unclouded.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unclouded.models.remover import CloudRemover
    from unclouded.patches.layouts import Inventory, TripletFiles
    from unclouded.patches.reading import DamagedTriplet

TABLES = ("table-2", "table-3", "table-4")


def reproduce(
    table: Annotated[
        str,
        typer.Argument(
            metavar="table-2|table-3|table-4",
            help="Table of the paper. Figures are drawn by 'unclouded figure'.",
            show_default=False,
        ),
    ],
    runs: Annotated[
        Path, typer.Argument(metavar="RUNS", help="Folder of runs, with one folder per size in it.", show_default=False)
    ],
    size: Annotated[
        Literal["smoke", "sample", "paper"],
        typer.Option(help="Amount of work: seconds on simulated data, the real samples, or the paper's protocol."),
    ] = "paper",
    train: Annotated[
        bool, typer.Option("--train", help="Train and evaluate missing rows, and resume interrupted ones.")
    ] = False,
    root: Annotated[Path | None, typer.Option(help="Data set to train on; --size smoke simulates its own.")] = None,
    experiments: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the experiment files.", show_default="./experiments, or else those of the package"
        ),
    ] = None,
    vgg: options.Vgg = "auto",
    damaged: options.Damaged = "refuse",
) -> None:
    """Reproduce a table of the paper from a folder of runs.

    The table is written as Markdown, CSV, LaTeX and HTML; its cells link to the scores.
    """
    if table.startswith("figure-"):
        raise InputError(
            f"{table} is drawn from a data set: unclouded figure {table.removeprefix('figure-')} ROOT --out PNG"
        )
    if table not in TABLES:
        raise InputError(f"{table!r} is not a table; choose from {', '.join(TABLES)}")
    from unclouded.files import require_folder

    for folder in (root, experiments):
        if folder is not None:
            require_folder(folder)  # before the imports below, which take seconds
    from unclouded.cli.progress import progress_bar
    from unclouded.experiments.reproduce import Reproduction
    from unclouded.experiments.rows import find_experiments
    from unclouded.experiments.tables import to_markdown
    from unclouded.files import require_writable

    reproduction = Reproduction(find_experiments(experiments), table.replace("-", "_"), size, runs, root, vgg, damaged)
    require_writable(reproduction.folder)
    if train:
        with progress_bar() as on_progress:
            reproduction.complete(on_progress)
    content, _ = reproduction.read()
    typer.echo(to_markdown(content, links=False))
    typer.echo("\n".join(f"wrote {path}" for path in reproduction.write(content)))


NUMBERS = (1, 4, 5, 6, 7, 8, 9)
"""Figures that show data; figures 2 and 3 of the paper show network architectures."""


def figure(
    number: Annotated[
        int,
        typer.Argument(
            metavar="NUMBER",
            help="1: predictions; 4: regions; 5 and 8: cloud coverage; 6: synthetic clouds; 7: cloud maps; "
            "9: worst predictions.",
            show_default=False,
        ),
    ],
    root: options.DataSet,
    out: Annotated[Path, typer.Option(help="PNG, PDF or SVG file.")],
    patch: Annotated[
        list[str] | None, typer.Option(help="Patch name. Repeatable.", show_default="the first patches")
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(help="Region of figure 4. Repeatable.", show_default="the largest of each season"),
    ] = None,
    remover: Annotated[
        list[str] | None,
        typer.Option(
            help="Weights file, scene-adapted or a baseline, for figures 1 and 9. Repeatable in figure 1.",
            show_default="clear-mean",
        ),
    ] = None,
    split: Annotated[
        options.Part | None, typer.Option(help="Part of the data set.", show_default="all; test in figure 8")
    ] = None,
    damaged: options.Damaged = "refuse",
) -> None:
    """Draw a figure of the paper from a data set."""
    from unclouded.files import require_folder

    require_folder(root)  # before the imports below, which take a second
    if number not in NUMBERS:
        raise InputError(f"figure {number} cannot be drawn from data; choose from {', '.join(map(str, NUMBERS))}")
    from unclouded.experiments.figures import require_format
    from unclouded.files import require_new_file
    from unclouded.patches.layouts import find_triplets

    require_format(out)
    require_new_file(out)
    selection = _Selection(damaged, [])
    if number == 4:
        _regions(root, out, region, selection)
    elif number in (5, 8):
        _coverage(root, out, split or ("test" if number == 8 else "all"), selection)
    else:
        _patches(number, find_triplets(root), out, patch, remover or ["clear-mean"], split or "all", selection)
    options.report_skipped(selection.skipped)
    typer.echo(f"look at {out}")


class _Selection(NamedTuple):
    """Action on damaged patches, and the patches skipped so far."""

    damaged: options.DamagedAction
    skipped: "list[DamagedTriplet]"

    def first(self, files: "Sequence[TripletFiles]", most: int) -> "tuple[TripletFiles, ...]":
        """The first patches that can be read, at most ``most``."""
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
    part: options.Part,
    selection: _Selection,
) -> None:
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.experiments.figures import figure_1, figure_6, figure_7, figure_9
    from unclouded.patches.splits import triplets_of

    cache = ProbabilityCache()
    if number == 7:
        observed = inventory.observations if part == "all" else triplets_of(inventory, part)
        figure_7(out, [files.cloudy for files in selection.first(*_candidates(observed, names, 12))], cache)
        return
    triplets = triplets_of(inventory, part)
    if number == 6:
        figure_6(out, selection.first(*_candidates(triplets, names, 3)), cache)
    elif number == 1:
        found = {one.name: one for one in map(_remover, removers)}
        figure_1(out, selection.first(*_candidates(triplets, names, 3)), found, cache)
    elif len(removers) > 1:
        raise InputError(f"figure 9 shows the errors of one remover, found {len(removers)}; name one")
    else:
        files, _ = _candidates(triplets, names, len(triplets))
        figure_9(out, files, _remover(removers[0]), cache, damaged=selection.damaged, skipped=selection.skipped)


def _remover(name: str) -> "CloudRemover":
    from unclouded.models.loading import load_remover

    return load_remover(name, None)


def _regions(root: Path, out: Path, names: list[str] | None, selection: _Selection) -> None:
    from unclouded.experiments.figures import choose_regions, figure_4
    from unclouded.patches.mosaic import clear_regions, whole_images

    regions = choose_regions(clear_regions(root), names)
    figure_4(out, whole_images(regions, selection.skipped) if selection.damaged == "skip" else regions)


def _coverage(root: Path, out: Path, part: options.Part, selection: _Selection) -> None:
    from unclouded.cli.progress import progress_bar
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.patches.coverage import CoverageStatistics, measure_coverage
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.plots import write_histogram
    from unclouded.patches.splits import triplets_of
    from unclouded.progress import counted

    inventory = find_triplets(root)
    files = inventory.require_observations() if part == "all" else triplets_of(inventory, part)
    with progress_bar() as on_progress:
        measured = measure_coverage(
            files, CloudMapSettings(), ProbabilityCache(), damaged=selection.damaged, skipped=selection.skipped
        )
        statistics = CoverageStatistics(tuple(counted(measured, "measuring", len(files), on_progress)))
    write_histogram(out, statistics, root.name if part == "all" else f"{root.name}, {part}")


def _candidates(
    files: "tuple[TripletFiles, ...]", names: list[str] | None, most: int
) -> "tuple[tuple[TripletFiles, ...], int]":
    """Patches to draw from, and how many to draw."""
    if not files:
        raise InputError("expected patches with radar and a cloudy image, found none; fetch the missing files")
    if not names:
        return files, most
    known = {one.name: one for one in files}
    if absent := [name for name in names if name not in known]:
        raise InputError(f"{', '.join(absent)} is no patch of this data set; its first one is {files[0].name}")
    return tuple(known[name] for name in names), len(names)


def leaderboard(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Folder to search for the scores of 'unclouded evaluate' and 'unclouded reproduce'.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Output folder for leaderboard.md and leaderboard.html.")],
) -> None:
    """Rank removers by their scores.

    Results are grouped by evaluation protocol. Networks that were trained on test regions are marked, and published
    results are listed apart.
    """
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
        logger.warning(f"{len(others):,} JSON files hold no scores and are left out: {', '.join(others[:3])}{more}")
    typer.echo(f"{text}\nwrote {out / 'leaderboard.md'} and {out / 'leaderboard.html'}")
