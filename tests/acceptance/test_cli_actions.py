"""Actions on the command line."""

import json

from tests.acceptance.serving import Served


def test_the_life_of_an_action(served: Served) -> None:
    refused = served.cli("action", "set", "cli-greet", "--config", '{"a": 1}')
    assert (refused.code, "--type" in refused.err) == (1, True)
    made = served.cli("action", "set", "cli-greet", "--type", "set", "--config", '{"a": 1}')
    assert made.out == "action cli-greet created: set\n"
    changed = served.cli("action", "set", "cli-greet", "--description", "Says hello", "--json")
    assert json.loads(changed.out)["config"] == {"a": 1}
    shown = served.cli("action", "get", "cli-greet").out
    assert shown.splitlines() == ["action cli-greet: set", "Says hello", "FIELD  VALUE", "a      1"]
    assert "cli-greet" in served.cli("action", "list").out
    assert served.cli("actions", "list").out == served.cli("action", "list").out
    assert [one["name"] for one in json.loads(served.cli("action", "list", "--json").out)] == ["cli-greet"]
    assert served.cli("action", "set", "cli-greet", "--type", "sett").err.startswith("error: unknown node type 'sett'")
    assert served.cli("action", "delete", "cli-greet").out == "action cli-greet deleted\n"
    assert served.cli("action", "delete", "cli-greet").code == 1
