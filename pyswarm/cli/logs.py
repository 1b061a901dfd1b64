"""`service logs`, `stack logs` and `task logs`: the output of many tasks in the order of time,
stdout to stdout, stderr to stderr, each line with its task."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Final

from manager.logs.subscription import Positions
from pyswarm.api.v1 import control_pb2
from pyswarm.cli.connection import REOPEN_SECONDS, REOPEN_TRIES, Connection
from pyswarm.cli.flags.declared import checked, is_whole
from pyswarm.cli.moments import moment, nano_text
from pyswarm.cli.render import short_id
from pyswarm.cli.tasks import list_tasks, node_names
from pyswarm.errors import InvalidArgument, NotFound, Unavailable
from pyswarm.model import Task
from pyswarm.model.logdrivers import pattern

GAP_SECONDS: Final = 5.0
"""A line may be so much older than those that were shown before it: it was on its way."""


def add_log_options(parser: ArgumentParser) -> None:
    """The options of `logs`."""
    parser.add_argument("-f", "--follow", action="store_true", help="Follow log output")
    parser.add_argument(
        *("-n", "--tail"),
        type=checked("tail", _tail),
        default=-1,
        help="Lines of each task from the end (all)",
    )
    parser.add_argument("--since", default="", help="From this time on (2026-01-02T13:23:37Z, 42m)")
    parser.add_argument("--until", default="", help="Up to this time (2026-01-02T13:23:37Z, 42m)")
    parser.add_argument("-t", "--timestamps", action="store_true", help="Show timestamps")
    parser.add_argument("--details", action="store_true", help="Show what the log options name")
    parser.add_argument("--raw", action="store_true", help="Do not name the task of a line")
    parser.add_argument("--no-trunc", action="store_true", help="Do not truncate ids")
    parser.add_argument("--no-resolve", action="store_true", help="Do not map IDs to Names")
    parser.add_argument("--no-task-ids", action="store_true", help="Do not include task IDs")
    parser.add_argument("--filter", action="append", default=[], help="node=NAME")
    parser.add_argument("--grep", default="", metavar="PATTERN", help="Only lines that match")


def _tail(text: str) -> int:
    if text != "all" and not is_whole(text):
        raise InvalidArgument("use a number of lines or all")
    return -1 if text == "all" else int(text)


async def logs_request(args: Namespace, connection: Connection) -> control_pb2.LogsRequest:
    """The request that the options make, without the services; raises InvalidArgument."""
    now = time.time()
    request = control_pb2.LogsRequest(
        follow=args.follow,
        tail=args.tail,
        since=moment(args.since, now) if args.since else 0.0,
        until=moment(args.until, now) if args.until else 0.0,
    )
    for text in args.filter:
        key, equals, value = text.partition("=")
        if not equals or key != "node":
            raise InvalidArgument(f"invalid filter '{text}', use node=NAME")
        reference = control_pb2.Reference(ref=value)
        request.nodes.append((await connection.call(connection.control.GetNode(reference))).id)
    return request


async def find_tasks(connection: Connection, ref: str, what: str) -> list[str]:
    """The ids of the tasks that an id, the start of one, or `service.slot` means; raises NotFound,
    where `what` was looked for, or InvalidArgument."""
    found = await list_tasks(connection, control_pb2.Filters(names=[ref]))
    named = [task.id for task in found if ref in (task.name, task.name.rpartition(".")[0])]
    if named:
        return named
    found = await list_tasks(connection, control_pb2.Filters(ids=[ref]))
    if len(found) > 1 and ref not in {task.id for task in found}:
        raise InvalidArgument(f"task {ref} is ambiguous: use a longer part of the id")
    if not found:
        raise NotFound(f"no such {what}: {ref}")
    return [ref if ref in {task.id for task in found} else found[0].id]


class _Names:
    """The prefix of each line, `web.1.abc123def456@node`, looked up once for each task."""

    def __init__(self, connection: Connection, args: Namespace) -> None:
        self._connection = connection
        self._args = args
        self._tasks: dict[str, Task | None] = {}
        self._nodes: dict[str, str] = {}

    async def task(self, line: control_pb2.LogLine) -> Task | None:
        """The line's task; None where the managers have forgotten it."""
        if line.task_id not in self._tasks:
            self._nodes = await node_names(self._connection)
            wanted = control_pb2.Filters(services=[line.service_id])
            self._tasks |= {t.id: t for t in await list_tasks(self._connection, wanted)}
            self._tasks.setdefault(line.task_id, None)
        return self._tasks[line.task_id]

    async def of(self, line: control_pb2.LogLine) -> str:
        """Who wrote the line."""
        task = await self.task(line)
        node = line.node_id if self._args.no_resolve else self._nodes.get(line.node_id, "")
        task_id = line.task_id if self._args.no_trunc else short_id(line.task_id)
        service = "" if task is None else task.service_name
        parts = [line.service_id if self._args.no_resolve or task is None else service]
        if task is not None:
            parts.append(str(task.slot or task.node_id))
        if not self._args.no_task_ids or task is None:
            parts.append(task_id)
        return f"{'.'.join(parts)}@{node or line.node_id}"


def details(task: Task) -> str:
    """`key=value` of the labels and variables that the log options `labels` and `env`, and those
    with `-regex`, name."""
    options, container = task.spec.log_options, task.spec.container
    variables = dict(entry.partition("=")[::2] for entry in container.env)
    found = {key: container.labels[key] for key in _words(options, "labels", container.labels)}
    found |= {key: variables[key] for key in _words(options, "env", variables)}
    return ",".join(f"{key}={found[key]}" for key in sorted(found))


def _words(options: Mapping[str, str], option: str, known: Mapping[str, str]) -> list[str]:
    words = [word for word in options.get(option, "").split(",") if word in known]
    regex = options.get(f"{option}-regex", "")
    return words + [word for word in known if regex and pattern(regex).search(word)]


class _Printer:
    """Prints lines in the form that the options ask for."""

    def __init__(self, args: Namespace, connection: Connection) -> None:
        self._args = args
        self._names = _Names(connection, args)
        self._width = 0
        try:
            self._pattern = re.compile(args.grep.encode())
        except re.error as error:
            raise InvalidArgument(f"--grep {args.grep}: {error}") from error

    async def text(self, line: control_pb2.LogLine) -> str | None:
        """What is shown of a line; None where it is not wanted."""
        if not self._pattern.search(line.data):
            return None
        parts = []
        if self._args.timestamps:
            parts.append(f"{nano_text(line.timestamp)} ")
        if not self._args.raw:
            name = await self._names.of(line)
            self._width = max(self._width, len(name))
            parts.append(f"{name.ljust(self._width)}    | ")
        if self._args.details:
            task = await self._names.task(line)
            if said := details(task) if task is not None else "":
                parts.append(f"{said} ")
        parts.append(line.data.decode(errors="replace").rstrip("\r\n"))
        return "".join(parts)


class Follower:
    """The requests of one who follows: what was shown is not asked for again."""

    def __init__(self, request: control_pb2.LogsRequest, begun: float) -> None:
        self.request = request
        self._positions = Positions()
        # Without a tail nothing that is older than the command is wanted.
        self._least = max(request.since, begun if request.tail == 0 else 0.0)

    def is_new(self, line: control_pb2.LogLine) -> bool:
        """Whether the line was not shown before; it counts as shown from here on."""
        return not self.request.follow or self._positions.take(line.task_id, line.timestamp)

    def resume(self) -> None:
        """Let the next request go on where the last one was cut off."""
        if self._positions.last:
            since = self._positions.resume(self._positions.last) - GAP_SECONDS
        elif self.request.tail == 0:
            since = 0.0
        else:
            return
        self.request.tail = -1
        self.request.since = max(self._least, since)


async def show_logs(
    args: Namespace, connection: Connection, request: control_pb2.LogsRequest
) -> int:
    """Print what comes; exit code 1 where some node could not answer. Who follows goes on where
    the leader changes."""
    printer, follower = _Printer(args, connection), Follower(request, time.time())
    code = failures = 0
    while True:
        try:
            async for chunk in connection.stream(connection.control.Logs(request)):
                failures = 0
                if chunk.problem:
                    print(f"Warning: {chunk.problem}", file=sys.stderr, flush=True)
                    code = 1
                for line in chunk.lines:
                    # Its task may have to be asked for, which may fail: only then it is shown.
                    text = await printer.text(line)
                    if follower.is_new(line) and text is not None:
                        stream = sys.stderr if line.stderr else sys.stdout
                        print(text, file=stream, flush=True)
            return code
        except Unavailable:
            failures += 1
            if not request.follow or failures > REOPEN_TRIES:
                raise
            await asyncio.sleep(REOPEN_SECONDS)
            follower.resume()
