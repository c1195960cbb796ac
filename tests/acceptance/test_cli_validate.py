"""`python cli.py validate` on files with six faults: each with its line, in every dialect, as JSON and as YAML."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.yaml_documents import encode_yaml
from tests.acceptance.serving import Done, call_cli, run_cli

STEPS = {
    "start_at": "fetsh",
    "steps": {
        "fetch": {"type": "htpp_request", "next": "check"},
        "check": {"type": "http_request", "url": "https://example.com/", "methd": "PUT", "next": "wait"},
        "wait": {"type": "delay", "duration_seconds": "soon", "next": "store"},
        "store": {
            "type": "set",
            "config": {"x": "{{tasks.fech.output}}"},
            "retry": {"max_atempts": 3},
            "next": "end",
        },
    },
}
GRAPH = {
    "nodes": [
        {"id": "start", "type": "strat", "data": {}},
        {"id": "call", "type": "http_call", "data": {"url": "https://example.com/", "methd": "PUT"}},
        {"id": "wait", "type": "delay", "data": {"ms": -5}},
        {"id": "tell", "type": "set", "data": {"message": "{{inptu.x}}"}, "on_error": "cll"},
    ],
    "edges": [{"source": "start", "target": "call"}, {"source": "strt", "target": "wait"}],
}
TASKS = {
    "name": "my-workflow",
    "key": "17",
    "tasks": [
        {"id": "a", "type": "activity", "activity_type": "htpp_request"},
        {"id": "b", "typ": "delay", "config": {}},
        {"id": "c", "type": "set", "depends_on": ["aa"], "timeout": "5 parsecs"},
        {"id": "d", "type": "noop", "executor": "asincio"},
    ],
}
FAULTS = {
    "steps": {
        "fetsh": "did you mean 'fetch'?",
        "htpp_request": "did you mean 'http_request'?",
        "methd": "did you mean 'method'?",
        "soon": "duration_seconds: Expected",
        "fech.": "did you mean 'fetch'?",
        "max_atempts": "did you mean 'max_attempts'?",
    },
    "graph": {
        "strat": "did you mean 'start'?",
        "methd": "did you mean 'method'?",
        "-5": "ms: Expected `float` >= 0.0",
        "inptu": "did you mean 'input'?",
        "cll": "did you mean 'call'?",
        "strt": "did you mean 'start'?",
    },
    "tasks": {
        "17": "a key has letters",
        "htpp_request": "did you mean 'http_request'?",
        "typ": "did you mean 'type'?",
        "aa": "did you mean 'a'?",
        "parsecs": "a text such as 500ms",
        "asincio": "did you mean 'asyncio'?",
    },
}
"""By dialect: what stands in the line of each fault, and what is said of it."""
DOCUMENTS: dict[str, dict[str, Any]] = {"steps": STEPS, "graph": GRAPH, "tasks": TASKS}


def line_of(text: str, word: str) -> int:
    """Where a word stands by itself; the first if it is named twice."""
    quoted = (f'"{word}"', f"{word}:", f": {word}", f"- {word}", f"'{word}'", word)
    return next(n for q in quoted for n, line in enumerate(text.splitlines(), 1) if q in line)


def check(done: Done, file: Path, text: str, faults: dict[str, str]) -> None:
    assert done.code == 1
    *told, last = [line for line in done.out.splitlines() if not line.endswith("(warning)")]
    assert last == f"{file}: 6 faults", done.out
    by_line = {int(line.split(":")[1]): line for line in told}
    assert sorted(by_line) == sorted(line_of(text, word) for word in faults), done.out
    for word, said in faults.items():
        assert said in by_line[line_of(text, word)], done.out


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@pytest.mark.parametrize("dialect", DOCUMENTS)
def test_all_six_are_named_with_their_lines(tmp_path: Path, dialect: str, suffix: str) -> None:
    document = DOCUMENTS[dialect]
    text = json.dumps(document, indent=2) if suffix == "json" else encode_yaml(document).decode()
    file = tmp_path / f"{dialect}.{suffix}"
    file.write_text(text)
    check(call_cli("validate", str(file)), file, text, FAULTS[dialect])


def test_as_a_command_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "six.yaml"
    text = encode_yaml(STEPS).decode()
    file.write_text(text)
    done = run_cli("validate", str(file))
    check(done, file, text, FAULTS["steps"])
    assert done.err == ""


def test_one_fault_less_is_one_line_less(tmp_path: Path) -> None:
    """What is told is what is wrong, not a list that is always six long."""
    file = tmp_path / "five.yaml"
    file.write_text(encode_yaml(STEPS).decode().replace("fetsh", "fetch"))
    assert call_cli("validate", str(file)).out.endswith(f"{file}: 5 faults\n")
