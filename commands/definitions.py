"""Workflows as files: check them here, apply them over REST, take them back, look at their versions."""

import difflib
from pathlib import Path
from typing import Any

from bootstrap import tasks
from bootstrap.settings import load_settings
from commands import rest
from commands.failure import CommandError
from commands.output import clock, say, say_json, say_table
from engine.authoring import Report, key_of
from engine.errors import Fault, MillraceError
from engine.sources import Source

Checked = tuple[Path, Source, Report]


def validate(files: list[Path], as_json: bool) -> int:
    """The exit code: 1 if any file has a fault, or cannot be read: the others are told all the same."""
    checked, unread = _check(files)
    if as_json:
        say_json([_plain(path, report) for path, _, report in checked])
    else:
        for path, _, report in checked:
            _tell(path, report)
    if unread:
        raise CommandError("; ".join(unread))
    return 1 if any(report.faults for _, _, report in checked) else 0


def apply(files: list[Path], as_json: bool) -> None:
    """All are checked before the first is sent."""
    checked, unread = _check(files)
    refused = [entry for entry in checked if entry[2].faults]
    for path, _, report in refused:
        _tell(path, report)
    if unread or refused:
        wrong = f"{len(refused) + len(unread)} of {len(files)} files have faults"
        raise CommandError("; ".join((f"nothing was applied: {wrong}", *unread)))
    results = [_apply(path, source, key_of(report.head, path.stem)) for path, source, report in checked]
    if as_json:
        say_json(results)
        return
    for result in results:
        name = f"workflow {result['id']} ({result['key']})"
        say(f"{result['file']}: {name} {result['outcome']}, version {result['version']}")
        for warning in result["warnings"]:
            say(f"  warning: {warning}")


def _apply(path: Path, source: Source, key: str) -> dict[str, Any]:
    """The warnings are the server's: it knows which actions there are."""
    ref = rest.segment(key)
    there = rest.find(f"/workflows/{ref}")
    kind = "application/json" if source.is_json else "application/yaml"
    if there is None:
        made = rest.send("POST", "/workflows/", source.data, kind)
        warnings = made["warnings"]
        if made["key"] is None:
            made, _ = rest.call("PUT", f"/workflows/{made['id']}", {"key": key})
        outcome = "created"
    else:
        made = rest.send("PUT", f"/workflows/{there['id']}", source.data, kind)
        warnings = made["warnings"]
        outcome = "unchanged" if made["updated_at"] == there["updated_at"] else "updated"
    return {
        "file": str(path),
        "id": made["id"],
        "key": made["key"],
        "outcome": outcome,
        "version": _current(f"/workflows/{made['id']}"),
        "warnings": [fault_line(Fault(**warning)) for warning in warnings],
    }


def export(ref: str, form: str, output: Path | None) -> None:
    document = rest.text(f"/workflows/{rest.segment(ref)}" + rest.query(format=form))
    if output is None:
        say(document.rstrip("\n"))
    else:
        try:
            output.write_text(document)
        except OSError as error:
            raise CommandError(f"{output} cannot be written: {error.strerror or error}") from None
        say(f"workflow {ref} written to {output}")


def versions(ref: str, as_json: bool) -> None:
    rows, _ = rest.call("GET", f"/workflows/{rest.segment(ref)}/versions?limit=1000")
    if as_json:
        say_json(rows)
        return
    say_table(
        ("VERSION", "CURRENT", "CREATED", "DIGEST"),
        (
            (row["version"], "yes" if row["current"] else None, clock(row["created_at"]), row["digest"][:16])
            for row in rows
        ),
    )


def diff(ref: str, before: int, after: int | None) -> int:
    """The exit code, as of `diff`: 0 if they mean the same."""
    base = f"/workflows/{rest.segment(ref)}"
    after = after or _current(base)
    old = rest.text(f"{base}/versions/{before}?format=yaml")
    new = rest.text(f"{base}/versions/{after}?format=yaml" if after else f"{base}?format=yaml")
    names = f"version {before}", f"version {after}" if after else "the draft"
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm=""))
    for line in lines:
        say(line)
    return 1 if lines else 0


def _current(base: str) -> int | None:
    """The version that the draft stands for; None if none was made of it yet."""
    rows, _ = rest.call("GET", f"{base}/versions?limit=1000")
    return next((row["version"] for row in rows if row["current"]), None)


def rollback(ref: str, version: int, as_json: bool) -> None:
    workflow, _ = rest.call("POST", f"/workflows/{rest.segment(ref)}/rollback", {"version": version})
    if as_json:
        say_json(workflow)
    else:
        say(f"workflow {workflow['id']} is at version {version} again: {workflow['name']}")


def _check(files: list[Path]) -> tuple[list[Checked], list[str]]:
    """What was read, and why the others were not."""
    authoring = tasks.authoring(tasks.catalog(load_settings()))
    checked: list[Checked] = []
    unread: list[str] = []
    for path in files:
        try:
            source = read_file(path)
        except CommandError as error:
            unread.append(str(error))
        else:
            checked.append((path, source, authoring.inspect(source)))
    return checked, unread


def read_file(path: Path) -> Source:
    """A workflow file. Raises `CommandError`."""
    try:
        return Source(path.read_bytes(), strict_json=path.suffix == ".json")
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}") from None
    except MillraceError as error:
        raise CommandError(f"{path}: {error.message}") from None


def _tell(path: Path, report: Report) -> None:
    for fault in report.faults:
        say(f"{path}:{fault_line(fault)}")
    for warning in report.warnings:
        say(f"{path}:{fault_line(warning)} (warning)")
    if not report.faults:
        say(f"{path}: valid, written as {report.dialect}")
    else:
        say(f"{path}: {len(report.faults)} fault{'' if len(report.faults) == 1 else 's'}")


def fault_line(fault: Fault) -> str:
    """What follows the name of the file and a colon."""
    place = f" at {fault.pointer}" if fault.pointer else ""
    return f"{fault.line or 1}: {fault.message}{place}"


def _plain(path: Path, report: Report) -> dict[str, Any]:
    return {
        "file": str(path),
        "valid": not report.faults,
        "dialect": report.dialect,
        "digest": report.digest,
        "errors": [plain_fault(fault) for fault in report.faults],
        "warnings": [plain_fault(fault) for fault in report.warnings],
    }


def plain_fault(fault: Fault) -> dict[str, Any]:
    """As JSON."""
    return {"line": fault.line, "pointer": fault.pointer, "message": fault.message, "code": fault.code}
