"""Behaviour, on real servers. `unit` needs none; `conformance`, `integration` and `acceptance` start what they need."""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
"""Clients here start processes while they have calls open, which gRPC's own handling of forks does not survive."""
