"""The database's clock from below, and times as text."""

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import parse_rfc3339, rfc3339
from engine.dbclock import DatabaseClock
from engine.errors import Invalid


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The machine's monotonic clock, in our hand."""
    now = [100.0]
    monkeypatch.setattr("engine.dbclock.time.monotonic", lambda: now[0])
    return now


def test_nothing_is_known_before_the_first_answer(monotonic: list[float]) -> None:
    clock = DatabaseClock()
    assert not clock.known
    monotonic[0] += 5
    assert clock.now() == 0.0


def test_time_passes_between_answers(monotonic: list[float]) -> None:
    clock = DatabaseClock()
    clock.observe(1_000.0)
    assert clock.known
    assert clock.now() == 1_000.0
    monotonic[0] += 2.5
    assert clock.now() == 1_002.5


def test_the_latest_answer_counts_even_if_it_is_behind(monotonic: list[float]) -> None:
    clock = DatabaseClock()
    clock.observe(1_000.0)
    monotonic[0] += 10
    clock.observe(1_004.0)
    assert clock.now() == 1_004.0


def test_the_wall_clock_of_this_machine_does_not_matter(monotonic: list[float]) -> None:
    clock = DatabaseClock()
    clock.observe(1_000.0)
    with time_machine.travel(0):
        assert clock.now() == 1_000.0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=20))
def test_it_is_never_ahead_of_the_database(steps: list[tuple[float, float]]) -> None:
    """Answers travel for a while; the clock knows the time at which they were given."""
    with pytest.MonkeyPatch.context() as patch:
        now = [0.0]
        patch.setattr("engine.dbclock.time.monotonic", lambda: now[0])
        clock = DatabaseClock()
        for pause, travel in steps:
            now[0] += pause
            answered = now[0]
            now[0] += travel
            clock.observe(5_000.0 + answered)
            assert clock.now() <= 5_000.0 + now[0] + 1e-6


@pytest.mark.parametrize(
    ("epoch", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (1_795_219_200.25, "2026-11-21T00:00:00.250000Z"),
        (-1.0, "1969-12-31T23:59:59.000000Z"),
    ],
)
def test_times_are_rfc_3339(epoch: float, text: str) -> None:
    assert rfc3339(epoch) == text
    assert parse_rfc3339(text) == epoch


def test_no_time_is_no_text() -> None:
    assert rfc3339(None) is None


@given(st.floats(0, 253_402_300_799))
def test_a_time_comes_back_to_the_microsecond(epoch: float) -> None:
    text = rfc3339(epoch)
    assert text is not None
    assert abs(parse_rfc3339(text) - epoch) < 1e-4


@pytest.mark.parametrize(
    "text", ["2026-11-21T01:30:00+01:30", "2026-11-20T23:00:00-01:00", "2026-11-21 00:00:00Z", "20261121T000000Z"]
)
def test_offsets_are_read(text: str) -> None:
    assert parse_rfc3339(text) == 1_795_219_200.0


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-21", "2026-11-21T00:00:00", "2026-13-01T00:00:00Z", "12:30", "1795219200", "\0"]
)
def test_a_time_that_could_mean_anything_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_rfc3339(text, "/until")
    assert caught.value.pointer == "/until"
