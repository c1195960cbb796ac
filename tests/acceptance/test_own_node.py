"""The node type that docs/nodes.md shows is one file: dropped in, it is listed, checked and executed over REST."""

import re
from pathlib import Path

import pytest

from deploy.processes import ROOT
from tests.acceptance.serving import serving
from tests.integration.stage import shown_node


def test_a_file_dropped_in_is_a_node_type(tmp_path: Path) -> None:
    folder = tmp_path / "nodes"
    folder.mkdir()
    (folder / "shout.py").write_text(shown_node())
    with serving(tmp_path, NODES_DIR=str(folder), LOG_LEVEL="warning") as served:
        found = served.rest("GET", "/api/v1/nodes/shout")
        assert found["description"] == "Says it louder.\n\nWhat to say, and how often."
        assert found["schema"]["$defs"]["Config"]["required"] == ["text"]
        tried = served.rest("POST", "/nodes/shout/test", {"config": {"text": "{{input}}", "times": 2}, "input": "hey"})
        assert tried["output"] == {"said": "HEY HEY"}
        workflow = served.workflow({"key": "a", "type": "shout", "parameters": {"text": "{{input.text}}"}})
        ended = served.rest("POST", f"/workflows/{workflow}/execute?wait=20", {"input": {"text": "hi"}})
        assert (ended["status"], ended["tasks"][0]["output"]) == ("completed", {"said": "HI"})
        ended = served.rest("POST", f"/workflows/{workflow}/execute?wait=20", {"input": {"text": "psst"}})
        assert (ended["status"], ended["error"]["type"]) == ("failed", "tact")
        with pytest.raises(AssertionError, match="/parameters/times"):
            served.workflow({"type": "shout", "parameters": {"text": "x", "times": 11}})


def test_the_table_holds_every_type() -> None:
    from tests.unit.nodes.harness import CATALOG

    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", (ROOT / "docs/nodes.md").read_text(), re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", also)) for name, also in rows}
    assert told == {name: set(CATALOG.describe(name).aliases) for name in CATALOG.types()}
