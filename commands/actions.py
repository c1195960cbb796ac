"""Actions, over REST."""

from typing import Any

from commands import rest
from commands.failure import CommandError
from commands.output import clock, say, say_json, say_table


def put(name: str, kind: str | None, config: Any, description: str | None, as_json: bool) -> None:
    given = {"handler_type": kind, "config": config, "description": description}
    body = {field: value for field, value in given.items() if value is not None}
    place = f"/actions/{rest.segment(name)}"
    there = rest.find(place)
    if there is None and kind is None:
        raise CommandError(f"there is no action {name}; say its --type to create it")
    if there is None:
        made, _ = rest.call("POST", "/actions", {"name": name, **body})
    else:
        made, _ = rest.call("PUT", place, body)
    if as_json:
        say_json(made)
    else:
        say(f"action {made['name']} {'created' if there is None else 'changed'}: {made['handler_type']}")


def page(skip: int, limit: int, as_json: bool) -> None:
    actions, headers = rest.call("GET", "/actions" + rest.query(skip=skip, limit=limit))
    if as_json:
        say_json(actions)
        return
    say_table(
        ("NAME", "TYPE", "DESCRIPTION", "UPDATED"),
        ((a["name"], a["handler_type"], a["description"], clock(a["updated_at"])) for a in actions),
    )
    if int(headers["x-total-count"]) > len(actions):
        say(f"{len(actions)} of {headers['x-total-count']} actions; more with --skip and --limit")


def get(name: str, as_json: bool) -> None:
    action, _ = rest.call("GET", f"/actions/{rest.segment(name)}")
    if as_json:
        say_json(action)
        return
    say(f"action {action['name']}: {action['handler_type']}")
    if action["description"]:
        say(action["description"])
    if action["config"]:
        say_table(("FIELD", "VALUE"), action["config"].items())


def delete(name: str) -> None:
    rest.call("DELETE", f"/actions/{rest.segment(name)}")
    say(f"action {name} deleted")
