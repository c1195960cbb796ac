"""`, did you mean 'x'?` for names of the expression languages."""

import difflib
from collections.abc import Collection


def did_you_mean(word: str, known: Collection[str]) -> str:
    """The nearest of `known`, or all of them."""
    close = difflib.get_close_matches(word, known, 1) if len(word) <= 24 else []
    return f", did you mean {close[0]!r}?" if close else f"; there are: {', '.join(sorted(known))}"
