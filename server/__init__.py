"""The gRPC door."""

import os

# uvloop forks to start a process, and gRPC's own handlers of forks, which we have no use for, may hang or crash then
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
