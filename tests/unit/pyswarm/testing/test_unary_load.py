"""The load generator against grpcio's own server: what it counts was served, and what failed is
not counted."""

import asyncio

import pytest

from pyswarm.api.v1 import control_pb2, control_pb2_grpc
from pyswarm.errors import AlreadyExists
from pyswarm.rpc import local_server
from pyswarm.testing.unary_load import (
    DEFAULT_WINDOW,
    FRAME_BYTES_MOST,
    LoadClient,
    calls_per_second,
)

METHOD = "/pyswarm.api.v1.Control/CreateConfig"


class Configs(control_pb2_grpc.ControlServicer):
    """Takes every config, but no name twice."""

    def __init__(self):
        self.taken = {}

    async def CreateConfig(self, request, context):
        if request.spec.name in self.taken:
            raise AlreadyExists(f"config {request.spec.name} already exists")
        self.taken[request.spec.name] = request.spec.data
        return control_pb2.Created(id=f"id-of-{request.spec.name}")


def against(path, work):
    """What `work()` does in a thread beside a server; answers the server's configs."""

    async def main():
        configs, server = Configs(), local_server(path)
        control_pb2_grpc.add_ControlServicer_to_server(configs, server)
        await server.start()
        try:
            async with asyncio.timeout(60):
                await asyncio.to_thread(work)
        finally:
            await server.stop(None)
        return configs.taken

    return asyncio.run(main())


def requests(data=b"x"):
    number = 0

    def make():
        nonlocal number
        number += 1
        request = control_pb2.CreatePayloadRequest()
        request.spec.name, request.spec.data = f"config{number}", data
        return request.SerializeToString()

    return make


def one_after_the_other(client, count):
    while client.calls < count:
        client.ask()
        while not client.take():
            pass


def test_what_is_counted_was_served(tmp_path):
    rates = []
    taken = against(
        tmp_path / "s",
        lambda: rates.append(calls_per_second(tmp_path / "s", METHOD, requests(), 3, 0.2)),
    )
    assert 0 < rates[0] * 0.2 <= len(taken)
    assert set(taken.values()) == {b"x"}


def test_more_bytes_are_sent_than_the_servers_window_has(tmp_path):
    data = bytes(FRAME_BYTES_MOST - 100)

    def work():
        client = LoadClient(tmp_path / "s", METHOD, requests(data))
        one_after_the_other(client, 12)
        client.close()

    taken = against(tmp_path / "s", work)
    assert len(taken) == 12
    assert set(taken.values()) == {data}
    assert sum(map(len, taken.values())) > 2 * DEFAULT_WINDOW


def test_a_call_that_fails_is_told_and_not_counted(tmp_path):
    same = requests()()

    def work():
        client = LoadClient(tmp_path / "s", METHOD, lambda: same)
        one_after_the_other(client, 1)
        with pytest.raises(AssertionError, match="already exists"):
            one_after_the_other(client, 2)
        assert client.calls == 1
        client.close()

    assert len(against(tmp_path / "s", work)) == 1
