"""One of three managers, as a process: the consensus alone, as `manager.driver` puts it together.

Its directory holds `node.pem`. Lines on standard input are commands, each answered by one line of
JSON: `lead` waits for a leader and answers whether this is it; `write CLIENTS SECONDS` counts the
proposals that so many writers have committed and applied here in that time.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from certs.disk import CertificateDirectory
from manager.raft.driver import RaftNode
from manager.raft.membership import Member, Membership
from manager.raft.transport import PeerTransport
from manager.server import ACCESS
from pyswarm.daemon import interpreter
from pyswarm.model.identity import node_name
from pyswarm.rpc import Authorizer, caller, mutual_server, secure_channel

CLUSTER_ID = "bench"
PAYLOAD_BYTES = 1024
TIMEOUT_SECONDS = 30.0


class CountingMachine:
    """A state machine that costs nothing: the figure is the consensus, not the store."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, index: int, data: bytes) -> None:
        """Count."""
        self.count += 1

    def capture(self) -> Callable[[], bytes]:
        """The count."""
        count = self.count
        return lambda: str(count).encode()

    def restore(self, index: int, data: bytes) -> None:
        """The count of a snapshot; that of a new cluster is empty."""
        self.count = int(data or b"0")


async def lead(node: RaftNode) -> dict[str, object]:
    """Wait for a leader."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not node.leader_id or (node.leader_id == node.raft_id and not node.is_leader):
        assert time.monotonic() < deadline, "no leader was elected"
        await asyncio.sleep(0.05)
    return {"leads": node.is_leader}


async def write(node: RaftNode, clients: int, seconds: float) -> dict[str, object]:
    """Writers that each wait for one proposal before the next."""
    end = time.monotonic() + seconds
    data = os.urandom(PAYLOAD_BYTES)

    took: list[float] = []

    async def writer() -> None:
        while (begun := time.monotonic()) < end:
            await node.propose(data, TIMEOUT_SECONDS)
            took.append(time.monotonic() - begun)

    begun = time.monotonic()
    await asyncio.gather(*(writer() for _ in range(clients)))
    rate = len(took) / (time.monotonic() - begun)
    return {"per_second": rate, "ms_p50": statistics.median(took) * 1000}


async def run(number: int, root: Path, ports: list[int], profile: Path | None) -> None:
    """Serve until standard input ends."""
    directory = CertificateDirectory(root / str(number))
    credentials = directory.load()
    assert credentials is not None, f"{directory.path} holds no certificate"
    members = [Member(i, f"node{i}", f"127.0.0.1:{port}") for i, port in enumerate(ports, 1)]
    address = members[number - 1].address
    authorizer = Authorizer(ACCESS, CLUSTER_ID, lambda node_id: False)
    server = mutual_server(address, lambda: credentials, authorizer).server
    transport = PeerTransport(
        address=address,
        connect=lambda to, node_id: secure_channel(to, credentials, node_name(node_id)),
        authorize=lambda _context: caller().node_id,
    )
    transport.add_to(server)
    node = RaftNode(
        number,
        directory.path / "raft",
        directory.cryptor(),
        transport,
        CountingMachine(),
        bootstrap=Membership.of(members),
    )
    await server.start()
    await node.start()
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().split():
        if line[0] == "lead":
            answer = await lead(node)
        else:
            profiler = cProfile.Profile()
            if profile is not None:
                profiler.enable()
            answer = await write(node, int(line[1]), float(line[2]))
            profiler.disable()
            if profile is not None:
                profiler.dump_stats(profile)
        print(json.dumps(answer), flush=True)
    await node.stop(transfer=False)
    await server.stop(None)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("number", type=int)
    parser.add_argument("root", type=Path)
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--profile", type=Path, help="write what the leader costs, for pstats")
    arguments = parser.parse_args()
    interpreter.run(run(arguments.number, arguments.root, arguments.ports, arguments.profile))


if __name__ == "__main__":
    main()
