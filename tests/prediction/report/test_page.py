import base64
import hashlib
import html as html_text
import json
import re
import shutil
import subprocess
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from products.report import COUNTS, EVEN, simulated_overview, simulated_report

from unclouded.prediction.alignment import AlignmentQuality
from unclouded.prediction.auto_remover import ExpectedError, RemoverError
from unclouded.prediction.products import percent_text
from unclouded.prediction.report.data import Input, OutputFile
from unclouded.prediction.report.overview import Crop, Overview, SceneReaders, Spectra, read_overview
from unclouded.prediction.report.page import report_page
from unclouded.sentinel.coregistration import Shift

BANDS = ("B04", "B03", "B02")

HOSTILE = '"><script src=//evil.example/x.js></script><img src=x onerror=alert(1)>'

ALIGNMENT = AlignmentQuality(1.5, Shift(-1.5, 2.0, 0.2, 0.03, blocks=4))

EXPECTED = ExpectedError(
    {"scene-adapted": RemoverError(0.0213, 0.0316228, 7.5, 12345), "clear-mean": RemoverError(0.04, 0.05, 11.0, 12345)},
    12345,
    BANDS,
    False,
)


def overview(confidence: bool = True, side: int = 32, cloudy: float = 0.9) -> Overview:
    rng = np.random.default_rng(0)
    after = rng.uniform(0.05, 0.2, (3, side, side)).astype(np.float32)
    m = np.zeros((side, side), np.float32)
    m[: side // 4] = cloudy
    sure = np.where(m > 0, np.float32(0.4), np.float32(1.0))
    before = np.where(m > 0, np.float32(0.8), after)
    return read_overview(
        SceneReaders(
            (side, side),
            BANDS,
            lambda top, bottom: before[:, top:bottom],
            lambda top, bottom: after[:, top:bottom],
            lambda top, bottom: m[None, top:bottom],
            lambda top, bottom: np.where(m > 0, 3, 1).astype(np.uint8)[None, top:bottom],
            (lambda top, bottom: sure[None, top:bottom]) if confidence else None,
        )
    )


def page(seen: Overview | None = None, **changes: object) -> str:
    """Return the page of a simulated scene without the blanks between its elements."""
    given = {"overview": seen or overview(), "expected": EXPECTED, "alignment": ALIGNMENT, **changes}
    return re.sub(r">\s+<", "><", report_page(simulated_report(**given)))


class Addresses(HTMLParser):
    """Collects everything that a browser would fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.events: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "action", "data")]
        self.events += [key for key, _ in attrs if key.startswith("on") or key == "style"]


def test_the_page_shows_the_statistics() -> None:
    text = page(overview(), choice="scene-adapted was used: it has the smallest error")
    for expected in (
        "<b>75.0 %</b>",  # 24 of 32 rows are clear
        "<b>25.0 %</b>",
        "<b>100.0 %</b><span>of the predicted pixels are guessed",
        "<b>± 0.021</b>",
        "<b>1.5 days</b><span>the radar is later than the optical image",
        "<b>2.5 px</b><span>shift of the radar",
        "-1.50 px right, +2.00 px down (gap 0.030), from 4 blocks of clear ground",
        "32 × 32 px, 0.32 × 0.32 km",
        "12,345 clear pixels were covered",
        '<td class="number">30.00</td>',  # 20 log10(1 / 0.0316228)
        "Scene-adapted was used: it has the smallest error.",
        f"SHA-256 {'cd' * 32}",
    ):
        assert expected in text


def test_the_page_fetches_nothing_and_runs_only_its_own_script() -> None:
    seen = Addresses(page(overview(side=700)))
    assert seen.tags.count("script") == 1
    assert len(seen.fetched) >= 4
    assert all(address.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for address in seen.fetched)
    assert seen.events == []


def test_the_policy_allows_exactly_the_style_and_the_script_of_the_page() -> None:
    text = page(overview())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    for kind in ("style", "script"):
        body = re.search(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        assert body is not None
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy[1]


@pytest.mark.parametrize("where", ["title", "input", "setting", "measured", "remark", "remover", "choice", "file"])
def test_names_from_files_are_escaped(where: str, tmp_path: Path) -> None:
    (folder := tmp_path / "<script>alert(1)<").mkdir()
    (folder / (name := "<script>'\"&.tif")).write_bytes(b"")
    changes: dict[str, dict[str, object]] = {
        "title": {"title": HOSTILE},
        "input": {"inputs": [Input("Sentinel-2", HOSTILE, "00")]},
        "setting": {"settings": {HOSTILE: HOSTILE}},
        "measured": {"measured": {HOSTILE: HOSTILE}},
        "remark": {"remarks": [HOSTILE]},
        "remover": {"remover": HOSTILE, "expected": ExpectedError({HOSTILE: RemoverError(0, 0, 0, 1)}, 1, BANDS, True)},
        "choice": {"choice": HOSTILE},
        "file": {"files": {"clear": OutputFile(folder / name, HOSTILE, ())}},
    }
    text = page(overview(), **changes[where])
    plain = Addresses(page(overview()))
    seen = Addresses(text)
    assert HOSTILE not in text
    assert "evil.example" in text
    assert seen.tags.count("script") == 1
    assert seen.tags.count("img") == plain.tags.count("img")


def test_earlier_radar_is_named_earlier_and_an_unreliable_shift_is_not_shown_as_a_number() -> None:
    text = page(overview(), alignment=AlignmentQuality(-3.0, Shift(5.0, 5.0, 0.1, 0.002, blocks=1)))
    assert "<b>3.0 days</b><span>the radar is earlier" in text
    assert "unknown, the images have too few edges in common (gap 0.002), from 1 block of clear ground" in text
    assert " px</b>" not in text


def test_the_border_line_does_not_block_pointer_events_of_the_slider() -> None:
    drawn = re.search(r"\.compare::after \{(.*?)\}", page(overview()), re.DOTALL)
    assert drawn is not None and "pointer-events: none" in drawn[1]


def test_page_script_and_style_connect_the_slider_to_the_border() -> None:
    """Selectors and properties in the script exist in page and style."""
    text = page(overview())
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert 'querySelectorAll(".compare input")' in script and 'addEventListener("input"' in script
    assert 'parentElement.style.setProperty("--cut", slider.value + "%")' in script
    assert ".compare { position: relative; --cut: 50%;" in style
    assert "clip-path: inset(0 calc(100% - var(--cut)) 0 0)" in style and "left: var(--cut)" in style
    frame = re.search(r'<div class="frame compare">(.*?)</div>', text, re.DOTALL)
    assert frame is not None
    after, before, slider = re.findall(r"<(?:img|input)[^>]*>", frame[1])
    assert 'alt="The scene without clouds"' in after and "class=" not in after
    assert 'class="over"' in before and 'alt="The scene as observed"' in before
    assert all(f'{name}="{value}"' in slider for name, value in (("min", 0), ("max", 100), ("value", 50)))
    assert 'type="range"' in slider and 'aria-label="Border between observed and without clouds"' in slider


VISITOR = """
addEventListener("load", () => {
  const slider = document.querySelector(".compare input"), over = document.querySelector(".compare .over");
  slider.scrollIntoView();
  const cuts = [getComputedStyle(over).clipPath], box = slider.getBoundingClientRect();
  const under = [0.02, 0.5, 0.98].map(x => document.elementFromPoint(box.left + x * box.width, box.top + 20).tagName);
  for (const value of [0, 25, 100]) {
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
    cuts.push(getComputedStyle(over).clipPath);
  }
  document.documentElement.dataset.seen = JSON.stringify({cuts, under, width: over.naturalWidth});
});
"""
"""Script that inspects the page and moves its slider to 0, 25 and 100."""


def test_a_browser_moves_the_border_under_the_policy_of_the_page(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    digest = base64.b64encode(hashlib.sha256(VISITOR.encode()).digest()).decode()
    visited = page(overview()).replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    (tmp_path / "page.html").write_text(visited.replace("</body>", f"<script>{VISITOR}</script></body>"))
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom")
    shown = subprocess.run([browser, *options, tmp_path / "page.html"], capture_output=True, text=True, timeout=120)
    found = re.search(r'data-seen="([^"]*)"', shown.stdout)
    assert found is not None, shown.stderr[-500:]
    seen = json.loads(html_text.unescape(found[1]))
    assert [re.search(r"inset\(0px (\S+?%?) ", cut)[1] for cut in seen["cuts"]] == ["50%", "100%", "75%", "0%"]  # type: ignore[index]
    assert seen["under"] == ["INPUT"] * 3  # nothing lies over the slider
    assert seen["width"] == 32


def test_remarks_appear_above_the_images() -> None:
    text = page(overview(), remarks=["no manifest.safe: a changed bit goes unseen"])
    note = '<p class="note">No manifest.safe: a changed bit goes unseen.</p>'
    assert 0 < text.index(note) < text.index("<figure")


def test_the_page_omits_unknown_dates_expected_error_and_confidence() -> None:
    bare = page(
        overview(confidence=False),
        inputs=[Input("Sentinel-2", "a.tif", "00")],
        expected=None,
        alignment=None,
        geobox=GeoBox((32, 32), Affine.identity(), None),
    )
    assert "Sentinel-2, date unknown" in bare
    for absent in ("days", "shift of the radar", "Expected error", "and confidence", " km", "Files"):
        assert absent not in bare.split('<body class="page">')[1]


def test_fault_14_a_scene_without_clouds_or_without_clear_ground_has_a_page() -> None:
    assert "<b>100.0 %</b><span>of the scene is as observed" in page(overview(cloudy=0.0))
    overcast = overview(side=4, cloudy=0.9)
    assert "<svg" in page(overcast)


def test_the_same_scene_gives_the_same_page() -> None:
    assert page() == page()


def simulated_page(**changes: object) -> str:
    """Return the page of a scene of constant reflectance with one cloudy pixel."""
    names = {field.name for field in fields(Overview)}
    seen = simulated_overview(**{name: value for name, value in changes.items() if name in names})
    given = {"expected": None, "alignment": None, **changes}
    return page(seen, **{name: value for name, value in given.items() if name not in names})


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0.0 %"), (1e-6, "< 0.1 %"), (0.001, "0.1 %"), (0.5, "50.0 %"), (0.9995, "> 99.9 %"), (1.0, "100.0 %")],
)
def test_only_exact_shares_are_shown_as_0_or_100_per_cent(share: float, words: str) -> None:
    assert percent_text(share) == words


def test_one_cloudy_pixel_is_not_shown_as_zero() -> None:
    html = simulated_page()
    assert "<b>&gt; 99.9 %</b><span>of the scene is as observed" in html
    assert "<b>&lt; 0.1 %</b><span>of the scene was cloudy and is predicted by scene-adapted" in html
    assert html.count('class="tile"') == 2


def test_a_single_band_is_shown_as_grey_and_a_reduced_overview_states_its_scale() -> None:
    assert "Reflectance of B04 from 0.100 to 0.200, in grey." in simulated_page()
    shown = simulated_page(shown=BANDS, step=9)
    colours = "Reflectance of B04 from 0.100 to 0.200, B03 from 0.100 to 0.200, B02 from 0.100 to 0.200."
    assert colours in shown and "One pixel of the picture is 9 × 9 of the scene." in shown


def test_the_head_shows_size_bands_and_dates() -> None:
    head = "100 × 100 px, 1 × 1 km · 1 band · Sentinel-2 of 2018-01-01 · Sentinel-1 of 2018-01-03"
    assert f'<p class="soft">{head}</p>' in simulated_page(bands=("B04",))
    coarse = GeoBox((100, 100), Affine(20, 0, 0, 0, -20, 0), "EPSG:32632")
    assert ", 2 × 2 km · 3 bands" in simulated_page(geobox=coarse)


def test_the_page_gives_the_reason_of_the_selection_and_the_predicted_share_of_each_remover() -> None:
    rows = {"scene-adapted": RemoverError(0.02, 0.02, 1.0, 500), "half": RemoverError(0.01, 0.01, 1.0, 200)}
    found = ExpectedError(rows, 500, ("B04",), simulated=True)
    html = simulated_page(expected=found, choice="half was left out")
    assert "Half was left out." in html and '<td class="number">40.0 %</td>' in html
    assert "500 clear pixels were covered with simulated clouds, because the scene has none" in html
    assert html.count('<tr class="used"><td>scene-adapted (used)</td>') == 1


def test_expectation_14_shares_refer_to_the_whole_scene_and_missing_data_have_a_cause() -> None:
    counts = COUNTS | {"observed": 4_000, "blended": 1_000, "near_gap": 1_000, "unknown_cloud": 500, "no_data": 3_500}
    losses = {"no_data_optical": 1_500, "no_data_radar": 2_000, "no_data_remover": 0, "radar_gaps": 2_500}
    html = simulated_page(counts=counts, losses=losses)
    for share, words in (
        ("40.0 %", "of the scene is as observed"),
        ("20.0 %", "of the scene was cloudy and is predicted by scene-adapted"),
        ("5.0 %", "of the scene has no known cloud state and is predicted by scene-adapted"),
        ("35.0 %", "of the scene has no data: cloudy and no radar data 20.0 %, no optical"),
    ):
        assert f"<b>{share}</b><span>{words}" in html


def test_the_legend_of_the_provenance_shows_colour_and_share_of_each_kind_that_occurs() -> None:
    html = simulated_page(counts=COUNTS | {"observed": 7_500, "blended": 0, "near_gap": 2_500})
    found = re.findall(r'fill="(#\w+)"/></svg><span><b>([^<]+)</b> ([^<]+)</span>', html)
    assert found == [("#2f7d6d", "75.0 %", "observed, m = 0"), ("#7662a8", "25.0 %", "predicted next to a gap")]


def test_the_psnr_of_a_zero_error_is_infinite() -> None:
    found = ExpectedError({"scene-adapted": RemoverError(0.0, 0.0, 0.0, 500)}, 500, ("B04",), simulated=False)
    assert '<td class="number">∞</td>' in simulated_page(expected=found)


def test_crops_show_their_position() -> None:
    html = simulated_page(crops=[Crop(1_280, 640, EVEN, EVEN)])
    assert "Row 1,280, column 640." in html and "of 320 px, 3.2 km, across" in html
    assert html.count('<div class="frame duo"><img') == 1
    assert "At full resolution" not in simulated_page()


def test_the_legend_of_the_spectra_lists_only_kinds_with_pixels() -> None:
    one = Spectra(*(np.array([0.1], np.float32),) * 3, pixels=7)
    html = simulated_page(spectra={"synthesised": one}, bands=("B04",))
    assert "predicted by scene-adapted</li>" in html and "observed</li>" not in html
    assert "<h2>Spectra</h2>" not in simulated_page()


def test_the_chart_is_drawn_as_svg() -> None:
    drawn = ElementTree.fromstring(re.findall(r"<svg viewBox=.0 0 720.*?</svg>", page(), re.DOTALL)[0])
    assert [line.get("class") for line in drawn.iter("polyline")] == ["line observed", "line synthesised"]
    assert [area.get("class") for area in drawn.iter("polygon")] == ["range observed", "range synthesised"]
    assert [text.text for text in drawn.iter("text") if text.get("class") == "middle"] == ["B02", "B03", "B04"]
    assert len(list(drawn.iter("circle"))) == 6


def test_settings_and_statistics_are_shown_in_tables() -> None:
    html = simulated_page(bands=("B04", "B03"), settings={"window_px": "1024"})
    assert "<th>share of pixels with m &gt; 0</th><td><code>30.0 %</code></td>" in html
    digest = f"<code>SHA-256 {'ab' * 32}</code>"
    assert f"<th>Sentinel-1, 2018-01-03 06:00 UTC</th><td><code>radar.tif</code><br>{digest}</td>" in html
    assert "<th>bands</th><td><code>B04 B03</code></td>" in html and "<code>1024</code>" in html


def test_the_page_lists_the_products_with_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "clear.tif").write_bytes(bytes(2_345_678))
    (tmp_path / "a b.tif").write_bytes(bytes(1_234))
    files = {name: OutputFile(tmp_path / name, "Image", ()) for name in ("clear.tif", "a b.tif")}
    html = simulated_page(files=files)
    assert '<a href="clear.tif">clear.tif</a></td><td>Image</td><td class="number">2.3 MB</td>' in html
    assert '<a href="a%20b.tif">a b.tif</a></td><td>Image</td><td class="number">1.2 kB</td>' in html
