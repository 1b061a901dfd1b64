"""A server with one method of each kind, on loopback, and certificates for its clients."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest

from pyswarm.api.v1 import control_pb2_grpc
from pyswarm.errors import NotFound, NotLeader
from pyswarm.model.states import NodeRole
from pyswarm.rpc import Access, Authorizer, caller, mutual_server
from pyswarm.testing.trust import Trust

TABLE = {
    "/test.Echo/Who": Access.NODE,
    "/test.Echo/Admin": Access.MANAGER,
    "/test.Echo/Peer": Access.PEER,
    "/test.Echo/Fail": Access.NODE,
    "/test.Echo/Count": Access.NODE,
    "/test.Echo/Sum": Access.NODE,
    "/test.Echo/Both": Access.NODE,
    "/test.Echo/Open": Access.PUBLIC,
}


class Echo:
    """`ended` is set when the endless stream `Count` is closed on the server."""

    def __init__(self):
        self.ended = asyncio.Event()

    async def who(self, request, context):
        identity = caller()
        return f"{identity.node_id} {identity.role.name} {identity.serial}".encode()

    async def fail(self, request, context):
        if request == b"leader":
            raise NotLeader("this manager is not the leader", "10.0.0.2:2377")
        if request == b"missing":
            raise NotFound("there is no such thing: größer")
        raise ZeroDivisionError("a bug")

    async def count(self, request, context):
        try:
            for number in range(int(request)):
                yield f"{caller().node_id} {number}".encode()
            if request == b"3":
                await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def sum(self, requests, context):
        return str(sum([int(request) async for request in requests])).encode()

    async def both(self, requests, context):
        async for request in requests:
            if request == b"leader":
                raise NotLeader("gone", "")
            await context.write(request)

    async def open(self, request, context):
        return b"open"

    def handlers(self):
        methods = {
            "Who": grpc.unary_unary_rpc_method_handler(self.who),
            "Admin": grpc.unary_unary_rpc_method_handler(self.who),
            "Peer": grpc.unary_unary_rpc_method_handler(self.who),
            "Forgotten": grpc.unary_unary_rpc_method_handler(self.who),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Open": grpc.unary_unary_rpc_method_handler(self.open),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
        }
        return (grpc.method_handlers_generic_handler("test.Echo", methods),)


class Served:
    """A running server, and what a test may turn on it."""

    def __init__(self, trust, echo):
        self.trust = trust
        self.echo = echo
        self.removed = set()
        self.credentials = trust.node("m1", NodeRole.MANAGER)
        self.demoted = set()
        self.authorizer = Authorizer(
            TABLE,
            trust.cluster_id,
            self.removed.__contains__,
            lambda identity: identity.serial in self.demoted,
        )
        self.port = 0

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"


@pytest.fixture(scope="session")
def trust():
    return Trust()


@pytest.fixture
def serve(trust):
    @asynccontextmanager
    async def serving(**options):
        echo = Echo()
        served = Served(trust, echo)
        bound = mutual_server(
            "127.0.0.1:0", lambda: served.credentials, served.authorizer, **options
        )
        bound.server.add_generic_rpc_handlers(echo.handlers())
        control_pb2_grpc.add_ControlServicer_to_server(
            control_pb2_grpc.ControlServicer(), bound.server
        )
        served.port = bound.port
        await bound.server.start()
        try:
            yield served
        finally:
            await bound.server.stop(0)

    return serving
