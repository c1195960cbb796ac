"""Runs Alembic without an ini file."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.dialects.postgresql.base import ischema_names

from engine.errors import ConfigurationError
from storage.columns import Xid8

ischema_names["xid8"] = Xid8


def config(url: str) -> Config:
    """For `alembic` commands on the database at `url`."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    made.attributes["url"] = url
    return made


def run(url: str) -> None:
    """To the newest version. Raises `ConfigurationError` when a later release was here."""
    try:
        command.upgrade(config(url), "head")
    except CommandError as error:
        raise ConfigurationError(f"{error}; this database needs a later release of Millrace") from error
