"""Workflows as files, on the command line."""

import json
from pathlib import Path

import pytest

from tests.acceptance.serving import Served, call_cli
from tests.unit.definitions.test_yaml_tasks import SIX

GOOD = "name: My workflow\ntasks:\n  - id: a\n    type: noop\n"


def test_validate_names_all_six_faults_with_their_lines(tmp_path: Path) -> None:
    """Without a server."""
    file = tmp_path / "six.yaml"
    file.write_text(SIX)
    done = call_cli("validate", str(file))
    assert done.code == 1
    *told, last = done.out.splitlines()
    assert [line.split(":")[1] for line in told] == ["6", "8", "10", "11", "12", "13"]
    assert last == f"{file}: 6 faults"
    assert "did you mean 'http_request'?" in told[0]
    report = json.loads(call_cli("validate", str(file), "--json").out)
    assert [fault["line"] for fault in report[0]["errors"]] == [6, 8, 10, 11, 12, 13]


def test_a_list_says_how_a_document_is_written(served: Served, tmp_path: Path) -> None:
    """It has no rows: to count them would say that it is empty."""
    file = tmp_path / "listed.yaml"
    file.write_text(GOOD.replace("My workflow", "listed-document"))
    assert served.cli("apply", str(file)).code == 0
    (line,) = [line for line in served.cli("list", "--limit", "1000").out.splitlines() if "listed-document" in line]
    assert "yaml_tasks" in line


def test_validate_knows_every_dialect(tmp_path: Path) -> None:
    texts = {
        "a.yaml": GOOD,
        "b.json": '{"nodes": [{"id": "x", "type": "noop"}], "edges": []}',
        "c.json": '{"start_at": "x", "steps": {"x": {"type": "noop", "next": "gone"}}}',
    }
    files = [tmp_path / name for name in texts]
    for file in files:
        file.write_text(texts[file.name])
    done = call_cli("validate", *map(str, files))
    assert done.code == 0
    assert f"{files[0]}: valid, written as yaml_tasks" in done.out
    assert f"{files[1]}: valid, written as graph" in done.out
    assert f"{files[2]}:1: 'x' leads to the task 'gone', which does not exist" in done.out


@pytest.mark.parametrize("text", ["a: [1\n", '{"a": 1', "\0"])
def test_what_cannot_be_read(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    assert call_cli("validate", str(file)).code == 1
    assert call_cli("validate", str(tmp_path / "nothing.yaml")).err.startswith("error: ")


def test_a_file_that_cannot_be_read_hides_no_fault_of_the_others(tmp_path: Path) -> None:
    six, code = tmp_path / "six.yaml", tmp_path / "code.yaml"
    six.write_text(SIX)
    code.write_text("tasks:\n  - id: a\n    type: code\n    config:\n      code: 'def process('\n")
    done = call_cli("validate", str(tmp_path / "nothing.yaml"), str(six), str(tmp_path), str(code))
    assert done.code == 1
    assert f"{six}: 6 faults" in done.out
    assert f"{code}:5: code: not Python: '(' was never closed (line 1 of the code) at /tasks/0/config/code" in done.out
    assert done.err.startswith(f"error: {tmp_path / 'nothing.yaml'} cannot be read: No such file or directory; ")
    assert f"; {tmp_path} cannot be read: Is a directory" in done.err
    refused = call_cli("apply", str(tmp_path / "nothing.yaml"), str(six))
    assert (refused.code, f"{six}: 6 faults" in refused.out) == (1, True)
    assert "nothing was applied: 2 of 2 files have faults" in refused.err


def test_an_export_says_name_and_key(served: Served, tmp_path: Path) -> None:
    """Else the file would be another workflow elsewhere: one by the name of the file."""
    file, out = tmp_path / "cli-signed.yaml", tmp_path / "other.yaml"
    tasks = "tasks:\n  # first\n  - id: a\n    type: noop\n"
    for text in (f"# mine\n---\n{tasks}", '{"tasks": [{"id": "a", "type": "noop"}]}', "{tasks: [{id: a, type: noop}]}"):
        file.write_text(text)
        assert served.cli("apply", str(file)).code == 0
        assert served.cli("export", "cli-signed", "--format", "source").out.rstrip() == text.rstrip()
        shown = json.loads(served.cli("export", "cli-signed", "--format", "tasks").out)
        assert (shown["key"], shown["name"]) == ("cli-signed", "Untitled workflow")
        served.cli("export", "cli-signed", "--output", str(out))
        assert json.loads(served.cli("apply", str(out), "--json").out)[0]["key"] == "cli-signed"
    file.write_text(f"# mine\n---\n{tasks}")
    served.cli("apply", str(file))
    nowhere = served.cli("export", "cli-signed", "--output", str(tmp_path / "no" / "x.yaml"))
    assert nowhere.err == f"error: {tmp_path / 'no' / 'x.yaml'} cannot be written: No such file or directory\n"
    served.rest("PUT", "/workflows/cli-signed", {"timeout": 5, "budget": {"tokens": 7}})
    beside = served.cli("export", "cli-signed").out
    assert "timeout: 5.0\nbudget:\n  tokens: 7\n" in beside
    out.write_text(beside)
    assert json.loads(served.cli("apply", str(out), "--json").out)[0]["outcome"] == "updated"
    assert served.cli("export", "cli-signed", "--format", "source").out == beside
    served.rest("PUT", "/workflows/cli-signed", {"timeout": None, "budget": None})
    assert "timeout" not in served.cli("export", "cli-signed").out
    served.cli("apply", str(file))
    assert served.cli("export", "cli-signed").out == f"# mine\n---\nname: Untitled workflow\nkey: cli-signed\n{tasks}"


def test_from_a_file_to_a_version_and_back(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "cli-life.yaml"
    file.write_text(GOOD)
    assert ") created, version 1" in served.cli("apply", str(file)).out
    assert served.cli("apply", str(file)).out.endswith("unchanged, version 1\n")
    assert served.cli("export", "cli-life", "--format", "source").out == GOOD
    file.write_text(GOOD + "  - id: b\n    type: set\n    depends_on: [a]\n")
    assert ") updated, version 2" in served.cli("apply", str(file)).out
    shown = served.cli("diff", "cli-life", "1", "2")
    assert shown.code == 1
    assert "+- id: b" in shown.out
    assert served.cli("diff", "cli-life", "2").code == 0
    back = served.cli("rollback", "cli-life", "1")
    assert "is at version 1 again: My workflow" in back.out
    rows = json.loads(served.cli("versions", "cli-life", "--json").out)
    assert [(row["version"], row["current"]) for row in rows] == [(2, False), (1, True)]
    assert "VERSION  CURRENT" in served.cli("versions", "cli-life").out
    output = tmp_path / "out.json"
    served.cli("export", "cli-life", "--format", "graph", "--output", str(output))
    assert [node["id"] for node in json.loads(output.read_text())["nodes"]] == ["a"]
    assert "written as yaml_tasks\n\nKEY  NAME  TYPE" in served.cli("get", "cli-life").out
    assert served.cli("execute", "cli-life", "--wait", "10").code == 0


def test_apply_tells_what_the_server_warns_of(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "cli-warned.yaml"
    file.write_text("tasks:\n  - {id: a, type: action, config: {action: cli-missing}}\n")
    told = "warning: 2: there is no action 'cli-missing' yet; 'a' fails when it is reached at /tasks/0"
    assert told in served.cli("apply", str(file)).out
    assert served.cli("action", "set", "cli-missing", "--type", "noop").code == 0
    assert "warning" not in served.cli("apply", str(file)).out


def test_apply_sends_nothing_if_one_file_has_a_fault(served: Served, tmp_path: Path) -> None:
    good, bad = tmp_path / "cli-good.yaml", tmp_path / "cli-bad.yaml"
    good.write_text(GOOD)
    bad.write_text(SIX)
    done = served.cli("apply", str(good), str(bad))
    assert done.code == 1
    assert "nothing was applied: 1 of 2 files have faults" in done.err
    assert served.cli("get", "cli-good").code == 1
    result = json.loads(served.cli("apply", str(good), "--json").out)[0]
    assert (result["key"], result["outcome"], result["version"], result["warnings"]) == ("cli-good", "created", 1, [])
