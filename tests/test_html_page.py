import base64
import hashlib
import re
from importlib.resources import files

import pytest
from jinja2 import UndefinedError

from unclouded.html_page import printable, render_page

HOSTILE = "\"><script src=//evil.example/x.js></script>'&"


def table(name: str = "ours", link: str | None = None, **changes: object) -> str:
    values = {"title": "Table", "headings": ["row", "MAE"], "notes": (), **changes}
    rows = [{"names": [name], "numbers": ["0.1"], "link": link}]
    return render_page("table.html", rows=rows, **values)


@pytest.mark.parametrize(
    "hostile",
    [
        {"name": HOSTILE},
        {"link": HOSTILE},
        {"title": HOSTILE},
        {"headings": [HOSTILE, "MAE"]},
        {"notes": [HOSTILE]},
    ],
)
def test_text_is_escaped_wherever_it_stands(hostile: dict[str, str]) -> None:
    page = table(**hostile)
    assert "&#34;&gt;&lt;script src=//evil.example/x.js&gt;&lt;/script&gt;&#39;&amp;" in page
    assert "<script" not in page and HOSTILE not in page


def test_marks_that_turn_the_direction_of_writing_are_shown_as_codes() -> None:
    assert "a\\u202egpj.exe\\n" in table("a\u202egpj.exe\n")
    assert printable("Köln 北京") == "Köln 北京"


def test_a_page_without_a_script_allows_none() -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', table())
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "script-src 'none'; base-uri 'none'; form-action 'none'" in policy


def test_the_style_of_every_page_is_the_one_that_its_policy_allows() -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", table(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in table()
    assert "url(" not in style and "@import" not in style


def test_a_missing_value_is_an_error_and_no_blank() -> None:
    with pytest.raises(UndefinedError, match="'rows' is undefined"):
        render_page("table.html", title="Table", headings=[], notes=())


def test_no_template_switches_escaping_off_for_values() -> None:
    templates = [one for one in (files("unclouded") / "templates").iterdir() if one.name.endswith(".html")]
    assert len(templates) == 7
    for template in templates:
        text = template.read_text("utf-8")
        assert "autoescape" not in text
        safe = set(re.findall(r"{{\s*(\w+)\s*\|\s*safe", text))
        assert text.count("|safe") == len(safe) and safe <= {"policy", "style", "script"}
        assert not re.search(r"""(src|href)=(?!")|style=""", text)
