"""Tests of the reference: a page a package, with exactly its public names."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import unclouded

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in (ROOT / "docs" / "reference").glob("*.md") if path.stem not in ("index", "settings"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_documents_exactly_the_public_names_of_its_package(page: Path) -> None:
    package = importlib.import_module(f"unclouded.{page.stem}")
    documented = re.findall(r"^::: \S+\.(\w+)$", page.read_text(), re.MULTILINE)
    assert sorted(documented) == package.__all__


def test_every_package_with_public_names_has_a_page() -> None:
    sources = (ROOT / "src" / "unclouded").glob("*/__init__.py")
    lazy = {
        path.parent.name for path in sources if any(isinstance(one, ast.If) for one in ast.parse(path.read_text()).body)
    }
    assert lazy == {page.stem for page in PAGES}


def test_the_first_page_lists_the_names_of_the_package_itself() -> None:
    listed = re.findall(r"^\| \[`(\w+)`\]", (ROOT / "docs" / "reference" / "index.md").read_text(), re.MULTILINE)
    assert sorted(listed) == unclouded.__all__
