import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from unclouded.errors import InputError
from unclouded.scenes import catalogue
from unclouded.scenes.catalogue import open_catalogue

ANY: Any = {}
DAYS = date(2018, 1, 1), date(2018, 12, 31)


def items(path: Path) -> list[Any]:
    return open_catalogue(str(path)).items(ANY, DAYS, "any")


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_a_collection_of_items_is_read_whole(recorded: Path) -> None:
    assert len(items(recorded)) == 17


def test_a_catalogue_on_disk_is_followed_to_its_items(tmp_path: Path) -> None:
    def linked(*links: tuple[str, str]) -> dict[str, Any]:
        return {"type": "Catalog", "links": [{"rel": rel, "href": href} for rel, href in links]}

    root = write(tmp_path / "catalog.json", linked(("child", "./s2/collection.json"), ("item", "b.json")))
    again = linked(("item", "a%20b.json"), ("root", "../../x"), ("child", "../catalog.json"))  # in a circle
    write(tmp_path / "s2" / "collection.json", again)
    write(tmp_path / "s2" / "a b.json", {"type": "Feature", "id": "a"})
    write(tmp_path / "b.json", {"type": "Feature", "id": "b"})
    assert [item["id"] for item in items(root)] == ["a", "b"]


@pytest.mark.parametrize("href", ["../secret.json", "/etc/passwd", "file:///etc/passwd", "https://a.example/x", "\0"])
def test_fault_27_a_link_out_of_the_folder_is_refused(tmp_path: Path, href: str) -> None:
    path = write(tmp_path / "a" / "catalog.json", {"type": "Catalog", "links": [{"rel": "item", "href": href}]})
    with pytest.raises(InputError, match="outside its folder; do not trust it"):
        items(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]", "holds no JSON object; expected STAC items or a catalogue"),
        ('{"type": "Polygon"}', "is of type 'Polygon', expected STAC items"),
        ('{"type": "FeatureCollection", "features": 1}', "is of type 'FeatureCollection'"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_fault_25_another_file_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=reason):
        items(tmp_path / "a.json")


def test_a_catalogue_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MAX_FILES", 2)
    links = [{"rel": "item", "href": f"{number}.json"} for number in range(3)]
    for number in range(3):
        write(tmp_path / f"{number}.json", {"type": "Feature"})
    with pytest.raises(InputError, match="more than 2 files of items"):
        items(write(tmp_path / "catalog.json", {"type": "Catalog", "links": links}))
    with pytest.raises(InputError, match="is not a file; check the path"):
        items(tmp_path / "absent.json")


def test_who_has_not_installed_the_client_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "unclouded.scenes.stac_api", None)
    with pytest.raises(InputError, match=r"install 'unclouded\[stac\]'"):
        open_catalogue("https://catalogue.example")
