"""``unclouded data``: look at a data set."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from unclouded.cli.options import Bands, CloudMode, Damaged, DamagedOption, Painted, Part
from unclouded.errors import InputError

if TYPE_CHECKING:
    from unclouded.patches.screening import ScreeningSettings

app = typer.Typer(help="Look at a data set.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="Data set in either layout of SEN12MS-CR.")],
    names_only: Annotated[bool, typer.Option("--names-only", help="List names, open no file.")] = False,
    published: Annotated[bool, typer.Option("--published", help="Expect all 122,218 published triplets.")] = False,
    report: Annotated[Path | None, typer.Option("--json", help="Write what was found as JSON, too.")] = None,
    work: Annotated[Path | None, typer.Option(help="Folder that lets a killed check go on where it was.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Regions read at once.")] = 1,
) -> None:
    """Name every incomplete, damaged or changed triplet in one report, and every row of a split list that other
    commands refuse or that has no files; exit status 1 if there is one.

    Where there is a manifest.parquet, every file is hashed and compared with it.
    """
    from unclouded.files import require_folder

    require_folder(root)  # before the imports below, which take a second
    from unclouded.cli.data_checks import inspect
    from unclouded.patches.layouts import find_triplets

    if (root / "store.json").is_file():
        _check_store(root)
    inventory = find_triplets(root)
    if names_only:
        from unclouded.patches.splits import check_split

        split = check_split(inventory)
        typer.echo("\n".join([inventory.report(), *split.lines()]))
        raise typer.Exit(1 if inventory.incomplete or not split.is_clean else 0)
    raise typer.Exit(inspect(inventory, published=published, report=report, work=work, processes=processes))


@app.command()
def manifest(
    root: Annotated[Path, typer.Argument(help="Data set in either layout of SEN12MS-CR.")],
    out: Annotated[Path | None, typer.Option(help="GeoParquet file; ROOT/manifest.parquet if omitted.")] = None,
    coverage: Annotated[bool, typer.Option(help="Map the clouds, which takes most of the time.")] = True,
    settings: Annotated[Path | None, typer.Option(help="TOML file of thresholds of the checks.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="A threshold, such as haze=0.1.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Regions described at once.")] = 1,
) -> None:
    """Describe every patch in one table: footprint, coverage, findings, split, hashes; GeoParquet.

    A killed run goes on where it was. 'data check' compares the data set with it.
    """
    from unclouded.files import require_folder

    require_folder(root)  # before the imports below, which take a second
    from unclouded.cli.data_checks import describe
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.roi import MANIFEST

    found = find_triplets(root)
    thresholds = _thresholds(settings, overrides)
    raise typer.Exit(describe(found, out or root / MANIFEST, thresholds, coverage=coverage, processes=processes))


def _thresholds(path: Path | None, overrides: list[str] | None) -> "ScreeningSettings":
    from unclouded.patches.screening import ScreeningSettings
    from unclouded.settings import load_settings, settings_from

    if path:
        return load_settings(ScreeningSettings, path, overrides or [])
    return settings_from(ScreeningSettings, {}, overrides or [])


def _check_store(root: Path) -> NoReturn:
    from unclouded.cli.progress import progress_bar
    from unclouded.tensors.packed import open_store

    store = open_store(root)
    damaged = []
    with progress_bar() as on_progress:
        for index, name in enumerate(store.names):
            try:
                store.check(index)
            except InputError as error:
                damaged.append(f"  {name}: {error}")
            on_progress("hashing", index + 1, len(store))
    typer.echo("\n".join([f"{root}: a store of {len(store):,} triplets, {len(damaged):,} damaged", *damaged]))
    raise typer.Exit(1 if damaged else 0)


@app.command()
def pack(
    root: Annotated[Path, typer.Argument(help="Data set in either layout of SEN12MS-CR.")],
    out: Annotated[Path, typer.Argument(help="Folder of the store.")],
    bands: Annotated[Bands, typer.Option(help="Optical bands to keep.")] = Bands.RGB,
    split: Annotated[Part, typer.Option(help="Part of the data set.")] = Part.ALL,
    crop: Annotated[int | None, typer.Option(help="Keep the middle so many px; all if omitted.")] = None,
    clouds: Annotated[CloudMode, typer.Option(help="Cloud map.")] = CloudMode.CONTINUOUS,
    synthetic: Annotated[Painted | None, typer.Option(help="Keep painted clouds instead of the real ones.")] = None,
) -> None:
    """Pack what training reads into one memory-mapped file; training takes the folder for a data set.

    A killed packing goes on where it stopped. 'data check OUT' hashes every record.
    """
    from unclouded.files import require_folder

    require_folder(root)  # before the imports below, which take a second
    from unclouded.cli.progress import progress_bar
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.clouds.synthetic import SyntheticSettings
    from unclouded.files import require_writable
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.splits import parts_by_name, triplets_of
    from unclouded.tensors.dataset import TripletDataset
    from unclouded.tensors.packed import pack as pack_triplets

    require_writable(out)
    inventory = find_triplets(root)
    data = TripletDataset(
        triplets_of(inventory, split.value),
        bands.names(),
        CloudMapSettings(mode=clouds.value),
        ProbabilityCache(),
        crop,
        SyntheticSettings(mode=synthetic.value) if synthetic else None,
    )
    with progress_bar() as on_progress:
        store = pack_triplets(data, parts_by_name(inventory), out, on_progress)
    size = store.settings.record().itemsize * len(store)
    typer.echo(f"{len(store):,} triplets, {size / 2**30:.2f} GiB in {out}; train with patches = '{out}'")


@app.command()
def fetch(
    root: Annotated[Path, typer.Argument(help="Folder of the data set; filled in the official layout.")],
    origin: Annotated[str, typer.Option("--from", help="Address below which the archives are, or a mirror folder.")],
    season: Annotated[list[str] | None, typer.Option(help="Only this season; may be repeated.")] = None,
    sensor: Annotated[list[str] | None, typer.Option(help="Only s1, s2 or s2_cloudy; may be repeated.")] = None,
    checksums: Annotated[Path | None, typer.Option(help="SHA-256 of the archives, as sha256sum lists them.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep archives when they are extracted.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Say what it takes and do nothing.")] = False,
) -> None:
    """Fetch SEN12MS-CR and extract it; whatever breaks, run it again and it goes on."""
    from unclouded.cli.progress import byte_progress_bar
    from unclouded.files import require_writable
    from unclouded.patches.archives import SEASONS, archives
    from unclouded.patches.download import fetch as fetch_archives
    from unclouded.patches.download import incomplete, plan, read_checksums
    from unclouded.patches.roi import SENSORS

    wanted = archives(tuple(season or SEASONS), tuple(sensor or SENSORS))
    digests = read_checksums(checksums) if checksums else None
    planned = plan(wanted, origin, root, keep=keep)
    typer.echo(planned)
    if plan_only:
        planned.require_room(root)
        return
    require_writable(root)
    with byte_progress_bar() as on_progress:
        patches = fetch_archives(wanted, origin, root, checksums=digests, keep=keep, on_progress=on_progress)
    for sentence in incomplete(wanted, root):
        typer.echo(sentence, err=True)
    typer.echo(
        f"{patches:,} patches came, {len(wanted)} archives are there; check them with 'unclouded data check {root}'"
    )


@app.command()
def screen(
    root: Annotated[Path, typer.Argument(help="Data set in either layout of SEN12MS-CR.")],
    out: Annotated[Path, typer.Option(help="Folder for screening.json, screening.txt and findings.png.")],
    settings: Annotated[Path | None, typer.Option(help="TOML file of thresholds.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="A threshold, such as haze=0.1.")] = None,
) -> None:
    """Screen every patch for imaging artifacts; exit status 1 if a check rejects one."""
    from unclouded.files import require_folder

    require_folder(root)  # before the imports below, which take a second
    from unclouded.cli.progress import counted, progress_bar
    from unclouded.files import require_writable, write_json, write_text
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.plots import chosen, write_sheet
    from unclouded.patches.reading import images_of
    from unclouded.patches.screening import ScreeningReport, screen_files

    thresholds = _thresholds(settings, overrides)
    require_writable(out)
    found = images_of(find_triplets(root))
    with progress_bar() as on_progress:
        screened = (screen_files(images, thresholds) for images in found)
        report = ScreeningReport(tuple(counted(screened, "screening", len(found), on_progress)), thresholds)
    write_json(out / "screening.json", report.to_json())
    write_text(out / "screening.txt", report.to_text() + "\n")
    if drawn := chosen(report.screenings):
        write_sheet(out / "findings.png", drawn, {images.name: images for images in found})
    typer.echo(report.to_text())
    raise typer.Exit(1 if report.rejected else 0)


@app.command()
def sheet(
    root: Annotated[Path, typer.Argument(help="Data set in either layout of SEN12MS-CR.")],
    out: Annotated[Path, typer.Option(help="HTML file.")],
    patches: Annotated[int, typer.Option(min=1, help="Triplets of each region that are shown.")] = 3,
) -> None:
    """Show a data set on one page: some triplets of every region, and what the manifest says of them."""
    from unclouded.files import require_folder

    require_folder(root)  # before the imports below, which take a second
    from unclouded.cli.progress import progress_bar
    from unclouded.curation.contact_sheet import contact_sheet
    from unclouded.files import require_new_file, write_text
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.manifest import read_manifest
    from unclouded.patches.roi import MANIFEST

    require_new_file(out)
    inventory = find_triplets(root)
    rows = read_manifest(root / MANIFEST) if (root / MANIFEST).is_file() else []
    with progress_bar() as on_progress:
        page = contact_sheet(inventory, rows, patches, lambda done, total: on_progress("drawing", done, total))
    write_text(out, page)
    typer.echo(f"look at {out}")


@app.command()
def audit(
    first: Annotated[str, typer.Argument(help="Text file with a patch or region a line, csv list, or data set.")],
    second: Annotated[str, typer.Argument(help="Another one; ':test' behind either takes a part, as in ROOT:test.")],
) -> None:
    """Name everything that two lists share, by id and on the ground; exit status 1 if they share anything."""
    from unclouded.cli.progress import progress_bar
    from unclouded.patches.audit import audit as compared
    from unclouded.patches.audit import read_listing

    with progress_bar() as on_progress:
        listings = [read_listing(text, on_progress) for text in (first, second)]
    found = compared(*listings)
    typer.echo(found.report())
    raise typer.Exit(0 if found.is_clean else 1)


@app.command()
def sample(
    land: Annotated[Path, typer.Argument(help="Land mask: GeoJSON features with a property 'continent'.")],
    out: Annotated[Path, typer.Argument(help="GeoJSON of the regions to look for scenes in.")],
    regions: Annotated[int, typer.Option(min=1, max=5_000, help="How many.")] = 169,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all randomness; also part of their names.")] = 0,
    apart_km: Annotated[float, typer.Option("--apart", min=0, help="Least km between train, val and test.")] = 50.0,
) -> None:
    """Draw regions evenly over continents and seasons, none over another, and split them by place."""
    import numpy as np

    from unclouded.files import require_apart, require_new_file, write_json
    from unclouded.patches.geographic_split import PlacedRegion, split_by_place
    from unclouded.patches.sampling import as_geojson, read_land, sample_regions

    require_apart(out, land)
    require_new_file(out)
    found = sample_regions(read_land(land, lambda text: typer.echo(text, err=True)), regions, seed)
    placed = [PlacedRegion(one.roi, one.footprint, continent=one.continent) for one in found]
    split = split_by_place(placed, np.random.default_rng(seed), apart_km=apart_km)
    write_json(out, as_geojson(found, split))
    sizes = ", ".join(f"{part} {len(getattr(split, part))}" for part in ("train", "val", "test"))
    typer.echo(f"{out}: {len(found)} regions on {len({one.continent for one in found})} continents ({sizes})")


@app.command()
def search(
    regions: Annotated[Path, typer.Argument(help="GeoJSON of regions that 'data sample' wrote.")],
    catalogue: Annotated[str, typer.Argument(help="Address of a STAC API, or a file of items or catalogue on disk.")],
    out: Annotated[Path, typer.Option(help="Folder for regions.toml, products.txt and choices.csv.")],
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    radar: Annotated[str, typer.Option(help="Collection of Sentinel-1 GRD.")] = "sentinel-1-grd",
    optical: Annotated[str, typer.Option(help="Collection of Sentinel-2 Level-1C.")] = "sentinel-2-l1c",
    clear_below: Annotated[float, typer.Option(help="Most cloud of the clear product, as a whole.")] = 0.01,
    covers: Annotated[float, typer.Option(help="Least share of a region that a product shows.")] = 0.99,
    spares: Annotated[int, typer.Option(help="Further clear products to list for each region.")] = 2,
) -> None:
    """Propose radar, clear and cloudy products for regions, and write what 'curate' takes and what to fetch for it.

    Clouds are those of whole products; 'curate' measures them over each region. Exit status 1 if a region has none.
    Broken off, it asks only for what was not answered.
    """
    from unclouded.files import require_file

    require_file(regions)  # before the imports below, which take a second
    from unclouded.catalogue.stac import ResponseCache, StoredCatalogue, open_catalogue
    from unclouded.cli.progress import progress_bar
    from unclouded.curation.search import REGIONS, SearchSettings, proposals_of, write_proposals
    from unclouded.files import require_writable
    from unclouded.patches.sampling import read_sampled
    from unclouded.settings import settings_from

    given = {"since": since.date(), "until": until.date(), "radar": radar, "optical": optical}
    limits = {"clear_below": clear_below, "covers": covers, "spares": spares}
    settings = settings_from(SearchSettings, given | limits, origin="these options")
    wanted = read_sampled(regions)
    require_writable(out)
    source = open_catalogue(catalogue)
    answers = ResponseCache(source, catalogue, out / ".answers")
    asked = source if isinstance(source, StoredCatalogue) else answers  # what lies on disk need not be kept there
    with progress_bar() as on_progress:
        found = proposals_of(wanted, asked, settings, lambda done, total: on_progress("searching", done, total))
    products = write_proposals(out, found, settings)
    if answers.is_complete:
        answers.clear()
    else:
        typer.echo("not every region was answered for; the same command asks for the rest", err=True)
    for item, reason in {item: reason for one in found for item, reason in one.skipped.items()}.items():
        typer.echo(f"skipped {item}: {reason}", err=True)
    served = sum(one.choice.pairing is not None for one in found)
    typer.echo(
        f"{out / REGIONS}: {served:,} of {len(found):,} regions have products, {products:,} to fetch. "
        "Clouds are those of WHOLE products; 'unclouded curate' measures them over each region"
    )
    raise typer.Exit(1 if served < len(found) else 0)


@app.command()
def stats(
    root: Annotated[Path, typer.Argument(help="Data set in either layout of SEN12MS-CR.")],
    out: Annotated[Path, typer.Option(help="Folder for coverage.png, coverage.csv and coverage.json.")],
    split: Annotated[Part, typer.Option(help="Part of the data set; Fig. 5 shows all, Fig. 8 test.")] = Part.ALL,
    clouds: Annotated[CloudMode, typer.Option(help="Cloud map.")] = CloudMode.CONTINUOUS,
    damaged: DamagedOption = Damaged.REFUSE,
) -> None:
    """Measure the cloud coverage: mean, deviation, histogram, by season and by region."""
    from unclouded.files import require_folder

    require_folder(root)  # before the imports below, which take a second
    from unclouded.cli.options import tell_left_out, tell_skipped
    from unclouded.cli.progress import counted, progress_bar
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.files import require_writable, write_json, write_text
    from unclouded.patches.coverage import CoverageStatistics, measure_coverage
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.plots import write_histogram
    from unclouded.patches.reading import DamagedTriplet, incomplete_as_skipped
    from unclouded.patches.splits import SplitName, incomplete_of, triplets_of

    require_writable(out)
    inventory = find_triplets(root)
    part: SplitName = split.value
    files = inventory.require_observations() if part == "all" else triplets_of(inventory, part)
    incomplete = inventory.unpredictable if part == "all" else incomplete_of(inventory, part)
    tell_left_out(incomplete)
    require_writable(out)
    skipped: list[DamagedTriplet] = []
    with progress_bar() as on_progress:
        measured = measure_coverage(
            files, CloudMapSettings(mode=clouds.value), ProbabilityCache(), damaged=damaged.value, skipped=skipped
        )
        patches = tuple(counted(measured, "measuring", len(files), on_progress))
    statistics = CoverageStatistics(patches, (*incomplete_as_skipped(incomplete), *skipped))
    write_json(out / "coverage.json", statistics.to_json())
    write_text(out / "coverage.csv", statistics.to_csv())
    write_histogram(out / "coverage.png", statistics, root.name if part == "all" else f"{root.name}, {part}")
    total = statistics.to_json()["all"]
    typer.echo(
        f"{total['patches']:,} patches, mean coverage {total['mean_coverage']:.2%} ± "
        f"{total['mean_coverage_deviation']:.2%} (mean of m), {total['cloudy_share']:.2%} of pixels with m > 0\n"
        f"look at {out / 'coverage.png'}"
    )
    tell_skipped(skipped, out / "coverage.json")
