"""Where the doors are: the environment, else `.env`, else this machine.

Reads the two variables itself: the whole settings of `bootstrap` would cost every command 0.3 seconds.
"""

import os

from dotenv import dotenv_values

REST_API_URL = "http://127.0.0.1:8000"
GRPC_API_URL = "127.0.0.1:50051"


def rest_url() -> str:
    """Without a slash at its end."""
    return _variable("REST_API_URL", REST_API_URL).rstrip("/")


def grpc_target() -> str:
    """`host:port`; a scheme before it is forgiven."""
    return _variable("GRPC_API_URL", GRPC_API_URL).rpartition("://")[2].rstrip("/")


def _variable(name: str, default: str) -> str:
    return os.environ.get(name) or dotenv_values(".env").get(name) or default
