"""`pyswarm stats`, `service top` and `node top`: what tasks use, live."""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import ArgumentParser, Namespace
from typing import Any, Final

from pyswarm.aio import Supervisor
from pyswarm.api.v1 import control_pb2, observe_pb2
from pyswarm.cli.commands import Parsers, command
from pyswarm.cli.connection import Connection
from pyswarm.cli.render import human_size, natural_key, short_id, table
from pyswarm.errors import InvalidArgument

CLEAR: Final = "\033[H\033[2J"
HEADERS: Final = (
    "ID",
    "NAME",
    "NODE",
    "CPU %",
    "MEM USAGE / LIMIT",
    "MEM %",
    "NET I/O",
    "BLOCK I/O",
    "PIDS",
)
_DECIMAL_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


def register(parsers: Parsers) -> None:
    """Add `stats`."""
    stats = command(parsers, "stats", "Display what tasks use, all by default", _stats)
    add_options(stats)
    stats.add_argument("refs", metavar="TASK", nargs="*")


def add_service_top(parsers: Parsers) -> None:
    """Add `service top`."""
    top = command(parsers, "top", "Display what the tasks of services use", _service_top)
    add_options(top)
    top.add_argument("refs", metavar="SERVICE", nargs="+")


def add_node_top(parsers: Parsers) -> None:
    """Add `node top`."""
    top = command(parsers, "top", "Display what the tasks of nodes use, of this by default", _node)
    add_options(top)
    top.add_argument("refs", metavar="self|NODE", nargs="*", default=["self"])


def add_options(parser: ArgumentParser) -> None:
    """The options of all three."""
    parser.add_argument("--no-stream", action="store_true", help="Only the first result")
    parser.add_argument("--no-trunc", action="store_true", help="Do not truncate output")
    parser.add_argument("--interval", type=float, default=1.0, help="Seconds between two looks")
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="table, or one JSON a line"
    )


def decimal_size(size_bytes: int) -> str:
    """Three digits and a decimal unit: "1.45kB" (go-units' HumanSizeWithPrecision)."""
    size, unit = float(size_bytes), 0
    while size >= 1000 and unit < len(_DECIMAL_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g}{_DECIMAL_UNITS[unit]}"


def stats_row(stats: Any, node: str, full: bool) -> tuple[str, ...]:
    """The cells of one task."""
    limit = stats.memory_limit_bytes
    share = f"{100 * stats.memory_bytes / limit:.2f}%" if limit else "--"
    received, sent = stats.network_received_bytes, stats.network_sent_bytes
    return (
        stats.task_id if full else short_id(stats.task_id),
        stats.task_name.rpartition(".")[0],
        node,
        f"{stats.cpu_percent:.2f}%",
        f"{human_size(stats.memory_bytes)} / {human_size(limit) if limit else '--'}",
        share,
        f"{decimal_size(received)} / {decimal_size(sent)}",
        f"{decimal_size(stats.block_read_bytes)} / {decimal_size(stats.block_written_bytes)}",
        str(stats.pids),
    )


_KEYS: Final = (
    *("ID", "Name", "Node", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"),
)


class Board:
    """The last look of each node."""

    def __init__(self, full: bool) -> None:
        self._full = full
        self._batches: dict[str, Any] = {}

    def take(self, batch: Any) -> None:
        """A look, or why there is none."""
        self._batches[batch.node_id] = batch

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each task, by name."""
        found = [
            stats_row(stats, batch.node_name, self._full)
            for batch in self._batches.values()
            for stats in batch.tasks
        ]
        return sorted(found, key=lambda row: (natural_key(row[1]), row[0]))

    def problems(self) -> list[str]:
        """A sentence for each node that does not answer."""
        return sorted({batch.problem for batch in self._batches.values() if batch.problem})

    def text(self, form: str) -> str:
        """Everything, as a table or as lines of JSON."""
        if form == "json":
            return "\n".join(json.dumps(dict(zip(_KEYS, r, strict=True))) for r in self.rows())
        return table(HEADERS, self.rows())


async def _stats(args: Namespace, connection: Connection) -> int:
    request = observe_pb2.StatsRequest()
    for ref in args.refs:
        reference = control_pb2.Reference(ref=ref)
        found = await connection.find("task", ref, connection.control.GetTask(reference))
        request.tasks.append(found.id)
    return await _show(args, connection, request)


async def _service_top(args: Namespace, connection: Connection) -> int:
    request = observe_pb2.StatsRequest()
    for ref in args.refs:
        reference = control_pb2.Reference(ref=ref)
        found = await connection.find("service", ref, connection.control.GetService(reference))
        request.services.append(found.id)
    return await _show(args, connection, request)


async def _node(args: Namespace, connection: Connection) -> int:
    request = observe_pb2.StatsRequest()
    for ref in args.refs:
        if ref == "self":
            info = await connection.call(connection.local.Info(control_pb2.Empty()))
            request.nodes.append(info.node_id)
        else:
            reference = control_pb2.Reference(ref=ref)
            found = await connection.call(connection.control.GetNode(reference))
            request.nodes.append(found.id)
    return await _show(args, connection, request)


async def _show(args: Namespace, connection: Connection, request: observe_pb2.StatsRequest) -> int:
    if not 0 < args.interval <= 3600:
        raise InvalidArgument("--interval must be more than 0 and at most 3600 seconds")
    request.interval_seconds, request.once = args.interval, args.no_stream
    board = Board(args.no_trunc)
    if args.no_stream:
        async for batch in connection.stream(connection.observe.Stats(request)):
            board.take(batch)
        if text := board.text(args.format):
            print(text)
        for problem in board.problems():
            print(f"Warning: {problem}", file=sys.stderr)
        return 1 if board.problems() else 0
    async with Supervisor("screen") as supervisor:
        supervisor.start(_paint(args, board), "paint")
        async for batch in connection.follow(lambda: connection.observe.Stats(request)):
            board.take(batch)
    return 0


async def _paint(args: Namespace, board: Board) -> None:
    """Each interval the whole table; problems below it on a terminal, once elsewhere."""
    is_terminal, told = sys.stdout.isatty(), set[str]()
    while True:
        await asyncio.sleep(args.interval)
        text, problems = board.text(args.format), board.problems()
        if is_terminal and args.format == "table":
            print("\n".join([f"{CLEAR}{text}", *(f"Warning: {each}" for each in problems)]))
        elif text:
            print(text)
        sys.stdout.flush()
        for each in problems:
            if each not in told and not (is_terminal and args.format == "table"):
                print(f"Warning: {each}", file=sys.stderr, flush=True)
        told = set(problems)
