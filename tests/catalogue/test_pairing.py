from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from unclouded.catalogue.pairing import Candidate, NoTripletError, Season, pair, season_of
from unclouded.errors import InputError


def scene(name: str, month: int, day: int, coverage: float | None = None, year: int = 2018) -> Candidate:
    return Candidate(name, datetime(year, month, day, 10, tzinfo=UTC), coverage)


@pytest.mark.parametrize(
    ("month", "north", "south"),
    [(1, "winter", "summer"), (3, "spring", "fall"), (8, "summer", "winter"), (11, "fall", "spring")],
)
def test_southern_seasons_are_turned(month: int, north: str, south: str) -> None:
    when = datetime(2018, month, 15, tzinfo=UTC)
    assert season_of(when, 48.0) == Season(2018, north) and season_of(when, -33.0) == Season(2018, south)


def test_december_belongs_to_the_season_of_the_next_year_in_utc() -> None:
    assert str(season_of(datetime(2017, 12, 1, tzinfo=UTC), 48)) == "winter 2018"
    assert str(season_of(datetime(2018, 2, 28, tzinfo=UTC), 48)) == "winter 2018"
    late = datetime(2018, 3, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert str(season_of(late, 48)) == "winter 2018"  # still February in UTC


def test_the_closest_three_are_chosen_and_every_decision_has_a_reason() -> None:
    radars = [scene("R1", 6, 1), scene("R2", 7, 12)]
    optical = [
        scene("O1", 7, 10, 0.002),
        scene("O2", 7, 15, 0.80),
        scene("O3", 6, 20, 0.40),
        scene("O4", 9, 2, 0.0),
    ]
    found = pair(radars, optical, latitude=48, season="summer")
    assert (found.radar.name, found.clear.name, found.cloudy.name) == ("R2", "O1", "O2")
    assert found.span_days == 5  # 10 to 15 July
    assert list(found.reasons.items()) == [
        ("R2", "chosen as radar, 2018-07-12; the three span 5.0 days"),
        ("O1", "chosen as clear, 2018-07-10, 0.2% cloud; the three span 5.0 days"),
        ("O2", "chosen as cloudy, 2018-07-15, 80.0% cloud; the three span 5.0 days"),
        ("R1", "not chosen, at best a span of 39.0 days"),
        ("O3", "not chosen, at best a span of 22.0 days, too cloudy to be clear"),
        ("O4", "refused, of fall 2018 instead of a summer"),
    ]


def test_a_clear_scene_may_serve_as_the_cloudy_one_for_coverage_never_filters() -> None:
    found = pair([scene("R", 7, 1)], [scene("A", 7, 2, 0.0), scene("B", 7, 3, 0.005)], latitude=48, season="summer")
    assert (found.clear.name, found.cloudy.name) == ("A", "B")  # the clearer one is the clear one


def test_scenes_of_one_season_in_two_years_are_no_triplet() -> None:
    optical = [scene("A", 7, 2, 0.0), scene("B", 7, 3, 0.5, year=2019)]
    with pytest.raises(
        InputError, match="found 1 radar and 2 optical scenes in a summer, 1 of them clear; search longer"
    ):
        pair([scene("R", 7, 1)], optical, latitude=48, season="summer")


def test_missing_scenes_are_named_with_the_reasons() -> None:
    with pytest.raises(
        InputError,
        match="found 1 radar and 1 optical scenes in a summer, 0 of them clear, and 1 of other seasons; search",
    ):
        pair([scene("R", 7, 1)], [scene("A", 5, 2, 0.0), scene("B", 7, 3, 0.5)], latitude=48, season="summer")
    with pytest.raises(InputError, match="found 'autumn'"):
        pair([], [], latitude=48, season="autumn")


def test_clear_and_cloudy_are_of_one_zone_for_their_pixels_must_be_the_same() -> None:
    clear, near, far = scene("A", 7, 2, 0.0), scene("B", 7, 3, 0.5), scene("C", 7, 20, 0.5)
    clear, near, far = replace(clear, zone="32N"), replace(near, zone="33N"), replace(far, zone="32N")
    assert pair([scene("R", 7, 1)], [clear, near, far], latitude=48, season="summer").cloudy.name == "C"


def test_a_scene_chosen_by_the_user_may_have_any_coverage_but_its_season_counts() -> None:
    optical = [scene("A", 7, 2, 0.0), scene("B", 7, 3, 0.5)]
    found = pair([scene("R", 7, 1)], optical, latitude=48, season="summer", clear=scene("mine", 7, 9, 0.2))
    assert (found.clear.name, found.cloudy.name) == ("mine", "A")  # both give 8 days
    with pytest.raises(NoTripletError) as error:
        pair([scene("R", 7, 1)], optical, latitude=48, season="summer", cloudy=scene("mine", 5, 9))
    assert error.value.reasons == {
        "R": "not chosen, fits no other scene",
        "A": "not chosen, fits no other scene",
        "B": "not chosen, fits no other scene, too cloudy to be clear",
        "mine": "refused, of spring 2018 instead of a summer",
    }


def test_clear_and_cloudy_are_a_day_apart_and_of_different_overpasses() -> None:
    clear, radar = scene("A", 7, 2, 0.0), scene("R", 7, 2)
    twin, tomorrow = replace(scene("B", 7, 2, 0.0), name="B"), scene("C", 7, 3, 0.5)
    found = pair([radar], [clear, twin, tomorrow], latitude=48, season="summer")
    assert found.cloudy.name == "C" and found.span_days == 1
    with pytest.raises(NoTripletError, match="at least 1 days from the clear one, found 1 radar and 2 optical"):
        pair([radar], [clear, twin], latitude=48, season="summer")
    with pytest.raises(NoTripletError):
        pair([radar], [], latitude=48, season="summer", clear=clear, cloudy=clear)


def test_the_smallest_span_of_a_triple_loop_is_found() -> None:
    rng = np.random.default_rng(2)

    def scenes(letter: str, count: int, least: float | None) -> list[Candidate]:
        first = datetime(2018, 6, 1, tzinfo=UTC)
        days = rng.uniform(0, 90, count)
        cover = [None if least is None else float(one) for one in rng.uniform(0, 0.03, count)]
        return [Candidate(f"{letter}{n}", first + timedelta(days=days[n]), cover[n]) for n in range(count)]

    radars, optical = scenes("R", 6, None), scenes("O", 15, 0.0)
    spans = [
        pair([radar], [clear, other], latitude=48, season="summer", clear=clear, cloudy=other).span_days
        for radar in radars
        for clear in optical
        for other in optical
        if (clear.coverage or 0) <= 0.01 and abs(clear.acquired - other.acquired) >= timedelta(days=1)
    ]
    assert pair(radars, optical, latitude=48, season="summer").span_days == min(spans)
