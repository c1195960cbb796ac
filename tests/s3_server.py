"""A real S3 server of this machine that checks every signature, with one account and one bucket."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, NamedTuple


class S3Server(NamedTuple):
    """`settings()` are those of a connection."""

    endpoint: str
    access_key: str
    secret_key: str

    def settings(self, **more: Any) -> dict[str, Any]:
        return {
            "kind": "s3",
            "endpoint": self.endpoint,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "bucket": "invoices",
            **more,
        }


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Serves until the block ends, in threads of this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import boto3
        from moto.server import ThreadedMotoServer
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    where = {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"}
    root = boto3.Session("setup", "setup")
    try:
        iam = root.client("iam", **where)
        iam.create_user(UserName="millrace")
        allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        iam.put_user_policy(UserName="millrace", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="millrace")["AccessKey"]
        root.client("s3", **where).create_bucket(Bucket="invoices")
        _check_signatures(host, port, "0")
        yield S3Server(where["endpoint_url"], key["AccessKeyId"], key["SecretAccessKey"])
    finally:
        _check_signatures(host, port, "inf")
        _ask(host, port, "reset", "")  # the next server of this process has the same memory
        server.stop()


def _check_signatures(host: str, port: int, after: str) -> None:
    """From the `after`-th request on."""
    _ask(host, port, "reset-auth", after)


def _ask(host: str, port: int, what: str, body: str) -> None:
    connection = HTTPConnection(host, port)
    connection.request("POST", f"/moto-api/{what}", body, {"Content-Type": "text/plain"})
    assert connection.getresponse().status == 200
    connection.close()
