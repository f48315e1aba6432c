"""The viewer in a real browser: Debian's Chromium, driven by Playwright; skipped where it is absent."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from products.viewer_example import PATCHES, ExampleScene, example_scores, running, write_patches

from unclouded.patches.review import Decision, read_review
from unclouded.sensors import RGB, SENTINEL2
from unclouded.viewer.export import export_view
from unclouded.viewer.http_server import LocalServer, Request, Response
from unclouded.viewer.routes import Viewer
from unclouded.viewer.scenes import Sources

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.enable_socket,  # the loopback alone
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is absent; 'make setup-browser' installs it"),
]

PATIENCE_MS = 60_000
DESKTOP, PHONE = {"width": 920, "height": 600}, {"width": 390, "height": 780}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=PATIENCE_MS)
        yield chromium
        chromium.close()


class Visit:
    """A page of the viewer that collects what must not happen."""

    def __init__(self, browser: Any, server: LocalServer, size: dict[str, int], **options: Any) -> None:
        self.context = browser.new_context(viewport=size, **options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.url = server.url
        self.faults: list[str] = []
        self.page.on("console", lambda one: one.type in ("error", "warning") and self.faults.append(one.text))
        self.page.on("pageerror", lambda one: self.faults.append(str(one)))
        self.page.on("request", lambda one: self._check(one.url))

    def _check(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.faults.append(f"request to {url}")

    def open(self, link: str = "") -> Any:
        """Open a link and wait until the map is drawn."""
        self.page.goto(f"{self.url}{link}")
        self.page.wait_for_selector(".map[data-ready]")
        return self.page

    def drawn(self) -> None:
        """Wait until the map is drawn anew."""
        before = self.page.get_attribute(".map", "data-ready")
        self.page.wait_for_function("old => document.querySelector('.map').dataset.ready !== old", arg=before)


@pytest.fixture
def visit(browser: Any, example: ExampleScene, serve: Callable[..., LocalServer]) -> Iterator[Callable[..., Visit]]:
    visits = []

    def begin(size: dict[str, int] = DESKTOP, server: LocalServer | None = None, **options: Any) -> Visit:
        shown = server or serve(example.folder, inputs=(example.inputs,), truth=(example.truth,))
        visits.append(Visit(browser, shown, size, **options))
        return visits[-1]

    yield begin
    for one in visits:
        one.context.close()
        assert one.faults == []


def colour_at(page: Any, row: int, column: int, link: dict[str, float]) -> list[int]:
    """Colour on the screen of the centre of a pixel of the scene."""
    box = page.locator(".map").bounding_box()
    x = box["x"] + box["width"] / 2 + (column + 0.5 - link["x"]) / link["res"]
    y = box["y"] + box["height"] / 2 + (row + 0.5 - link["y"]) / link["res"]
    shot = page.screenshot(clip={"x": int(x), "y": int(y), "width": 1, "height": 1})
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))[0, 0].tolist()


def expected_colour(path: Path, row: int, column: int, stretch: dict[str, list[float]]) -> list[float]:
    """Colour of a pixel by its reflectance in the file: black level of each band, common span, gamma 1 / 1.5."""
    with rasterio.open(path) as file:
        stored = file.read(
            [index + 1 for index in SENTINEL2.indices(*RGB)], window=((row, row + 1), (column, column + 1))
        )
    low = np.array([stretch[band][0] for band in RGB])
    span = max(0.1, *(stretch[band][1] - stretch[band][0] for band in RGB))
    shown = np.clip((stored[:, 0, 0] / 10_000 - low) / span, 0, 1) ** (1 / 1.5)
    return (shown * 255).tolist()


def test_the_swipe_shows_the_pixels_of_both_files(visit: Callable[..., Visit], example: ExampleScene) -> None:
    link = {"x": 300.0, "y": 100.0, "res": 0.125}
    tour = visit()
    page = tour.open("#cut=50&" + "&".join(f"{key}={value}" for key, value in link.items()))
    scene = page.evaluate(
        "fetch('api/contents').then(r => r.json()).then(c => fetch('api/scenes/' + c.scenes[0].id)).then(r => r.json())"
    )
    for row in (90, 110):
        left, right = colour_at(page, row, 280, link), colour_at(page, row, 320, link)
        assert left == pytest.approx(expected_colour(example.observed, row, 280, scene["stretch"]), abs=2)
        assert right == pytest.approx(expected_colour(example.folder / "clear.tif", row, 320, scene["stretch"]), abs=2)
    page.keyboard.press("b")  # the other side alone
    page.wait_for_function(
        "() => getComputedStyle(document.querySelector('.frame')).getPropertyValue('--cut') === '0%'"
    )
    assert colour_at(page, 90, 280, link) == pytest.approx(
        expected_colour(example.folder / "clear.tif", 90, 280, scene["stretch"]), abs=2
    )


def test_the_spectrum_of_a_clicked_pixel_equals_the_file(visit: Callable[..., Visit], example: ExampleScene) -> None:
    page = visit().open("#x=300&y=320&res=1")
    box = page.locator(".map").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2 + 50.5, box["y"] + box["height"] / 2 - 99.5)
    page.wait_for_selector(".pixel table")
    place = page.inner_text(".place")
    row, column = (int(word.strip(",")) for word in place.split() if word.strip(",").isdigit())
    assert (row, column) == (220, 350)
    for layer, path in (
        ("result", example.folder / "clear.tif"),
        ("observed", example.observed),
        ("truth", example.truth),
    ):
        with rasterio.open(path) as file:
            stored = file.read(window=((row, row + 1), (column, column + 1)))[:, 0, 0]
        cells = page.locator(f"td[data-layer={layer}]").all_inner_texts()
        assert cells == [f"{number / 10_000:.4f}" for number in stored]
    values = page.inner_text(".values")
    assert "VV -10.0 dB, VH -17.5 dB" in values
    assert "observed, m = 0" in values
    assert "not predicted" in values


def test_a_link_restores_the_view(visit: Callable[..., Visit]) -> None:
    tour = visit()
    page = tour.open("#left=provenance&right=radar&cut=30&x=200&y=150&res=0.5&row=120&column=33&light=2")
    page.wait_for_selector(".pixel table")
    page.reload()
    page.wait_for_selector(".pixel table")
    assert page.input_value("select[data-side=left]") == "provenance"
    assert page.input_value("select[data-side=right]") == "radar"
    assert page.get_attribute(".swipe", "aria-valuenow") == "30"
    assert page.inner_text(".place") == "Row 120, column 33"
    for part in ("x=200.0", "y=150.0", "res=0.5", "light=2", "cut=30"):
        assert part in page.url


def test_everything_can_be_done_by_keys(visit: Callable[..., Visit]) -> None:
    page = visit().open("#x=300&y=320&res=1")
    page.focus(".swipe")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute(".swipe", "aria-valuenow") == "54"
    page.keyboard.press("Home")
    assert page.get_attribute(".swipe", "aria-valuenow") == "0"
    page.keyboard.press("2")
    page.keyboard.press("Shift+3")
    chosen = [page.input_value(f"select[data-side={side}]") for side in ("left", "right")]
    page.keyboard.press("x")
    assert [page.input_value(f"select[data-side={side}]") for side in ("right", "left")] == chosen
    page.keyboard.press("c")
    assert page.input_value("select.bands") == "nir"
    page.focus(".map")
    page.keyboard.press("Enter")
    page.wait_for_selector(".pixel table")
    assert page.inner_text(".place") == "Row 320, column 300"
    page.keyboard.press("Escape")
    page.wait_for_selector(".hint")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")


NAMELESS = """() => [...document.querySelectorAll("button, select, input, [role=slider], [role=img], a")]
    .filter(one => !(one.getAttribute("aria-label") || one.textContent.trim())).map(one => one.outerHTML)"""


def test_a_phone_shows_map_and_values_without_scrolling_sideways(visit: Callable[..., Visit]) -> None:
    page = visit(PHONE, has_touch=True, color_scheme="light").open()
    page.tap(".map", position={"x": 150, "y": 300})
    page.wait_for_selector(".pixel table")
    assert page.evaluate("() => document.documentElement.scrollWidth") == PHONE["width"]
    for part in (".map", ".pixel", "select[data-side=right]", ".swipe"):
        box = page.locator(part).bounding_box()
        assert box["width"] > 30
        assert 0 <= box["x"] + box["width"] / 2 <= PHONE["width"]
    assert page.evaluate(NAMELESS) == []  # every control has a name for screen readers
    background = "() => getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(251, 250, 248)"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(background) == "rgb(20, 24, 27)"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "data"
    write_patches(folder)
    for name, values in (("a", (0.01, 0.05, 0.03)), ("b", (0.02, 0.02, 0.02))):
        scores = example_scores(dict(zip(PATCHES, values, strict=True)), name)
        (folder / f"{name}.json").write_text(json.dumps(scores))
    return folder


def test_a_review_by_keys_survives_a_reload_and_reaches_the_file(
    visit: Callable[..., Visit], serve: Callable[..., LocalServer], results: Path
) -> None:
    tour = visit(server=serve(results))
    page = tour.page
    page.goto(tour.url)
    page.click("text=data >> nth=-1")  # the data set on the first page
    page.wait_for_selector("[role=option]")
    page.keyboard.press("a")
    page.wait_for_selector("text=Enter your name")
    page.fill("input[name=reviewer]", "JS")
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    page.fill("input[name=reason]", "haze in the clear image")
    page.keyboard.press("Enter")
    page.keyboard.press("r")
    page.wait_for_selector(".mark.reject")
    assert read_review(results / "review.csv")[PATCHES[1]] == Decision(
        PATCHES[1], "reject", "haze in the clear image", "JS"
    )
    page.reload()
    page.wait_for_selector(".mark.reject")
    assert "1 of 3 patches decided" in page.inner_text("header")
    assert page.input_value("input[name=reviewer]") == "JS"
    page.click(f"text={PATCHES[1]}")
    page.wait_for_selector("text=rejected by JS: haze in the clear image")
    page.keyboard.press("u")
    page.wait_for_selector(".mark.reject", state="detached")
    assert read_review(results / "review.csv") == {}


def test_the_worst_patch_comes_first_and_two_removers_are_compared(
    visit: Callable[..., Visit], serve: Callable[..., LocalServer], results: Path
) -> None:
    tour = visit(server=serve(results))
    page = tour.page
    page.goto(tour.url)
    page.click("text=all 2 files of scores")
    page.select_option("select[aria-label=Remover]", "a: a")
    page.wait_for_selector(f"[aria-selected=true] .name:has-text('{PATCHES[1]}')")
    assert [one.split("\n")[1] for one in page.locator("[role=option]").all_inner_texts()] == [
        "0.0500",
        "0.0300",
        "0.0100",
    ]
    page.select_option("select[aria-label=Against]", "b: b")
    page.wait_for_selector("text=95 % interval −0.0100 to +0.0200")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector(f"h2:has-text('{PATCHES[2]}')")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.figures img')].every(one => one.complete && one.naturalWidth === 48)"
    )
    assert page.locator(".figures img").count() == 3


def test_the_slider_of_dates_keeps_place_and_layers(
    visit: Callable[..., Visit], serve: Callable[..., LocalServer], example: ExampleScene, tmp_path: Path
) -> None:
    for day in (20, 11, 17):
        folder = tmp_path / "series" / f"2020-07-{day}"
        shutil.copytree(example.folder, folder)
        summary = json.loads((folder / "summary.json").read_text())
        summary["scene"]["acquired"] = f"2020-07-{day}T10:10:31+00:00"
        (folder / "summary.json").write_text(json.dumps(summary))
    tour = visit(server=serve(tmp_path / "series"))
    page = tour.open("#left=provenance&x=200&y=150&res=0.5")
    page.wait_for_selector(".dates output:has-text('2020-07-11')")
    page.keyboard.press("]")
    page.wait_for_selector(".dates output:has-text('2020-07-17')")
    page.wait_for_selector(".map[data-ready]")
    assert page.input_value("select[data-side=left]") == "provenance"
    assert "x=200.0" in page.url
    page.click("button[aria-label=Later]")
    page.wait_for_selector(".dates output:has-text('2020-07-20')")
    assert page.is_disabled("button[aria-label=Later]")


@pytest.mark.parametrize("ranges", [True, False])
def test_an_export_shows_the_same_numbers_from_any_static_server(
    visit: Callable[..., Visit], example: ExampleScene, tmp_path: Path, ranges: bool
) -> None:
    viewer = Viewer(example.folder, Sources((example.inputs,), (example.truth,)))
    export_view(viewer, tmp_path / "out")
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json"}
    requested = []

    def respond(request: Request) -> Response:
        path = tmp_path / "out" / request.path[1:] if request.path != "/" else tmp_path / "out" / "index.html"
        requested.append(path.name)
        if not path.is_file():
            return Response(404)
        if path.suffix == ".tif" and ranges:
            return Response(kind="image/tiff", file=path.open("rb"), size=path.stat().st_size)
        return Response(content=path.read_bytes(), kind=kinds.get(path.suffix, "image/tiff"))

    with running(LocalServer(respond)) as server:
        tour = visit(server=server)
        page = tour.open("#x=300&y=320&res=1&row=321&column=450")
        page.wait_for_selector(".pixel table")
        with rasterio.open(example.folder / "clear.tif") as file:
            stored = file.read(window=((321, 322), (450, 451)))[:, 0, 0]
        cells = page.locator("td[data-layer=result]").all_inner_texts()
        assert cells == [f"{number / 10_000:.4f}" for number in stored]
        assert "VV -10.0 dB, VH -17.5 dB" in page.inner_text(".values")
        scene = viewer.scene(next(iter(viewer.scenes)))
        seen = colour_at(page, 321, 450, {"x": 300.0, "y": 320.0, "res": 1.0})
        assert seen == pytest.approx(expected_colour(example.folder / "clear.tif", 321, 450, scene.stretch), abs=2)
        tour.context.close()
    assert (sum(name.endswith(".tif") for name in requested) > 14) == ranges
