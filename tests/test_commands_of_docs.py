"""Every command in README and docs exists with the options that it is shown with."""

import re
import shlex
from pathlib import Path
from typing import Any

import typer.main

from unclouded.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```[a-z{} .]*\n(.*?)^```", re.MULTILINE | re.DOTALL)

USUAL = {"clouds": "map", "models": "list"}
"""Commands that the name of their group stands for."""


def commands_of(page: Path) -> list[str]:
    """Return the commands in the code blocks of a page, joined over continued lines, without comments."""
    blocks = (block.replace("\\\n", " ") for block in BLOCK.findall(page.read_text(encoding="utf-8")))
    lines = (line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines())
    return [re.split(r"\s{2,}|\s#", line)[0] for line in lines if line.startswith("unclouded ")]


def refusal(command: str) -> str | None:
    """Return why the command line refuses a command before it opens anything; None if it does not."""
    if "..." in command.split():
        return None
    found: Any = typer.main.get_command(app)
    context: Any = found.context_class(found, info_name="unclouded")
    words = shlex.split(re.split(r"\s[|>&]", command)[0])[1:]
    try:
        while hasattr(found, "commands") and (words or not found.invoke_without_command):
            if words and words[0].startswith("-") and not found.invoke_without_command:
                words.pop(0)
                continue
            if (usual := USUAL.get(found.name)) and words[:1] not in [[one] for one in found.commands]:
                words.insert(0, usual)
            name, found, words = found.resolve_command(context, words)
            context = found.context_class(found, info_name=name, parent=context)
        found.make_parser(context).parse_args(list(words))
    except Exception as error:
        return str(getattr(error, "message", error))
    return None


def test_every_command_in_the_docs_exists_with_its_options() -> None:
    shown = [(page, command) for page in PAGES for command in commands_of(page)]
    assert len(shown) > 100
    refused = [
        f"{page.relative_to(ROOT)}: {command}: {reason}" for page, command in shown if (reason := refusal(command))
    ]
    assert refused == []


def test_a_wrong_option_or_command_is_found() -> None:
    assert refusal("unclouded predict --cloudy a --clouded") is not None
    assert refusal("unclouded preddict --cloudy a") is not None
    assert refusal("unclouded predict clear-mean --cloudy s2.tif --out x") is None
