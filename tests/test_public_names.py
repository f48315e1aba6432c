"""Tests of the public interface: what a package lists is there, type checkers know it, and it costs no import time."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import unclouded

ROOT = Path(unclouded.__file__).parent
PACKAGES = sorted(
    ".".join(["unclouded", *path.parent.relative_to(ROOT).parts])
    for path in ROOT.rglob("__init__.py")
    if "lazy_names(" in path.read_text()
)


def for_type_checkers(package: str) -> set[str]:
    """Names that a package imports under ``TYPE_CHECKING``."""
    tree = ast.parse(Path(str(importlib.import_module(package).__file__)).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {alias.asname or "" for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_is_known_to_type_checkers(package: str) -> None:
    module = importlib.import_module(package)
    assert for_type_checkers(package) == set(module.__all__) == set(dir(module))
    assert all(getattr(module, name) is not None for name in module.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_documented(package: str) -> None:
    module = importlib.import_module(package)
    functions = [one for name in module.__all__ if callable(one := getattr(module, name))]
    assert [one for one in functions if not one.__doc__] == []


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'unclouded' has no attribute 'remove_clowds'"):
        unclouded.remove_clowds  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'numba', 'rasterio', 'scipy', 'matplotlib', 'pydantic'}"
    code = f"import sys, unclouded; dir(unclouded); sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_citation_names_this_version() -> None:
    citation = (Path(__file__).parents[1] / "CITATION.cff").read_text()
    assert f"\nversion: {unclouded.__version__}\n" in citation


def test_the_conda_recipe_has_the_dependencies_of_the_package() -> None:
    folder = Path(__file__).parents[1]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    needed = {one.split(";")[0].replace(">=", " >=") for one in project["dependencies"]}
    needed |= {one.replace(">=", " >=") for one in project["optional-dependencies"]["torch"]}
    names = {"matplotlib": "matplotlib-base", "torch": "pytorch"}
    expected = {" ".join([names.get(name, name), bound]) for name, bound in (one.split(" ", 1) for one in needed)}
    recipe = (folder / "packaging" / "recipe.yaml").read_text()
    assert set(re.findall(r"^    - (\S+ >=\S+)$", recipe, re.MULTILINE)) - {"python >=3.11"} == expected
    assert f'version: "{unclouded.__version__}"' in recipe
