"""``unclouded data``: download, check, pack, sample and search data sets."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from unclouded.cli import options
from unclouded.cli.curate import merge
from unclouded.cli.logging import logger
from unclouded.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from unclouded.patches.layouts import TripletFiles
    from unclouded.patches.sampling import SampledRegion
    from unclouded.patches.screening import ScreeningSettings

app = typer.Typer(help="Download, check, pack, sample and search data sets.", no_args_is_help=True)

_CREATE, _INSPECT = "Create", "Inspect"

app.command(rich_help_panel=_CREATE)(merge)

Thresholds = Annotated[
    Path | None, typer.Option("--settings", metavar="FILE.toml", help="Thresholds of the screening checks.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a threshold, such as haze=0.1. Repeatable."),
]


@app.command(rich_help_panel=_INSPECT)
def check(
    root: options.DataSet,
    names_only: Annotated[bool, typer.Option("--names-only", help="Check the file names only.")] = False,
    published: Annotated[bool, typer.Option("--published", help="Expect all 122,218 published triplets.")] = False,
    report: Annotated[Path | None, typer.Option("--json", help="Also write the report as JSON.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for intermediate results, so that an interrupted check can resume.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Number of regions to read in parallel.")] = 1,
) -> None:
    """Report incomplete, damaged and changed triplets of a data set.

    The report also lists rows of the split lists that are invalid or have no files. If the data set has a
    manifest.parquet, every file is hashed and compared with it. ROOT may also be a store of 'unclouded data pack'.

    The exit status is 1 if the report lists anything.
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


@app.command(rich_help_panel=_CREATE)
def manifest(
    root: options.DataSet,
    out: Annotated[Path | None, typer.Option(help="GeoParquet file.", show_default="ROOT/manifest.parquet")] = None,
    coverage: Annotated[bool, typer.Option(help="Include the cloud coverage, which takes most of the time.")] = True,
    settings: Thresholds = None,
    overrides: Overrides = None,
    processes: Annotated[int, typer.Option(min=1, help="Number of regions to describe in parallel.")] = 1,
) -> None:
    """Write the manifest of a data set.

    The manifest is a GeoParquet table with the footprint, cloud coverage, screening findings, split and file hashes of
    every patch; 'unclouded data check' compares the data set with it. An interrupted run resumes when the command is
    repeated.
    """
    from unclouded.files import require_folder

    require_folder(root)  # before the imports below, which take a second
    from unclouded.cli.data_checks import describe
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.roi import MANIFEST

    found = find_triplets(root, withdrawn=True)
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


@app.command(rich_help_panel=_CREATE)
def pack(
    root: options.DataSet,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of the store.", show_default=False)],
    bands: Annotated[options.BandGroup, typer.Option(help="Optical bands to store.")] = "rgb",
    split: Annotated[options.Part, typer.Option(help="Part of the data set.")] = "all",
    region: Annotated[
        list[str] | None,
        typer.Option(help="Region to pack, such as ROIs1158_spring_31. Repeatable.", show_default="all regions"),
    ] = None,
    patch_list: Annotated[
        Path | None, typer.Option(help="Text file with the names of the patches to pack, one a line, in this order.")
    ] = None,
    subset: Annotated[
        int | None,
        typer.Option(min=1, help="Number of patches, equally spaced as by 'unclouded train'.", show_default="all"),
    ] = None,
    crop: Annotated[
        int | None, typer.Option(help="Size of the centre crop in pixels.", show_default="whole patches")
    ] = None,
    clouds: Annotated[
        options.CloudMode, typer.Option(help="Cloud map: cloud probability, binary mask, or 1 everywhere.")
    ] = "continuous",
    synthetic: Annotated[
        options.SyntheticMode | None, typer.Option(help="Store synthetic clouds in place of the cloudy images.")
    ] = None,
    settings: options.OptionsFile = None,
) -> None:
    """Pack a data set into one memory-mapped file for training.

    'unclouded train' takes the folder in place of a data set; 'unclouded data check' verifies the hash of every record.
    An interrupted run resumes when the command is repeated.
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
        _selected(triplets_of(inventory, split), region or [], patch_list, subset),
        options.band_names(bands),
        CloudMapSettings(mode=clouds),
        ProbabilityCache(),
        crop,
        SyntheticSettings(mode=synthetic) if synthetic else None,
    )
    with progress_bar() as on_progress:
        store = pack_triplets(data, parts_by_name(inventory), out, on_progress)
    size = store.settings.record().itemsize * len(store)
    typer.echo(f"{len(store):,} triplets, {size / 2**30:.2f} GiB in {out}; train with patches = '{out}'")


def _selected(
    files: "tuple[TripletFiles, ...]", regions: list[str], patch_list: Path | None, subset: int | None
) -> "tuple[TripletFiles, ...]":
    """Select triplets by region, then by list, then equally spaced, as a training does."""
    from unclouded.patches.splits import read_patch_list
    from unclouded.training.data import equally_spaced

    if regions:
        there = {str(one.roi) for one in files}
        if absent := [name for name in regions if name not in there]:
            raise InputError(f"the data set has no region {absent[0]}; its first one is {min(there)}")
        files = tuple(one for one in files if str(one.roi) in regions)
    if patch_list is not None:
        known, listed = {one.name: one for one in files}, read_patch_list(patch_list)
        if missing := [name for name in listed if name not in known]:
            raise InputError(
                f"{patch_list} names {len(missing):,} patches that are not there, first {missing[0]}; correct the list,"
                " --split or --region"
            )
        files = tuple(known[name] for name in listed)
    return files if subset is None else tuple(files[i] for i in equally_spaced(subset, len(files)))


@app.command(rich_help_panel=_CREATE)
def fetch(
    root: Annotated[
        Path, typer.Argument(metavar="ROOT", help="Folder of the data set, in the official layout.", show_default=False)
    ],
    origin: Annotated[
        str, typer.Option("--from", metavar="URL|FOLDER", help="Base address of the archives, or folder of a mirror.")
    ],
    season: Annotated[
        list[str] | None, typer.Option(help="Season to fetch. Repeatable.", show_default="all seasons")
    ] = None,
    sensor: Annotated[
        list[str] | None,
        typer.Option(help="Images to fetch: s1, s2 or s2_cloudy. Repeatable.", show_default="all images"),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            help="Region to extract, such as ROIs2017_winter_112; its whole archives are downloaded. Repeatable.",
            show_default="all regions",
        ),
    ] = None,
    checksums: Annotated[
        Path | None, typer.Option(help="SHA-256 checksums of the archives, in the format of sha256sum.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the archives after extraction.")] = False,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Print the download size and the disk space needed, and exit.")
    ] = False,
    settings: options.OptionsFile = None,
) -> None:
    """Download and extract SEN12MS-CR.

    An interrupted download resumes when the command is repeated.
    """
    from unclouded.cli.progress import byte_progress_bar
    from unclouded.files import require_writable
    from unclouded.patches.archives import SEASONS, archives
    from unclouded.patches.download import fetch as fetch_archives
    from unclouded.patches.download import incomplete, plan, read_checksums
    from unclouded.patches.roi import SENSORS, Roi

    regions = frozenset(Roi.parse(name) for name in region or ())
    selected = archives(tuple(season or SEASONS), tuple(sensor or SENSORS), regions)
    digests = read_checksums(checksums) if checksums else None
    planned = plan(selected, origin, root, keep=keep)
    typer.echo(planned)
    if plan_only:
        planned.require_room(root)
        return
    require_writable(root)
    with byte_progress_bar() as on_progress:
        patches = fetch_archives(selected, origin, root, checksums=digests, keep=keep, on_progress=on_progress)
    for sentence in incomplete(selected, root):
        logger.warning(sentence)
    typer.echo(
        f"{patches:,} patches extracted, {len(selected)} archives complete; "
        f"check them with 'unclouded data check {root}'"
    )


@app.command(rich_help_panel=_INSPECT)
def screen(
    root: options.DataSet,
    out: Annotated[Path, typer.Option(help="Output folder for screening.json, screening.txt and findings.png.")],
    settings: Thresholds = None,
    overrides: Overrides = None,
) -> None:
    """Screen the patches of a data set for imaging artifacts.

    The exit status is 1 if a patch is rejected.
    """
    from unclouded.files import require_folder

    require_folder(root)  # before the imports below, which take a second
    from unclouded.cli.progress import progress_bar
    from unclouded.files import require_writable, write_json, write_text
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.plots import chosen, write_sheet
    from unclouded.patches.reading import images_of
    from unclouded.patches.screening import ScreeningReport, screen_files
    from unclouded.progress import counted

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


@app.command(rich_help_panel=_INSPECT)
def sheet(
    root: options.DataSet,
    out: Annotated[Path, typer.Option(help="HTML file.")],
    patches: Annotated[int, typer.Option(min=1, help="Number of triplets to show per region.")] = 3,
) -> None:
    """Draw a contact sheet: one HTML page with some triplets of every region and their entries in the manifest."""
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
        page = contact_sheet(inventory, rows, patches, on_progress)
    write_text(out, page)
    typer.echo(f"look at {out}")


@app.command(rich_help_panel=_INSPECT)
def review(
    root: options.DataSet,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="REVIEW.csv",
            help="Decisions with the columns name, decision (accept or reject), reason, reviewer.",
            show_default="list the decisions in force",
        ),
    ] = None,
) -> None:
    """Accept or reject regions, scenes and patches of a data set.

    A name is a region, a product, or a patch. The decisions are added to ROOT/review.csv, a later one on the same name
    in place of the earlier, and change the status of patches in the manifest. Images are neither written nor deleted;
    all commands leave rejected patches out.
    """
    from unclouded.files import require_folder
    from unclouded.patches.review import apply_review, read_review
    from unclouded.patches.roi import REVIEW

    require_folder(root)
    if file is not None:
        typer.echo(apply_review(root, read_review(file), str(file)))
        return
    decisions = read_review(root / REVIEW) if (root / REVIEW).is_file() else {}
    typer.echo(
        "\n".join([f"{root}: {len(decisions):,} decisions", *(f"  {one.name} {one}" for one in decisions.values())])
    )


@app.command(rich_help_panel=_CREATE)
def release(
    root: options.DataSet,
    version: Annotated[str, typer.Option("--version", help="Version of the release, such as 1.2.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the release; must not exist.", show_default="ROOT-VERSION")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the data set.", show_default="name of ROOT")] = None,
    author: Annotated[list[str] | None, typer.Option(help="Author. Repeatable.", show_default="not stated")] = None,
    license_id: Annotated[str, typer.Option("--license", help="SPDX identifier of the licence.")] = "CC-BY-4.0",
    previous: Annotated[Path | None, typer.Option(help="Folder of the previous release, to list the changes.")] = None,
    webdataset: Annotated[bool, typer.Option("--webdataset", help="Also write shards for WebDataset.")] = False,
    archive: Annotated[Literal["tar", "zip"], typer.Option(help="Format of the archives.")] = "tar",
    taco: Annotated[bool, typer.Option("--taco", help="Also write a TACO file; needs 'unclouded[taco]'.")] = False,
) -> None:
    """Write a release: archives, data card, licence, citation, changes, checksums and STAC items.

    The archives hold the kept patches of one sensor and season each, as those of SEN12MS-CR. Every file is compared
    with the manifest, and a data set whose manifest has faults is refused.
    """
    from unclouded.files import require_folder

    require_folder(root)
    from unclouded.cli.progress import progress_bar
    from unclouded.curation.release import ReleaseSettings, write_release

    name = root.resolve().name
    settings = ReleaseSettings(version, title or name, tuple(author or ("not stated",)), license_id)
    target = out or root.resolve().with_name(f"{name}-{version}")
    with progress_bar() as on_progress:
        released = write_release(
            root,
            target,
            settings,
            previous,
            webdataset=webdataset,
            archive=archive,
            taco=taco,
            on_progress=on_progress,
        )
    typer.echo(released)


@app.command(rich_help_panel=_INSPECT)
def audit(
    first: Annotated[
        str,
        typer.Argument(
            metavar="FIRST",
            help="Text file with one patch or region per line, CSV split list, or data set. A suffix such as :test "
            "selects a part, as in ROOT:test.",
            show_default=False,
        ),
    ],
    second: Annotated[
        str, typer.Argument(metavar="SECOND", help="List or data set to compare with.", show_default=False)
    ],
) -> None:
    """Find overlap between two lists of patches, by name and by footprint.

    The exit status is 1 if the lists overlap.
    """
    from unclouded.cli.progress import progress_bar
    from unclouded.patches.audit import audit as compared
    from unclouded.patches.audit import read_listing

    with progress_bar() as on_progress:
        listings = [read_listing(text, on_progress) for text in (first, second)]
    found = compared(*listings)
    typer.echo(found.report())
    raise typer.Exit(0 if found.is_clean else 1)


@app.command(rich_help_panel=_CREATE)
def sample(
    land: Annotated[
        Path,
        typer.Argument(
            metavar="LAND",
            help="Land mask: GeoJSON features with a property 'continent', which may be any stratum; or a packaged "
            "one: 'world' for continents, 'climate' for climate zones, 'world-climate' for both.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT.geojson", help="GeoJSON file of the sampled regions.", show_default=False)
    ],
    regions: Annotated[int, typer.Option(min=3, max=5_000, help="Number of regions.")] = 169,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; also part of the region names.")] = 0,
    apart_km: Annotated[
        float, typer.Option("--apart", min=0, help="Minimum distance between train, val and test in km.")
    ] = 50.0,
    shares: Annotated[str, typer.Option(help="Shares of train, val and test.")] = "0.9,0.05,0.05",
    least_land: Annotated[float, typer.Option(min=0, max=1, help="Minimum share of land in a region.")] = 0.5,
    catalogue: Annotated[
        str | None, typer.Option(help="STAC API or file; regions without products in it are drawn again.")
    ] = None,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day, with --catalogue.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day, with --catalogue.")] = None,
) -> None:
    """Sample regions for a new data set.

    Regions are distributed evenly over continents and seasons, do not overlap, avoid sea and polar night, and are split
    into train, val and test by location.
    """
    import numpy as np

    from unclouded.files import require_apart, require_new_file, write_json
    from unclouded.patches.geographic_split import PlacedRegion, parse_shares, split_by_place
    from unclouded.patches.sampling import PACKAGED, as_geojson, packaged_land, read_land, sample_regions

    require_apart(out, land)
    require_new_file(out)
    parts = parse_shares(shares)
    accept = _product_check(catalogue, since, until)
    mask = packaged_land(str(land)) if str(land) in PACKAGED else read_land(land, logger.warning)
    found = sample_regions(mask, regions, seed, least_land=least_land, has_products=accept)
    placed = [PlacedRegion(one.roi, one.footprint, continent=one.continent) for one in found]
    split = split_by_place(placed, np.random.default_rng(seed), parts, apart_km=apart_km)
    write_json(out, as_geojson(found, split))
    sizes = ", ".join(f"{part} {len(getattr(split, part))}" for part in ("train", "val", "test"))
    typer.echo(f"{out}: {len(found)} regions on {len({one.continent for one in found})} continents ({sizes})")


def _product_check(
    address: str | None, since: datetime | None, until: datetime | None
) -> "Callable[[SampledRegion], bool]":
    """Check of whether a region has products in a catalogue; every region passes without one."""
    if address is None:
        return lambda region: True
    if since is None or until is None:
        raise InputError("--catalogue needs --since and --until, the first and the last day")
    from unclouded.catalogue.stac import open_catalogue
    from unclouded.curation.scene_index import indexed
    from unclouded.curation.search import SearchSettings, propose
    from unclouded.settings import settings_from

    settings = settings_from(SearchSettings, {"since": since.date(), "until": until.date()}, origin="these options")
    catalogue = indexed(open_catalogue(address))
    return lambda region: propose(region, "train", catalogue, settings).choice.pairing is not None


@app.command(rich_help_panel=_CREATE)
def search(
    regions: Annotated[
        Path,
        typer.Argument(
            metavar="REGIONS.geojson", help="GeoJSON file of regions, from 'unclouded data sample'.", show_default=False
        ),
    ],
    catalogue: Annotated[
        str,
        typer.Argument(
            metavar="CATALOGUE",
            help="Address of a STAC API, or file of a STAC catalogue or of items.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Output folder for regions.toml, products.txt and choices.csv.")],
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    radar: Annotated[str, typer.Option(help="Collection of Sentinel-1 GRD products.")] = "sentinel-1-grd",
    optical: Annotated[str, typer.Option(help="Collection of Sentinel-2 Level-1C products.")] = "sentinel-2-l1c",
    clear_below: Annotated[
        float, typer.Option(help="Maximum cloud cover of the clear product, over the whole product.")
    ] = 0.01,
    covers: Annotated[float, typer.Option(help="Minimum share of a region that a product covers.")] = 0.99,
    spares: Annotated[int, typer.Option(help="Number of alternative clear products to list per region.")] = 2,
    dates: Annotated[int, typer.Option(help="Number of cloudy images per region.")] = 1,
    settings_file: options.OptionsFile = None,
) -> None:
    """Search a STAC catalogue for radar, clear and cloudy products of regions.

    The output is the settings file of 'unclouded curate' and the list of products to fetch. Cloud cover is that of
    whole products; 'unclouded curate' measures it over each region. An interrupted search resumes when the command is
    repeated.

    The exit status is 1 if a region has no products.
    """
    from unclouded.files import require_file

    require_file(regions)  # before the imports below, which take a second
    from unclouded.catalogue.stac import ResponseCache, StoredCatalogue, open_catalogue
    from unclouded.cli.progress import progress_bar
    from unclouded.curation.search import REGIONS, SearchSettings, proposals_of, write_proposals
    from unclouded.files import require_writable
    from unclouded.patches.sampling import read_sampled
    from unclouded.settings import settings_from_options

    settings = settings_from_options(
        SearchSettings,
        {
            "since": ("--since", since.date()),
            "until": ("--until", until.date()),
            "radar": ("--radar", radar),
            "optical": ("--optical", optical),
            "clear_below": ("--clear-below", clear_below),
            "covers": ("--covers", covers),
            "spares": ("--spares", spares),
            "dates": ("--dates", dates),
        },
    )
    sampled = read_sampled(regions)
    require_writable(out)
    source = open_catalogue(catalogue)
    cache = ResponseCache(source, catalogue, out / ".answers")
    cached = source if isinstance(source, StoredCatalogue) else cache  # a catalogue on disk needs no cache
    with progress_bar() as on_progress:
        found = proposals_of(sampled, cached, settings, on_progress)
    products = write_proposals(out, found, settings)
    if cache.is_complete:
        cache.clear()
    else:
        logger.warning("the catalogue did not answer for all regions; repeat the command to search the rest")
    skipped = {id(one.skipped): one.skipped for one in found}  # regions of a catalogue on disk share theirs
    for item, reason in {item: reason for one in skipped.values() for item, reason in one.items()}.items():
        logger.warning(f"skipped {item}: {reason}")
    complete = sum(one.choice.pairing is not None for one in found)
    typer.echo(
        f"{out / REGIONS}: {complete:,} of {len(found):,} regions have products, {products:,} to fetch. "
        "Cloud cover is that of WHOLE products; 'unclouded curate' measures it over each region"
    )
    raise typer.Exit(1 if complete < len(found) else 0)


@app.command(rich_help_panel=_INSPECT)
def stats(
    root: options.DataSet,
    out: Annotated[Path, typer.Option(help="Output folder for coverage.png, coverage.csv and coverage.json.")],
    split: Annotated[
        options.Part, typer.Option(help="Part of the data set; Fig. 5 of the paper shows all, Fig. 8 test.")
    ] = "all",
    clouds: Annotated[
        options.CloudMode, typer.Option(help="Cloud map: cloud probability, binary mask, or 1 everywhere.")
    ] = "continuous",
    damaged: options.Damaged = "refuse",
) -> None:
    """Compute statistics of the cloud coverage: mean, deviation and histogram, by season and by region."""
    from unclouded.files import require_folder

    require_folder(root)  # before the imports below, which take a second
    from unclouded.cli.progress import progress_bar
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.files import require_writable, write_json, write_text
    from unclouded.patches.coverage import CoverageStatistics, measure_coverage
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.plots import write_histogram
    from unclouded.patches.reading import DamagedTriplet, incomplete_as_skipped
    from unclouded.patches.splits import incomplete_of, triplets_of
    from unclouded.progress import counted

    require_writable(out)
    inventory = find_triplets(root)
    files = inventory.require_observations() if split == "all" else triplets_of(inventory, split)
    incomplete = inventory.unpredictable if split == "all" else incomplete_of(inventory, split)
    options.report_incomplete(incomplete)
    skipped: list[DamagedTriplet] = []
    with progress_bar() as on_progress:
        measured = measure_coverage(
            files, CloudMapSettings(mode=clouds), ProbabilityCache(), damaged=damaged, skipped=skipped
        )
        patches = tuple(counted(measured, "measuring", len(files), on_progress))
    statistics = CoverageStatistics(patches, (*incomplete_as_skipped(incomplete), *skipped))
    write_json(out / "coverage.json", statistics.to_json())
    write_text(out / "coverage.csv", statistics.to_csv())
    write_histogram(out / "coverage.png", statistics, root.name if split == "all" else f"{root.name}, {split}")
    total = statistics.to_json()["all"]
    typer.echo(
        f"{total['patches']:,} patches, mean coverage {total['mean_coverage']:.2%} ± "
        f"{total['mean_coverage_deviation']:.2%} (mean of m), {total['cloudy_share']:.2%} of pixels with m > 0\n"
        f"look at {out / 'coverage.png'}"
    )
    options.report_skipped(skipped, out / "coverage.json")
