"""`pyswarm info` and `pyswarm version`."""

from __future__ import annotations

import json
import platform
from argparse import Namespace
from typing import Any

from google.protobuf.json_format import MessageToDict

from pyswarm import __version__
from pyswarm.api.v1 import control_pb2
from pyswarm.cli.commands import Parsers, command
from pyswarm.cli.connection import Connection
from pyswarm.cli.render import human_size
from pyswarm.errors import SwarmError


def register(parsers: Parsers) -> None:
    """Add the commands."""
    for name, text, run in (
        ("info", "Display system-wide information", _info),
        ("version", "Show the version information", _version),
    ):
        parser = command(parsers, name, text, run)
        parser.add_argument("--format", choices=("table", "json"), default="table")


def info_text(info: Any) -> str:
    """What `info` prints."""
    lines = [
        f"Server Version: {info.version}",
        f"Name: {info.hostname}",
        f"Containers: {info.containers}",
        f" Running: {info.containers_running}",
        f"Runtime: {info.runtime or 'not available'}",
        f"Kernel Version: {info.kernel}",
        f"Operating System: {info.operating_system}",
        f"Architecture: {info.architecture}",
        f"CPUs: {info.cpus}",
        f"Total Memory: {human_size(info.memory_bytes)}",
        f"State Directory: {info.state_directory}",
        f"Swarm: {info.state}",
    ]
    if info.error:
        lines.append(f" Error: {info.error}")
    if info.node_id:
        lines += [
            f" NodeID: {info.node_id}",
            f" Is Manager: {str(info.manager).lower()}",
            f" Node Address: {info.address}",
        ]
    if info.manager and info.state != "locked":
        lines += [
            f" ClusterID: {info.cluster_id}",
            f" Managers: {info.managers}",
            f" Nodes: {info.nodes}",
            f" Leader: {info.leader_address or 'none'}",
            f" Raft Term: {info.raft_term}",
            f" Raft Applied: {info.raft_applied}",
        ]
    if info.manager_addresses:
        lines.append(" Manager Addresses:")
        lines += [f"  {address}" for address in info.manager_addresses]
    return "\n".join(lines)


async def _info(args: Namespace, connection: Connection) -> int:
    info = await connection.call(connection.local.Info(control_pb2.Empty()))
    if args.format == "json":
        fields = MessageToDict(
            info, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        print(json.dumps(fields))
    else:
        print(info_text(info))
    return 0


async def _version(args: Namespace, connection: Connection) -> int:
    client = {"Version": __version__, "Python": platform.python_version(), "Os": "linux"}
    server: dict[str, str] | None = None
    problem = ""
    try:
        info = await connection.call(connection.local.Info(control_pb2.Empty()))
        server = {"Version": info.version, "Python": info.python, "Os": "linux"}
    except SwarmError as error:
        problem = error.message
    if args.format == "json":
        print(json.dumps({"Client": client, "Server": server}))
    else:
        for title, values in (("Client", client), ("Server", server)):
            if values is not None:
                print(f"{title}:")
                for key, value in values.items():
                    print(f" {key + ':':<9} {value}")
    if problem:
        raise SwarmError(problem)
    return 0
