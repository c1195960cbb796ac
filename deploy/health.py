"""`python -m deploy.health <address>`: exit code 0 if that door answers well.

An address is `http://host:port/path`, `grpc://host:port` or `tcp://host:port`.
"""

import socket
import sys
import urllib.error
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def rest_is_up(url: str) -> bool:
    """Whether a GET is answered with 2xx within five seconds."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status < 300)
    except (urllib.error.URLError, OSError):
        return False


def grpc_is_up(target: str) -> bool:
    """Whether the server at `host:port` says SERVING within five seconds."""
    with grpc.insecure_channel(target) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def tcp_is_up(target: str) -> bool:
    """Whether somebody listens at `host:port`."""
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except OSError:
        return False
    return True


def is_up(address: str) -> bool:
    """By its scheme."""
    scheme, _, target = address.partition("://")
    if scheme == "tcp":
        return tcp_is_up(target)
    return grpc_is_up(target) if scheme == "grpc" else rest_is_up(address)


if __name__ == "__main__":
    sys.exit(0 if is_up(sys.argv[1]) else 1)
