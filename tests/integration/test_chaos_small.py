"""The checks of `tests/chaos` in small: real processes, real kills. The full ones run by `make chaos`."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.chaos import kill_matrix
from tests.chaos.broken import read_source
from tests.chaos.coherence import coherence
from tests.chaos.embedded import embedded
from tests.chaos.families import at_each_commit, families
from tests.chaos.idempotent_start import idempotent_start
from tests.chaos.kill_matrix import Cell
from tests.chaos.limits import limits
from tests.chaos.lost_answers import lost_answers
from tests.chaos.nursery import Forked, Nursery
from tests.chaos.patches import PATCHES
from tests.chaos.planner_model import run_model
from tests.chaos.ray_kills import ray_kills
from tests.chaos.redis_loss import redis_loss
from tests.chaos.report import Outcome, details
from tests.chaos.sabotage import SABOTAGES
from tests.chaos.timers import timers
from tests.chaos.worker_kills import worker_kills
from tests.chaos.world import KINDS, Engine, Kind
from tests.chaos.zombie import zombie

SEED = 1
CELLS = 14
"""One for each named place, over all actions and both databases."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(autouse=True)
def _quick_starts(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "make", partial(Forked, nursery))


def green(outcome: Outcome) -> bool:
    print(details(outcome))
    return outcome.ok


@pytest.mark.parametrize("cell", kill_matrix.cells(CELLS, SEED), ids=str)
async def test_a_fault_at_any_named_place_is_survived(cell: Cell) -> None:
    assert green(await kill_matrix.cell(cell, SEED))


async def test_fifty_writers_survive_kills_of_the_embedded_process() -> None:
    assert green(await embedded(5, SEED))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_starts_one_execution_whoever_dies(kind: Kind) -> None:
    assert green(await idempotent_start(kind, 50, SEED, callers=8))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_child_is_there_once_and_its_end_is_told_whoever_dies(kind: Kind) -> None:
    assert green(await at_each_commit(kind, SEED))
    assert green(await families(kind, 10, SEED, kills=2))


async def test_two_api_processes_serve_what_was_written() -> None:
    assert green(await coherence(1000, SEED))


async def test_timers_survive_an_outage() -> None:
    assert green(await timers("sqlite", 200, SEED))


async def test_a_stopped_and_continued_engine_does_no_harm() -> None:
    assert green(await zombie(2, SEED))


async def test_limits_hold_whoever_dies_or_stops() -> None:
    assert green(await limits(60, SEED, faults=2))


async def test_commits_whose_answers_are_lost_are_found_again() -> None:
    assert green(await lost_answers(500, 0.1, SEED))


async def test_a_redis_that_is_killed_emptied_and_full_loses_nothing() -> None:
    assert green(await redis_loss(3, SEED))


async def test_a_killed_worker_takes_nothing_along() -> None:
    assert green(await worker_kills(2, SEED))


async def test_killed_ray_workers_and_heads_lose_nothing() -> None:
    assert green(await ray_kills(4, SEED, heads=1))


def test_planner_and_twin_agree() -> None:
    assert run_model(SEED, 10_000)


@pytest.mark.parametrize("name", PATCHES)
def test_every_sabotage_still_fits_the_source(name: str) -> None:
    texts: dict[str, str] = {}
    for change in PATCHES[name]:
        texts[change.module] = change.apply(texts.get(change.module) or read_source(change.module))


def test_every_guard_has_its_patch() -> None:
    assert {one.guard for one in SABOTAGES} | {one.control for one in SABOTAGES if one.control} <= set(PATCHES)
