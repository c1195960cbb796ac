"""`dry-run` and `test` on the command line, without a server."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deploy.processes import ROOT
from tests.acceptance.serving import call_cli, run_cli

WORKFLOW = """\
name: Large orders
tasks:
  - id: fetch
    type: http_request
    config: {url: "https://shop.example.com/orders/{{input.order}}"}
    retry: {max_attempts: 3, initial_interval: 5, backoff: fixed}
  - id: large
    type: branch
    depends_on: [fetch]
    config:
      cases:
        - {label: "yes", condition: "{{fetch.output.body.total}} > 100", next: wait}
        - {else: true, next: done}
  - id: wait
    type: delay
    config: {duration_seconds: 86400}
  - id: tell
    type: action
    depends_on: [wait]
    config: {action: tell, config: {total: "{{fetch.output.body.total}}"}}
  - id: done
    type: set
"""
CASES = """\
actions:
  tell: {handler_type: set, config: {to: sales}}
cases:
  - name: a large order waits for a day
    input: {order: 7}
    now: "2026-11-20T12:00:00Z"
    mocks:
      fetch:
        - error: {type: http_status, message: "503"}
        - output: {status: 200, body: {total: 500}}
    expect:
      status: completed
      output: {tell: {to: sales, total: 500}}
      path: [fetch, large, wait, tell]
      skipped: [done]
      called: [fetch]
      tasks:
        fetch: {attempts: 2, status: completed, input: {url: "https://shop.example.com/orders/7"}}
        large: {label: "yes"}
        done: {status: skipped}
  - name: the shop is down
    mocks: {fetch: {error: {type: http_status, message: gone, retryable: false}}}
    input: {order: 7}
    expect: {status: failed, error: http_status, tasks: {fetch: {error: {message: gone}}, large: {status: pending}}}
"""


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    file = tmp_path / "orders.yaml"
    file.write_text(WORKFLOW)
    return file


def cases(tmp_path: Path, content: Any) -> Path:
    file = tmp_path / ("cases.yaml" if isinstance(content, str) else "cases.json")
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_cases_that_hold(workflow: Path, tmp_path: Path) -> None:
    done = run_cli("test", str(workflow), str(cases(tmp_path, CASES)))
    assert (done.code, done.err) == (0, "")
    assert done.out == "ok   a large order waits for a day\nok   the shop is down\n2 cases: 2 passed, 0 failed\n"


@pytest.mark.parametrize(
    ("changed", "by", "lines"),
    [
        ("total: 500}}\n      path", "total: 501}}\n      path", ["output/tell/total: expected 501, got 500"]),
        ("[fetch, large, wait, tell]", "[fetch, large]", ["path: expected"]),
        ("called: [fetch]", "called: []", ['called: expected [], got ["fetch"]']),
        ("skipped: [done]", "skipped: [wait]", ['skipped: expected ["wait"], got ["done"]']),
        ("attempts: 2", "attempts: 3", ["tasks/fetch/attempts: expected 3, got 2"]),
        ("orders/7", "orders/8", ["tasks/fetch/input/url: expected"]),
        ('label: "yes"', "label: else", ['tasks/large/label: expected "else", got "yes"']),
        ("error: http_status,", "error: timeout,", ['error/type: expected "timeout", got "http_status"']),
        ("message: gone}}", "message: no}}", ['tasks/fetch/error/message: expected "no", got "gone"']),
        (
            "large: {status: pending}",
            "large: {output: 1}",
            ["tasks/large/output: expected 1, got (it was never reached)"],
        ),
        ("status: failed, error", "status: completed, error", ['status: expected "completed", got "failed"']),
        ("total: 500}}\n    expect", "totl: 500}}\n    expect", ['status: expected "completed", got "failed"']),
    ],
)
def test_each_expectation_can_fail(workflow: Path, tmp_path: Path, changed: str, by: str, lines: list[str]) -> None:
    assert CASES.count(changed) == 1
    done = call_cli("test", str(workflow), str(cases(tmp_path, CASES.replace(changed, by))))
    assert done.code == 1
    assert "FAIL" in done.out
    assert all(f"       {line}" in done.out for line in lines), done.out
    assert "2 cases: 1 passed, 1 failed" in done.out


def test_what_is_left_open_meets_no_expectation(workflow: Path, tmp_path: Path) -> None:
    case = {"name": "x", "input": {"order": 7}, "mocks": {"large": {"label": "yes"}}}
    case["expect"] = {"output": {"tell": {"total": None, "to": "sales"}}, "tasks": {"fetch": {"output": None}}}
    content = {"cases": [case], "actions": {"tell": {"handler_type": "set"}}}
    done = call_cli("test", str(workflow), str(cases(tmp_path, content)))
    assert done.code == 1
    assert done.out.count("(left open; say it with a mock)") == 2


def test_as_json(workflow: Path, tmp_path: Path) -> None:
    file = cases(tmp_path, CASES.replace("attempts: 2", "attempts: 3"))
    report = json.loads(call_cli("test", str(workflow), str(file), "--json").out)
    assert report["faults"] == []
    assert [(case["name"], case["passed"]) for case in report["cases"]] == [
        ("a large order waits for a day", False),
        ("the shop is down", True),
    ]
    assert report["cases"][0]["differences"] == [{"place": "tasks/fetch/attempts", "expected": 3, "got": 2}]


WRONG = """\
caes: []
cases:
  - nmae: a
    expect: {status: complete}
  - name: b
    mocks:
      fetsh: {output: 1}
      fetch: {ouput: 1}
    expect:
      stauts: completed
      path: [fetch, larg]
      tasks:
        wait: {attemps: 1}
  - name: c
    now: noon
actions:
  tell: {handler_type: sett}
"""


def test_all_faults_of_a_file_of_cases_have_lines(workflow: Path, tmp_path: Path) -> None:
    file = cases(tmp_path, WRONG)
    done = call_cli("test", str(workflow), str(file))
    assert done.code == 1
    told = {
        (int(line.split(":")[1]), line.partition("did you mean ")[2].split("?")[0]) for line in done.out.splitlines()
    }
    assert {line for line, _ in told} == {1, 3, 4, 7, 8, 10, 11, 13, 14, 15, 17}
    assert {hint for _, hint in told} >= {
        "'cases'",
        "'name'",
        "'fetch'",
        "'output'",
        "'status'",
        "'large'",
        "'attempts'",
    }
    report = json.loads(call_cli("test", str(workflow), str(file), "--json").out)
    assert {fault["line"] for fault in report["faults"]} == {line for line, _ in told}
    assert report["cases"] == []


@pytest.mark.parametrize(
    "content",
    ["5", "a: [1", "cases: {}", "cases: []", "cases: [1]", "actions: 1\ncases: []", "- name: x\n", "", "a: &x 1"],
)
def test_what_is_no_file_of_cases(workflow: Path, tmp_path: Path, content: str) -> None:
    done = call_cli("test", str(workflow), str(cases(tmp_path, content)))
    assert (done.code, done.err) == (1, "")
    assert done.out.startswith(str(tmp_path / "cases.yaml"))


def test_faults_of_the_workflow_are_told_too(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("tasks:\n  - id: a\n    type: dely\n")
    done = call_cli("test", str(bad), str(cases(tmp_path, CASES)))
    assert (done.code, done.out.startswith(f"{bad}:3: unknown node type 'dely'")) == (1, True)
    assert call_cli("dry-run", str(bad)).code == 1
    assert call_cli("test", str(bad), str(tmp_path / "none.yaml")).err.startswith("error: ")


def test_a_dry_run_shows_each_step(workflow: Path) -> None:
    mocks = '{"fetch": [{"error": "x"}, {"output": {"body": {"total": 300}}}], "tell": {"output": "told"}}'
    done = run_cli("dry-run", str(workflow), "--input", '{"order": 7}', "--mocks", mocks)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["AT", "TASK", "TYPE", "STATUS", "BY", "INPUT", "OUTCOME"]
    assert "error: x, again in 5.0 s" in lines[1]
    assert lines[2].startswith("5.0 s        fetch (2)  http_request  completed  mock")
    assert "completed after 24 h 00 min" in done.out
    assert 'output: {"tell": "told"}' in done.out


def test_a_dry_run_says_what_is_left_open(workflow: Path) -> None:
    done = call_cli("dry-run", str(workflow), "--input", '{"order": 7}')
    assert done.code == 0
    assert "would be called" in done.out
    assert "left open: fetch, large" in done.out
    report = json.loads(call_cli("dry-run", str(workflow), "--input", '{"order": 7}', "--json").out)
    assert (report["status"], report["unknown"]) == ("unknown", ["fetch", "large"])


def test_a_dry_run_that_fails_and_one_that_cannot_be(workflow: Path) -> None:
    failed = call_cli("dry-run", str(workflow), "--mocks", '{"large": {"label": "yes"}}')
    assert (failed.code, "failed: template" in failed.out) == (1, True)
    assert "there is no task 'fetsh'" in call_cli("dry-run", str(workflow), "--mocks", '{"fetsh": {}}').err
    assert call_cli("dry-run", str(workflow), "--input", "{").code == 2


def test_the_example_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`docs/testing-workflows.md`, as it is written."""
    page = (ROOT / "docs" / "testing-workflows.md").read_text()
    for name, text in re.findall(r"<!-- file: (\S+) -->\n```yaml\n(.*?)```", page, re.DOTALL):
        (tmp_path / name).write_text(text)
    (shown,) = re.findall(r"<!-- run -->\n```\n(.*?)```", page, re.DOTALL)
    command, _, said = shown.partition("\n")
    monkeypatch.chdir(tmp_path)
    done = call_cli(*command.removeprefix("$ python cli.py ").split())
    assert (done.code, done.out) == (0, said)


@pytest.mark.parametrize("file", sorted((ROOT / "workflows" / "cases").iterdir()), ids=lambda file: file.stem)
def test_the_cases_of_the_samples_hold(file: Path) -> None:
    (workflow,) = (ROOT / "workflows").glob(f"{file.stem}.*")
    done = call_cli("test", str(workflow), str(file))
    assert (done.code, done.err) == (0, ""), done.out
