"""When something that failed may be tried again."""

import pytest
from factory_notifier import patience
from factory_notifier.patience import FIRST, LONGEST, Patience


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    return now


def waits(given: Patience, clock: list[float], what: str) -> float:
    """Seconds until it is due."""
    began = clock[0]
    while not given.due(what):
        clock[0] += 0.5
    return clock[0] - began


def test_it_waits_twice_as_long_each_time_and_no_longer_than_a_minute(clock: list[float]):
    """And only for what failed."""
    given = Patience()
    seen = []
    for _ in range(8):
        given.failed("chat")
        assert given.due("another")
        seen.append(waits(given, clock, "chat"))

    assert seen == [FIRST, 4.0, 8.0, 16.0, 32.0, LONGEST, LONGEST, LONGEST]


def test_what_works_again_begins_anew(clock: list[float]):
    """The next failure is a first one."""
    given = Patience()
    given.failed("chat")
    given.failed("chat")

    given.worked("chat")

    assert given.due("chat")
    given.failed("chat")
    assert waits(given, clock, "chat") == FIRST


def test_a_time_that_was_named_is_kept(clock: list[float]):
    """Telegram's `retry_after` counts, and makes no later wait longer."""
    given = Patience()
    given.failed("chat", 7)
    assert waits(given, clock, "chat") == 7.0
    given.failed("chat")
    assert waits(given, clock, "chat") == FIRST
