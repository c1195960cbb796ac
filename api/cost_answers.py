"""How what models cost, and what they may, is shown."""

from typing import Literal

import msgspec

from engine.model import Budget, Usage


class UsageAnswer(msgspec.Struct, frozen=True):
    """What was spent on language models; `cost` is null where no price is known."""

    input_tokens: int
    output_tokens: int
    cost: float | None


class BudgetAnswer(msgspec.Struct, frozen=True):
    """What the language models of one execution may take; null: as much as they want."""

    cost: float | None
    tokens: int | None
    on_exceeded: Literal["fail", "ask"]


def usage(spent: Usage | None) -> UsageAnswer | None:
    return None if spent is None else UsageAnswer(spent.input_tokens, spent.output_tokens, spent.cost)


def budget(allowed: Budget | None) -> BudgetAnswer | None:
    return None if allowed is None else BudgetAnswer(allowed.cost, allowed.tokens, allowed.on_exceeded)
