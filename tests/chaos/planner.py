"""C24: the planner, the fold and the runner against their slow, obvious twin, in a million steps by chance."""

from tests.chaos.planner_model import rare_moves, run_many
from tests.chaos.report import Outcome, Timed

OFTEN = 100
"""How often each legal move must occur in a full run."""
FULL = 1_000_000
PROCESSES = 2


def model(n: int, seed: int) -> Outcome:
    """`n` steps."""
    outcome = Outcome("C24 model of the planner", seed, n, "steps", faults=None)
    with Timed(outcome):
        try:
            counts = run_many(seed, n, PROCESSES)
        except AssertionError as error:
            outcome.problems.append(f"planner and twin differ: {error}")
        else:
            rare = rare_moves(counts, OFTEN) if n >= FULL else []
            outcome.problems += [f"too rare to prove anything: {move}" for move in rare]
            outcome.note("kinds of moves", len(counts))
    return outcome
