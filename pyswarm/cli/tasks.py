"""Tables of tasks, as `node ps`, `service ps` and `stack ps` show them."""

from __future__ import annotations

from argparse import Namespace

from pyswarm.api.v1 import control_pb2
from pyswarm.cli import columns
from pyswarm.cli.connection import Connection
from pyswarm.model import Node, Task
from pyswarm.wire import from_message

TASK_FILTERS = {
    "id": "ids",
    "name": "names",
    "label": "labels",
    "node": "nodes",
    "desired-state": "desired_states",
}


async def node_names(connection: Connection) -> dict[str, str]:
    """Each node's name by its id."""
    answer = await connection.call(connection.control.ListNodes(control_pb2.ListRequest()))
    return {n.id: n.hostname for n in (from_message(Node, m) for m in answer.nodes)}


async def list_tasks(connection: Connection, wanted: control_pb2.Filters) -> list[Task]:
    """The tasks that match."""
    request = control_pb2.ListRequest(filters=wanted)
    answer = await connection.call(connection.control.ListTasks(request))
    return [from_message(Task, message) for message in answer.tasks]


async def show_tasks(
    args: Namespace, connection: Connection, wanted: control_pb2.Filters
) -> list[Task]:
    """Print the tasks that match; `--filter node=` takes names as well as ids."""
    names = await node_names(connection)
    ids = {name: node_id for node_id, name in names.items()}
    nodes = [ids.get(ref, ref) for ref in wanted.nodes]
    del wanted.nodes[:]
    wanted.nodes.extend(nodes)
    tasks = await list_tasks(connection, wanted)
    columns.show_tasks(args, tasks, {} if args.no_resolve else names)
    return tasks
