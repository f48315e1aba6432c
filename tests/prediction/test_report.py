import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from unclouded.prediction.expected_error import ErrorOf, ExpectedError
from unclouded.prediction.fit import Fit
from unclouded.prediction.report import page, write_report
from unclouded.prediction.report_facts import Facts, Input
from unclouded.prediction.views import Gathered, SceneViews, gather
from unclouded.scenes.shift import Shift

BANDS = ("B04", "B03", "B02")
HOSTILE = '"><script src=//evil.example/x.js></script><img src=x onerror=alert(1)>'
RADAR = Input("Sentinel-1", "radar.tif", "ab" * 32, datetime(2018, 1, 3, 6, 0, tzinfo=UTC))
OPTICS = Input("Sentinel-2", "optics.tif", "cd" * 32, datetime(2018, 1, 1, 18, 0, tzinfo=UTC))
FIT = Fit(1.5, Shift(-1.5, 2.0, 0.2, 0.03, blocks=4))
EXPECTED = ExpectedError(
    {"scene-adapted": ErrorOf(0.0213, 0.0316228, 7.5, 12345), "clear-mean": ErrorOf(0.04, 0.05, 11.0, 12345)},
    12345,
    BANDS,
    False,
)


def gathered(confidence: bool = True, side: int = 32, cloudy: float = 0.9) -> Gathered:
    rng = np.random.default_rng(0)
    after = rng.uniform(0.05, 0.2, (3, side, side)).astype(np.float32)
    m = np.zeros((side, side), np.float32)
    m[: side // 4] = cloudy
    sure = np.where(m > 0, np.float32(0.4), np.float32(1.0))
    before = np.where(m > 0, np.float32(0.8), after)
    return gather(
        SceneViews(
            (side, side),
            BANDS,
            lambda top, bottom: before[:, top:bottom],
            lambda top, bottom: after[:, top:bottom],
            lambda top, bottom: m[None, top:bottom],
            lambda top, bottom: np.where(m > 0, 3, 1).astype(np.uint8)[None, top:bottom],
            (lambda top, bottom: sure[None, top:bottom]) if confidence else None,
        )
    )


def facts(**changes: object) -> Facts:
    given: dict[str, object] = {"title": "Spain", "remover": "scene-adapted", "bands": BANDS, "inputs": [OPTICS, RADAR]}
    return Facts(**(given | {"expected": EXPECTED, "fit": FIT, "pixel_m": 10.0, "version": "0.1.0"} | changes))  # type: ignore[arg-type]


class Addresses(HTMLParser):
    """Collects whatever a browser would fetch or run."""

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


def test_the_page_says_the_numbers() -> None:
    text = page(facts(choice="scene-adapted was used, for it erred least"), gathered())
    for said in (
        "<b>75.0 %</b>",  # 24 of 32 rows are clear
        "<b>25.0 %</b>",
        "<b>100.0 %</b><span>of what is made is a guess",
        "<b>± 0.021</b>",
        "<b>1.5 days</b><span>the radar is later than the optical image",
        "<b>2.5 px</b><span>the radar lies off",
        "-1.50 px right, +2.00 px down (gap 0.030), from 4 blocks of clear ground",
        "32 × 32 px, 0.32 × 0.32 km",
        "12,345 clear pixels were covered",
        '<td class="number">30.00</td>',  # 20 log10(1 / 0.0316228)
        "Scene-adapted was used, for it erred least.",
        f"SHA-256 {'cd' * 32}",
    ):
        assert said in text


def test_nothing_is_fetched_and_nothing_runs_but_the_one_script() -> None:
    seen = Addresses(page(facts(), gathered(side=700)))
    assert seen.tags.count("script") == 1
    assert len(seen.fetched) >= 4
    assert all(address.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for address in seen.fetched)
    assert seen.events == []


def test_the_policy_allows_exactly_the_style_and_the_script_of_the_page() -> None:
    text = page(facts(), gathered())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    for kind in ("style", "script"):
        body = re.search(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        assert body is not None
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy[1]


@pytest.mark.parametrize("where", ["title", "input", "setting", "measured", "remark", "remover"])
def test_names_from_files_are_text_and_never_markup(where: str) -> None:
    changes: dict[str, dict[str, object]] = {
        "title": {"title": HOSTILE},
        "input": {"inputs": [Input("Sentinel-2", HOSTILE, "00")]},
        "setting": {"settings": {HOSTILE: HOSTILE}},
        "measured": {"measured": {HOSTILE: HOSTILE}},
        "remark": {"remarks": [HOSTILE]},
        "remover": {"remover": HOSTILE, "expected": ExpectedError({HOSTILE: ErrorOf(0, 0, 0, 1)}, 1, BANDS, True)},
    }
    text = page(facts(**changes[where]), gathered())
    plain = Addresses(page(facts(), gathered()))
    seen = Addresses(text)
    assert HOSTILE not in text
    assert "evil.example" in text
    assert seen.tags.count("script") == 1
    assert seen.tags.count("img") == plain.tags.count("img")


def test_radar_before_the_optical_image_is_earlier_and_a_shift_of_no_confidence_is_no_number() -> None:
    text = page(facts(fit=Fit(-3.0, Shift(5.0, 5.0, 0.1, 0.002, blocks=1))), gathered())
    assert "<b>3.0 days</b><span>the radar is earlier" in text
    assert "unknown, the images have too few edges in common (gap 0.002), from 1 block of clear ground" in text
    assert " px</b>" not in text


def test_the_line_on_the_border_lets_the_mouse_through_to_the_slider_under_it() -> None:
    drawn = re.search(r"\.compare::after \{(.*?)\}", page(facts(), gathered()), re.DOTALL)
    assert drawn is not None and "pointer-events: none" in drawn[1]


def test_the_slider_is_wired_to_the_border_in_page_script_and_style() -> None:
    """Whatever the script looks for and moves is what the page has and the style shows."""
    text = page(facts(), gathered())
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
"""Looks at the page, and moves its slider to 0, 25 and 100."""


def test_a_browser_moves_the_border_under_the_policy_of_the_page(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    digest = base64.b64encode(hashlib.sha256(VISITOR.encode()).digest()).decode()
    visited = page(facts(), gathered()).replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    (tmp_path / "page.html").write_text(visited.replace("</body>", f"<script>{VISITOR}</script></body>"))
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom")
    shown = subprocess.run([browser, *options, tmp_path / "page.html"], capture_output=True, text=True, timeout=120)
    found = re.search(r'data-seen="([^"]*)"', shown.stdout)
    assert found is not None, shown.stderr[-500:]
    seen = json.loads(html.unescape(found[1]))
    assert [re.search(r"inset\(0px (\S+?%?) ", cut)[1] for cut in seen["cuts"]] == ["50%", "100%", "75%", "0%"]  # type: ignore[index]
    assert seen["under"] == ["INPUT"] * 3  # nothing lies over the slider
    assert seen["width"] == 32


def test_remarks_stand_above_the_pictures() -> None:
    text = page(facts(remarks=["no manifest.safe: a changed bit goes unseen"]), gathered())
    said = '<p class="note">No manifest.safe: a changed bit goes unseen.</p>'
    assert 0 < text.index(said) < text.index("<figure")


def test_without_dates_expectation_or_confidence_the_page_leaves_them_out() -> None:
    bare = page(
        facts(inputs=[Input("Sentinel-2", "a.tif", "00")], expected=None, fit=None, pixel_m=None),
        gathered(confidence=False),
    )
    assert "Sentinel-2, date unknown" in bare
    for absent in ("days", "lies off", "What error to expect", "how sure", " km"):
        assert absent not in bare.split("<body>")[1]


def test_fault_14_a_scene_without_clouds_or_without_clear_ground_has_a_page() -> None:
    assert "<b>100.0 %</b><span>of the scene is as observed" in page(facts(), gathered(cloudy=0.0))
    overcast = gathered(side=4, cloudy=0.9)
    assert "<svg" in page(facts(), overcast)


def test_the_same_scene_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, facts(), gathered())
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
