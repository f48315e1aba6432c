from unclouded.prediction.report.html import Markup, joined, shown, tag


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "a < b & c", tag("b", 3)) == "<p>a &lt; b &amp; c<b>3</b></p>"
    assert joined("<i>", Markup("<i>")) == "&lt;i&gt;<i>"


def test_attributes_are_escaped_too() -> None:
    assert (
        tag("img", alt='"><script>', class_="over", aria_label=None)
        == '<img alt="&quot;&gt;&lt;script&gt;" class="over">'
    )
    assert tag("text", "B02", aria_label="x") == '<text aria-label="x">B02</text>'


def test_marks_that_turn_the_direction_of_writing_are_shown_as_numbers() -> None:
    assert shown("a\u202egpj.exe\n") == "a\\u202egpj.exe\\n"
    assert shown("Köln 北京") == "Köln 北京"
