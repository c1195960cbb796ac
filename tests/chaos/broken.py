"""`python -m tests.chaos.broken <patch,…> <cli.py | -m module> …`: runs a program with some of its lines changed.

Each patch takes one guard out, or makes a moment longer so that what goes wrong in it can be seen. The files stay as
they are: a module's text is changed when it is imported.
"""

import runpy
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import CodeType, ModuleType

from tests.chaos.patches import PATCHES, Change


def read_source(module: str) -> str:
    """The text of a module that is not imported for it."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    with open(spec.origin) as file:
        return file.read()


class _Loader(SourceFileLoader):
    """Compiles the changed text; never uses or writes a compiled file."""

    def __init__(self, spec: ModuleSpec, changes: Sequence[Change]) -> None:
        assert spec.origin is not None
        super().__init__(spec.name, spec.origin)
        self._changes = changes

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path).decode()
        for change in self._changes:
            source = change.apply(source)
        return compile(source, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        changes = [change for change in self._changes if change.module == name]
        if not changes:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = _Loader(spec, changes)
        return spec


def main(arguments: Sequence[str]) -> None:
    """Runs what follows the names of the patches."""
    names, *program = arguments
    changes = [change for name in names.split(",") for change in PATCHES[name]]
    sys.meta_path.insert(0, _Finder(changes))
    if program[0] == "-m":
        sys.argv = program[1:]
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = program
        runpy.run_path(program[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
