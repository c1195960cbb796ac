"""Finds plug-ins: one file in a room, one module-level name. The only place that imports by name."""

import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.errors import ConfigurationError


def names(room: str) -> list[str]:
    """The modules of a room, sorted; those that begin with `_` are private."""
    package = importlib.import_module(room)
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def load(room: str, module: str, attribute: str) -> Any:
    """`attribute` of `room/module.py`. Raises `ConfigurationError` when the plug-in or its library is missing."""
    if module not in names(room):
        known = ", ".join(name for name in names(room) if _defines(room, name, attribute))
        raise ConfigurationError(f"there is no {room}/{module}.py; there are: {known}")
    try:
        return getattr(importlib.import_module(f"{room}.{module}"), attribute)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{room}/{module}.py needs the Python package {error.name}, which is not installed; "
            "install what requirements.txt lists"
        ) from None


def extend(room: str, folder: Path) -> None:
    """Lets the files of `folder` be found as if they stood in the room. Raises `ConfigurationError`."""
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}; it should hold more files for {room}/")
    paths = importlib.import_module(room).__path__
    if str(folder.resolve()) not in paths:
        paths.append(str(folder.resolve()))


def resolve(name: str) -> Any:
    """What `module:attribute` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def scan(room: str, attribute: str) -> list[Any]:
    """`attribute` of every module of the room that has it. Raises `ConfigurationError` for what cannot be loaded."""
    found = [_module(room, name) for name in names(room)]
    return [getattr(module, attribute) for module in found if hasattr(module, attribute)]


def _module(room: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(f"{room}.{name}")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"{name}.py, of those in {room}/, cannot be loaded: {reason}") from error


def _defines(room: str, name: str, attribute: str) -> bool:
    """By its text: its library may be missing."""
    spec = importlib.util.find_spec(f"{room}.{name}")
    text = "" if spec is None or spec.origin is None else Path(spec.origin).read_text()
    return re.search(rf"^(?:async )?(?:def )?{attribute}\b", text, re.MULTILINE) is not None
