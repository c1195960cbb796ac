"""How a command fails: one line, exit code 1."""


class CommandError(Exception):
    """Printed on stderr as it is."""


class Lost(CommandError):
    """Nobody answers: perhaps not yet, or not any more."""


def one_line(message: str, pointers: list[str]) -> str:
    """The message, and the JSON pointers that it does not name itself."""
    text = " ".join(message.split())
    where = ", ".join(pointer for pointer in pointers if pointer and pointer not in text)
    return f"{text} (at {where})" if where else text
