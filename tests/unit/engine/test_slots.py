"""Slots go to whoever waits longest, and none is lost."""

import random
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from engine.slots import Slots


class Line:
    """Who was given a slot, in order."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.given: list[str] = []

    def join(self, name: str) -> None:
        self.slots.wait(lambda: self._grant(name))

    def _grant(self, name: str) -> bool:
        self.given.append(name)
        return True


def test_a_free_slot_is_taken_at_once() -> None:
    slots = Slots(2)
    assert [slots.take(), slots.take(), slots.take()] == [True, True, False]
    slots.release()
    assert slots.take()


def test_the_longest_waiting_comes_first_and_nobody_overtakes() -> None:
    slots = Slots(1)
    line = Line(slots)
    assert slots.take()
    for name in ("one", "two", "three"):
        line.join(name)
    assert not slots.take()
    slots.release()
    assert line.given == ["one"]
    assert not slots.take()
    slots.release()
    slots.release()
    assert line.given == ["one", "two", "three"]


def test_one_who_no_longer_wants_it_passes_it_on() -> None:
    slots = Slots(1)
    line = Line(slots)
    assert slots.take()
    slots.wait(lambda: False)
    line.join("two")
    slots.release()
    assert line.given == ["two"]
    slots.release()
    assert slots.free == 1


def test_waiting_for_a_free_slot_is_getting_it() -> None:
    slots = Slots(1)
    line = Line(slots)
    line.join("one")
    assert (line.given, slots.free) == (["one"], 0)


def test_what_runs_already_may_hold_more_than_there_are() -> None:
    slots = Slots(1)
    slots.force()
    slots.force()
    assert not slots.take()
    slots.release()
    assert not slots.take()
    slots.release()
    assert slots.take()


@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_nothing_is_lost_and_order_is_kept(rnd: random.Random, size: int) -> None:
    slots, waiting, held = Slots(size), deque[int](), 0
    given_out: list[int] = []
    wanted: dict[int, bool] = {}

    def grant(number: int) -> bool:
        if wanted[number]:
            given_out.append(number)
        return wanted[number]

    for number in range(60):
        match rnd.choice(("take", "wait", "release", "give up")):
            case "take" if slots.take():
                assert not any(wanted[one] for one in waiting)
                held += 1
            case "wait":
                wanted[number] = True
                waiting.append(number)
                slots.wait(lambda number=number: grant(number))  # type: ignore[misc]
            case "release" if held:
                held -= 1
                slots.release()
            case "give up" if waiting:
                wanted[rnd.choice(waiting)] = False
            case _:
                pass
        for granted in given_out:
            while waiting[0] != granted:
                assert not wanted[waiting.popleft()]
            waiting.popleft()
            held += 1
        given_out.clear()
        assert slots.free + held == size
        assert not slots.free or not any(wanted[one] for one in waiting)
