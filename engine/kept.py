"""States of executions that left memory a while ago: a long history is not read again at each wake-up.

A cache, never the truth: what was appended since is read and folded on top. Short histories are not worth a place.
"""

from collections import OrderedDict

from engine.state import State

LEAST = 100
"""Events of a history that is worth keeping."""
MOST = 64 * 1024 * 1024
"""Weight of all that are kept: bytes, about."""


class KeptStates:
    """Least recently parked ones go first."""

    def __init__(self) -> None:
        self._states: OrderedDict[int, State] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._states)

    def keep(self, state: State) -> None:
        """What is durable of an execution that only waits; what can be rendered again is dropped."""
        if state.seq < LEAST or state.busy:
            return
        self.take(state.execution_id)
        state.fans.lists.clear()
        self._states[state.execution_id] = state
        self._weight += state.weight
        while self._weight > MOST:
            self.take(next(iter(self._states)))

    def take(self, execution_id: int) -> State | None:
        """It is the caller's now."""
        state = self._states.pop(execution_id, None)
        if state is not None:
            self._weight -= state.weight
        return state
