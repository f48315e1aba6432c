"""``unclouded reproduce``, ``unclouded figure`` and ``unclouded leaderboard``: tables and figures of the paper."""

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from unclouded.cli import options
from unclouded.cli.logging import logger
from unclouded.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unclouded.clouds.cache import ProbabilityCache
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
    row: Annotated[
        list[str] | None,
        typer.Option(help="Row to train and evaluate, such as ours-0. Repeatable.", show_default="all rows"),
    ] = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Part of the rows for this process or machine, such as 2/4.")
    ] = "1/1",
    device: Annotated[
        Literal["cpu", "cuda", "mps"] | None,
        typer.Option(
            help="Kind of device; a graphics card is chosen by CUDA_VISIBLE_DEVICES.",
            show_default="cuda if available, else cpu",
        ),
    ] = None,
    precision: Annotated[
        Literal["32-true", "bf16-mixed", "16-mixed"] | None,
        typer.Option(help="Numerical precision of trainings.", show_default="that of the rows"),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes, or threads in an evaluation, that read patches.")] = 0,
    devices: Annotated[
        int, typer.Option(min=1, help="Graphics cards of this machine, each with a process that completes rows.")
    ] = 1,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Print the duration of the missing trainings, measured here, and exit.")
    ] = False,
    vgg: options.Vgg = "auto",
    damaged: options.Damaged = "refuse",
) -> None:
    """Reproduce a table of the paper from a folder of runs.

    The table is written as Markdown, CSV, LaTeX and HTML; its cells link to the scores. Several processes may complete
    one folder, each its own rows.
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
    from unclouded.experiments.execution import Execution, complete_on_devices, without_option
    from unclouded.experiments.reproduce import Reproduction
    from unclouded.experiments.rows import find_experiments
    from unclouded.experiments.tables import to_markdown
    from unclouded.files import require_writable

    place: Any = options.resolve_device(device) if train or estimate else None
    execution = Execution(tuple(row or ()), shard, place, precision, workers)
    found = find_experiments(experiments)
    reproduction = Reproduction(found, table.replace("-", "_"), size, runs, root, vgg, damaged, execution)
    execution.select(reproduction.rows)
    require_writable(reproduction.folder)
    if train or estimate:
        lines = reproduction.estimate()
        typer.echo("\n".join(lines or ["at most a few minutes of training are left"]))
        if estimate:
            return
        if devices > 1:
            complete_on_devices(devices, without_option(sys.argv[1:], "--devices"))
        else:
            with progress_bar() as on_progress:
                reproduction.complete(on_progress)
    content, _ = reproduction.read()
    typer.echo(to_markdown(content, links=False))
    typer.echo("\n".join(f"wrote {path}" for path in reproduction.write(content)))


NUMBERS = tuple(range(1, 10))
"""Figures of the paper; 2 and 3 show networks, the others data."""


def figure(
    number: Annotated[
        int,
        typer.Argument(
            metavar="NUMBER",
            help="1: predictions; 2 and 3: networks; 4: regions; 5 and 8: cloud coverage; 6: synthetic clouds; "
            "7: cloud maps; 9: worst predictions.",
            show_default=False,
        ),
    ],
    root: Annotated[
        Path | None,
        typer.Argument(
            metavar="ROOT",
            help="Data set in either SEN12MS-CR layout; omitted for figures 2 and 3.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="PNG, PDF or SVG file.")] = ...,  # type: ignore[assignment]
    patch: Annotated[
        list[str] | None,
        typer.Option(help="Patch name. Repeatable.", show_default="from clear to fully cloudy; figure 9: the worst"),
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
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Figures 1 and 9: draw the network output everywhere, also where pixels are observed clear."
        ),
    ] = False,
    damaged: options.Damaged = "refuse",
) -> None:
    """Draw a figure of the paper from a data set."""
    from unclouded.files import require_folder

    if number not in NUMBERS:
        raise InputError(f"the paper has no figure {number}; choose from {', '.join(map(str, NUMBERS))}")
    if number in (2, 3):
        _networks(number, out)
        return
    if root is None:
        raise InputError(f"figure {number} is drawn from a data set; add ROOT")
    require_folder(root)  # before the imports below, which take a second
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
        _patches(number, find_triplets(root), out, patch, remover or ["clear-mean"], split or "all", selection, raw)
    options.report_skipped(selection.skipped)
    typer.echo(f"look at {out}")


def _networks(number: int, out: Path) -> None:
    from unclouded.experiments.architecture import figure_2, figure_3
    from unclouded.files import require_new_file

    require_new_file(out)
    (figure_2 if number == 2 else figure_3)(out)
    typer.echo(f"look at {out}")


class _Selection(NamedTuple):
    """Action on damaged patches, and the patches skipped so far."""

    damaged: options.DamagedAction
    skipped: "list[DamagedTriplet]"

    def chosen(
        self, files: "Sequence[TripletFiles]", most: int, cache: "ProbabilityCache"
    ) -> "tuple[TripletFiles, ...]":
        """At most ``most`` patches that can be read, from clear to fully cloudy; all of them if there are no more."""
        from unclouded.clouds.map import CloudMapSettings, cloud_map, mean_coverage
        from unclouded.experiments.figures import EXAMINED, choose_by_coverage
        from unclouded.io.raster import read
        from unclouded.sensors import SENTINEL2

        if len(files) <= most:
            return self.first(files, most)
        spread = [files[i * len(files) // EXAMINED] for i in range(EXAMINED)] if len(files) > EXAMINED else files
        readable = self.first(spread, EXAMINED)
        images = [read(one.cloudy, SENTINEL2) for one in readable]
        maps = [cloud_map(one.values, one.bands, CloudMapSettings(), cache=cache) for one in images]
        return tuple(readable[i] for i in choose_by_coverage([mean_coverage(m) for m in maps], most))

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
    raw: bool,
) -> None:
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.experiments.figures import figure_1, figure_6, figure_7, figure_9
    from unclouded.patches.splits import triplets_of

    cache = ProbabilityCache()
    if number == 7:
        observed = inventory.observations if part == "all" else triplets_of(inventory, part)
        figure_7(out, [files.cloudy for files in selection.chosen(*_candidates(observed, names, 12), cache)], cache)
        return
    triplets = triplets_of(inventory, part)
    if number == 6:
        figure_6(out, selection.chosen(*_candidates(triplets, names, 3), cache), cache)
    elif number == 1:
        found = {one.name: one for one in map(_remover, removers)}
        figure_1(out, selection.chosen(*_candidates(triplets, names, 3), cache), found, cache, raw=raw)
    elif len(removers) > 1:
        raise InputError(f"figure 9 shows the errors of one remover, found {len(removers)}; name one")
    else:
        files, _ = _candidates(triplets, names, len(triplets))
        shown, skipped = _remover(removers[0]), selection.skipped
        figure_9(out, files, shown, cache, raw=raw, damaged=selection.damaged, skipped=skipped)


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
