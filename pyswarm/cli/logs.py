"""Prints logs of many tasks: stdout to stdout, stderr to stderr, each line with its task."""

from __future__ import annotations

import sys
from argparse import Namespace

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.connection import Connection
from pyswarm.cli.jsonview import timestamp
from pyswarm.cli.render import short_id
from pyswarm.cli.tasks import list_tasks, node_names
from pyswarm.model import Task


class _Names:
    """The prefix of each line, `web.1.abc123def456@node`, looked up once for each task."""

    def __init__(self, connection: Connection, full: bool) -> None:
        self._connection = connection
        self._full = full
        self._tasks: dict[str, Task] = {}
        self._nodes: dict[str, str] = {}

    async def of(self, line: control_pb2.LogLine) -> str:
        if line.task_id not in self._tasks:
            self._nodes = await node_names(self._connection)
            tasks = await list_tasks(
                self._connection, control_pb2.Filters(services=[line.service_id])
            )
            self._tasks |= {task.id: task for task in tasks}
        node = self._nodes.get(line.node_id, line.node_id)
        task_id = line.task_id if self._full else short_id(line.task_id)
        task = self._tasks.get(line.task_id)
        if task is None:
            return f"{task_id}@{node}"
        return f"{task.service_name}.{task.slot or task.node_id}.{task_id}@{node}"


async def show_logs(
    args: Namespace, connection: Connection, request: control_pb2.LogsRequest
) -> int:
    """Print what comes; exit code 1 where some node could not answer."""
    names, width, code = _Names(connection, args.no_trunc), 0, 0
    async for chunk in connection.stream(connection.control.Logs(request)):
        if chunk.problem:
            print(f"Warning: {chunk.problem}", file=sys.stderr)
            code = 1
        for line in chunk.lines:
            prefix = ""
            if not args.raw:
                name = await names.of(line)
                width = max(width, len(name))
                prefix = f"{name.ljust(width)} | "
            if args.timestamps:
                prefix = f"{timestamp(line.timestamp)} {prefix}"
            out = sys.stderr if line.stderr else sys.stdout
            text = line.data.decode(errors="replace").rstrip("\n")
            print(f"{prefix}{text}", file=out, flush=True)
    return code
