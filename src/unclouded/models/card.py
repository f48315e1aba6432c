"""Model card: origin and terms of weights, stored in every weights file."""

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from unclouded.settings import Settings

NOT_STATED = "not stated"


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected text on one line")
    return text


CardText = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_one_line)]


class Card(Settings):
    """Origin and terms of weights.

    Attributes:
        source: Publication or training that the weights come from.
        licence: Licence, as far as it is stated.
        origin: Name of the file that was imported; empty for weights of ``unclouded train``.
        sha256: SHA-256 of that file.
        date: UTC date of the import, YYYY-MM-DD.
        remark: What a user has to know before use.
    """

    source: CardText = NOT_STATED
    licence: CardText = NOT_STATED
    origin: CardText = ""
    sha256: CardText = ""
    date: CardText = ""
    remark: CardText = ""

    def facts(self) -> list[tuple[str, str]]:
        """Return label and text of every entry that is stated."""
        origin = f"{self.origin}, SHA-256 {self.sha256}, imported {self.date}" if self.origin else ""
        rows = [("source", self.source), ("licence", self.licence), ("origin", origin), ("remark", self.remark)]
        return [(label, text) for label, text in rows if text]
