"""`python -m benchmarks.grpc_echo PORT`: the limit of a gRPC door, a grpc.aio server on uvloop that does nothing."""

import sys

import grpc
import uvloop

METHOD = "/bare.Echo/Echo"


async def _echo(request: bytes, _context: object) -> bytes:
    return request


async def serve(port: int) -> None:
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Echo": grpc.unary_unary_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare.Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
