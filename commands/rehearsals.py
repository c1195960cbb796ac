"""Workflows walked through without a server and without doing anything: a dry run, and tests of it."""

import json
import time
from pathlib import Path
from typing import Any

import msgspec

from bootstrap import tasks
from bootstrap.settings import load_settings
from commands.cases import Case, CaseFile, Difference, compare
from commands.definitions import fault_line, plain_fault, read_file
from commands.failure import CommandError
from commands.output import cell, duration, say, say_json, say_table
from engine.actions import Actions
from engine.authoring import Authoring
from engine.catalog import Catalog
from engine.documents import check_payload
from engine.dry_run import DryRun, Step, keys_of, rehearse
from engine.errors import Fault, MillraceError
from engine.mocks import read_mocks
from engine.ports import Compiled
from engine.states import ExecutionStatus

WIDTH = 60
"""Characters of a config or an outcome in a table."""


def dry_run(file: Path, value: Any, mocks: Any, as_json: bool) -> int:
    """The exit code: 1 if it would fail."""
    nodes, authoring = _parts()
    compiled, faults, warnings = _compiled(file, authoring, {})
    if compiled is None:
        for fault in faults:
            say(f"{file}:{fault_line(fault)}")
        raise CommandError(f"{file} has {len(faults)} fault{'' if len(faults) == 1 else 's'}")
    known, wrong = read_mocks(mocks, keys_of(compiled), "")
    if wrong:
        raise CommandError("; ".join(f"--mocks: {fault.message} at {fault.pointer or '/'}" for fault in wrong))
    check_payload(value, "--input")
    done = rehearse(compiled, nodes, {} if value is None else value, known, time.time())
    if as_json:
        say_json(msgspec.to_builtins(done))
    else:
        _show(done, warnings)
    return 1 if done.status == ExecutionStatus.FAILED else 0


def test(file: Path, cases: Path, as_json: bool) -> int:
    """The exit code: 1 if a case fails, or one of the files has a fault."""
    nodes, authoring = _parts()
    written = _case_file(cases)
    compiled, faults, _ = _compiled(file, authoring, written.actions(nodes))
    given = written.cases(keys_of(compiled)) if compiled is not None else ()
    told = [(file, fault) for fault in faults] + [(cases, fault) for fault in written.faults]
    if told or compiled is None:
        return _refused(told, as_json)
    results = [(case, compare(case.expect, _walked(case, compiled, nodes))) for case in given]
    failed = sum(bool(found) for _, found in results)
    if as_json:
        say_json({"faults": [], "cases": [_plain(case, found) for case, found in results]})
    else:
        for case, found in results:
            _tell(case, found)
        say(f"{len(results)} case{'' if len(results) == 1 else 's'}: {len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _parts() -> tuple[Catalog, Authoring]:
    nodes = tasks.catalog(load_settings())
    return nodes, tasks.authoring(nodes)


def _compiled(
    file: Path, authoring: Authoring, actions: Actions
) -> tuple[Compiled | None, tuple[Fault, ...], tuple[Fault, ...]]:
    """None if it has faults; these, and the warnings."""
    source = read_file(file)
    read = authoring.read(source)
    report = authoring.report(source, read, actions)
    return None if report.faults else authoring.compile_read(read, actions), report.faults, report.warnings


def _case_file(path: Path) -> CaseFile:
    try:
        return CaseFile(path.read_bytes(), is_json=path.suffix == ".json")
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}") from None


def _walked(case: Case, compiled: Compiled, nodes: Catalog) -> DryRun:
    try:
        check_payload(case.input, "input")
        return rehearse(compiled, nodes, case.input, case.mocks, time.time() if case.now is None else case.now)
    except MillraceError as error:
        raise CommandError(f"{case.name}: {error.message}") from None


# --- what is told ---


def _refused(told: list[tuple[Path, Fault]], as_json: bool) -> int:
    if as_json:
        say_json({"faults": [{"file": str(path), **plain_fault(fault)} for path, fault in told], "cases": []})
    for path, fault in told if not as_json else ():
        say(f"{path}:{fault_line(fault)}")
    return 1


def _tell(case: Case, found: list[Difference]) -> None:
    say(f"{'FAIL' if found else 'ok  '} {case.name}")
    for difference in found:
        say(f"       {difference.place}: expected {_value(difference.expected)}, got {_value(difference.got)}")


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value.startswith("(") else json.dumps(value, ensure_ascii=False)


def _plain(case: Case, found: list[Difference]) -> dict[str, Any]:
    return {"name": case.name, "passed": not found, "differences": [one._asdict() for one in found]}


def _show(done: DryRun, warnings: tuple[Fault, ...]) -> None:
    say_table(
        ("AT", "TASK", "TYPE", "STATUS", "BY", "INPUT", "OUTCOME"),
        (
            (duration(s.at), _name(s), s.type, s.status, _source(s), _short(s.config), _short(_outcome(s)))
            for s in done.steps
        ),
    )
    say("")
    end = f" after {duration(done.elapsed)}" if done.elapsed else ""
    why = f": {done.error.type}: {done.error.message}" if done.error else ""
    say(f"{done.status}{end}{why}")
    if done.status == ExecutionStatus.COMPLETED:
        say(f"output: {cell(done.output)}")
    if done.unknown:
        say(f"left open: {', '.join(done.unknown)}; give them mocks to see more")
    if done.secrets:
        say(f"needs the secrets: {', '.join(done.secrets)}; only a server knows whether it has them")
    for warning in (*warnings, *done.warnings):
        say(f"warning: {warning.message}")


def _short(value: Any) -> str:
    """`--json` has all of it."""
    text = cell(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _name(step: Step) -> str:
    return step.task if (step.attempt or 1) == 1 else f"{step.task} ({step.attempt})"


def _source(step: Step) -> str | None:
    if step.source == "open":
        return "would be called" if step.calls else "unknown"
    return step.source


def _outcome(step: Step) -> Any:
    if step.error is not None:
        again = f", again in {duration(step.waits)}" if step.waits is not None else ""
        return f"{step.error.type}: {step.error.message}{again}"
    if step.reason is not None:
        return step.reason if step.waits is None else f"{step.reason}, for up to {duration(step.waits)}"
    if step.source == "open":
        return None
    waited = f"after {duration(step.waits)}: " if step.waits is not None else ""
    way = f"{step.label}: " if step.label is not None else ""
    return f"{waited}{way}{cell(step.output)}"
