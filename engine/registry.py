"""Finds plug-ins: one file in a room, one module-level name. The only place that imports by name."""

import importlib
import pkgutil
from typing import Any

from engine.errors import ConfigurationError


def names(room: str) -> list[str]:
    """The modules of a room, sorted; those that begin with `_` are private."""
    package = importlib.import_module(room)
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def load(room: str, module: str, attribute: str) -> Any:
    """`attribute` of `room/module.py`. Raises `ConfigurationError` when the plug-in or its library is missing."""
    if module not in names(room):
        raise ConfigurationError(f"there is no {room}/{module}.py; there are: {', '.join(names(room))}")
    try:
        return getattr(importlib.import_module(f"{room}.{module}"), attribute)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{room}/{module}.py needs the Python package {error.name}, which is not installed; "
            "install what requirements.txt lists"
        ) from None


def scan(room: str, attribute: str) -> list[Any]:
    """`attribute` of every module of the room that has it."""
    found = (importlib.import_module(f"{room}.{name}") for name in names(room))
    return [getattr(module, attribute) for module in found if hasattr(module, attribute)]
