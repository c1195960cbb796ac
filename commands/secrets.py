"""Secrets, over REST; values come from standard input or an environment variable, so that no history keeps them."""

import os
import sys
from getpass import getpass

from commands import rest
from commands.output import clock, say, say_json, say_table


def put(name: str, hosts: list[str], variable: str | None, as_json: bool) -> None:
    body = {"value": _value(name, variable), "allowed_hosts": hosts}
    secret, _ = rest.call("PUT", f"/secrets/{rest.segment(name)}", body)
    if as_json:
        say_json(secret)
    else:
        say(f"secret {secret['name']} kept, sealed with the key {secret['key_id']}")


def page(as_json: bool) -> None:
    secrets, _ = rest.call("GET", "/secrets")
    if as_json:
        say_json(secrets)
        return
    say_table(
        ("NAME", "KEY", "ALLOWED HOSTS", "UPDATED"),
        ((s["name"], s["key_id"], ", ".join(s["allowed_hosts"]) or "any", clock(s["updated_at"])) for s in secrets),
    )


def delete(name: str) -> None:
    rest.call("DELETE", f"/secrets/{rest.segment(name)}")
    say(f"secret {name} deleted")


def rotate() -> None:
    done, _ = rest.call("POST", "/secrets/actions/rotate")
    say(f"{done['rotated']} secrets sealed with the first key of SECRET_KEYS")


def key(key_id: str) -> None:
    from bootstrap.vault import new_key

    say(new_key(key_id))


def _value(name: str, variable: str | None) -> str:
    if variable is not None:
        return os.environ.get(variable, "")
    if sys.stdin.isatty():
        return getpass(f"value of {name}: ")
    return sys.stdin.read().removesuffix("\n")
