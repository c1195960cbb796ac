"""The schema of the database."""

from commands.output import say, say_json
from storage import schema


def upgrade(url: str, as_json: bool) -> None:
    """Raises `ConfigurationError`, `StoreUnavailable`."""
    before = schema.current(url)
    schema.upgrade(url)
    after = schema.current(url)
    if as_json:
        say_json({"before": before, "after": after})
    else:
        say(f"schema {after}: it was up to date" if before == after else f"schema {before or 'none'} -> {after}")


def current(url: str, as_json: bool) -> None:
    """Raises `ConfigurationError`, `StoreUnavailable`."""
    found = schema.current(url)
    if as_json:
        say_json({"current": found, "head": schema.HEAD})
    else:
        say(f"schema {found or 'none'}, newest {schema.HEAD}")
