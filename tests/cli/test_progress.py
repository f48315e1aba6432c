from rich.progress import Progress

from unclouded.cli.progress import RateColumn, counted


def test_what_is_done_is_told_after_each_item() -> None:
    told: list[tuple[str, int, int]] = []
    assert list(counted("ab", "letters", 2, lambda *words: told.append(words))) == ["a", "b"]
    assert told == [("letters", 1, 2), ("letters", 2, 2)]


def test_a_rate_is_shown_a_second_or_as_seconds_each() -> None:
    clock = [0.0]
    progress = Progress(get_time=lambda: clock[0])
    for seconds, shown in ((0.5, "2.0/s"), (4.0, "4.0 s each")):
        task = progress.add_task("work", total=10)
        assert RateColumn().render(progress.tasks[-1]).plain == ""
        for _ in range(3):
            clock[0] += seconds
            progress.advance(task)
        assert RateColumn().render(progress.tasks[-1]).plain == shown
