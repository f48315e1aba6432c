"""The front end in the package is the one that `make viewer` builds from the sources, and may be distributed."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "viewer"
STATIC = files("unclouded") / "viewer" / "static"


@pytest.fixture(autouse=True)
def _needs_sources() -> None:
    if not SOURCES.is_dir():
        pytest.skip("the sources of the front end are not part of this installation")


def test_the_bundle_was_built_from_these_sources() -> None:
    names = sorted(["build.mjs", "package-lock.json", *(f"src/{one.name}" for one in (SOURCES / "src").iterdir())])
    found = hashlib.sha256()
    for name in names:
        found.update(name.encode() + b"\0" + (SOURCES / name).read_bytes())
    assert (STATIC / "sources.sha256").read_text().strip() == found.hexdigest(), "run 'make viewer'"


def test_the_lock_file_names_no_server() -> None:
    packages = json.loads((SOURCES / "package-lock.json").read_text())["packages"]
    assert not [name for name, one in packages.items() if "resolved" in one]
    assert all("integrity" in one for name, one in packages.items() if name)


def test_the_licences_of_bundled_packages_are_part_of_it() -> None:
    text = (STATIC / "licences.txt").read_text()
    assert "ol 10.11.0 (BSD-2-Clause)" in text
    assert "Redistribution and use in source and binary forms" in text


def test_the_page_has_no_inline_script_or_style_and_nothing_from_elsewhere() -> None:
    page = (STATIC / "index.html").read_text()
    assert "<style" not in page
    assert " style=" not in page
    assert "<script>" not in page
    assert "//" not in page.replace("<!doctype html>", "")
