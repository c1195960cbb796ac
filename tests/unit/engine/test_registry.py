"""Plug-ins are found by file, and what is missing is said."""

from pathlib import Path

import pytest

from engine import registry
from engine.errors import ConfigurationError


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A room with one plug-in, one that lacks its library, and a private module."""
    folder = tmp_path / "some_room"
    folder.mkdir()
    files = {
        "__init__": "",
        "good": "it = 1",
        "poor": "import no_such_library.part\nit = 2",
        "_private": "it = 3",
        "beside": "its = 4",
    }
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_public_modules_are_plug_ins(room: str) -> None:
    assert registry.names(room) == ["beside", "good", "poor"]
    assert registry.load(room, "good", "it") == 1


def test_a_plug_in_that_cannot_be_loaded_is_named(room: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"poor.py, of those in .*, cannot be loaded: ModuleNotFoundError: No mod"
    ):
        registry.scan(room, "it")


@pytest.mark.parametrize("module", ["absent", "_private"])
def test_a_plug_in_that_is_not_there_is_named_with_those_that_are(room: str, module: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no {room}/{module}.py; there are: good, poor"):
        registry.load(room, module, "it")


def test_a_library_that_is_missing_is_named_with_the_cure(room: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no_such_library, which is not installed; install what requirements"):
        registry.load(room, "poor", "it")
