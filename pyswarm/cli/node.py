"""`pyswarm node`: ls, inspect, ps, promote, demote, update, drain, rm."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from pyswarm.api.v1 import control_pb2
from pyswarm.cli import columns
from pyswarm.cli.commands import Parsers, command, group
from pyswarm.cli.connection import Connection
from pyswarm.cli.draining import wait_until_empty
from pyswarm.cli.each import for_each, inspect_each
from pyswarm.cli.formats import add_format, refuse_both, shown_as
from pyswarm.cli.jsonview import to_json
from pyswarm.cli.node_view import NodeFacts, node_facts, pretty
from pyswarm.cli.options import add_list_options, filters
from pyswarm.cli.pairs import key_values
from pyswarm.cli.sequence import in_sequence
from pyswarm.cli.service_flags import DURATION
from pyswarm.cli.tasks import TASK_FILTERS, list_tasks, show_tasks
from pyswarm.cli.top import add_node_top
from pyswarm.errors import InvalidArgument
from pyswarm.model import Availability, Cluster, Node, NodeRole, NodeSpec
from pyswarm.wire import from_message, to_message

_FILTERS = {
    "id": "ids",
    "name": "names",
    "label": "labels",
    "node.label": "node_labels",
    "role": "roles",
    "membership": "memberships",
}


def register(parsers: Parsers) -> None:
    """Add the commands."""
    node = group(parsers, "node", "Manage swarm nodes")
    listing = command(node, "ls", "List nodes in the swarm", _list, aliases=["list"])
    add_list_options(listing, truncates=False)
    inspect = command(node, "inspect", "Display detailed information on nodes", _inspect)
    inspect.add_argument("--pretty", action="store_true", help="Print it in a form for people")
    add_format(inspect)
    inspect.add_argument("refs", metavar="self|NODE", nargs="+")
    ps = command(node, "ps", "List tasks running on nodes, this one by default", _ps)
    add_list_options(ps)
    ps.add_argument("--no-resolve", action="store_true", help="Do not map IDs to Names")
    ps.add_argument("refs", metavar="NODE", nargs="*", default=["self"])
    add_node_top(node)
    promote = command(
        node, "promote", "Promote one or more nodes to manager in the swarm", _promote
    )
    promote.add_argument("refs", metavar="NODE", nargs="+")
    demote = command(node, "demote", "Demote one or more nodes from manager in the swarm", _demote)
    demote.add_argument("refs", metavar="NODE", nargs="+")
    update = command(node, "update", "Update a node", _update)
    update.add_argument("--availability", choices=("active", "pause", "drain"))
    update.add_argument("--role", choices=("worker", "manager"))
    update.add_argument("--label-add", action="append", default=[], help="key=value")
    update.add_argument("--label-rm", action="append", default=[], help="key")
    update.add_argument(
        "--wait", action="store_true", help="Return when a node that is drained is empty"
    )
    _add_timeout(update)
    update.add_argument("ref", metavar="NODE")
    drain = command(node, "drain", "Drain a node, and return when it is empty", _drain)
    _add_timeout(drain)
    drain.add_argument("ref", metavar="NODE")
    remove = command(node, "rm", "Remove nodes from the swarm", _remove)
    remove.add_argument("-f", "--force", action="store_true", help="even if it is not down")
    remove.add_argument("refs", metavar="NODE", nargs="+")


def _add_timeout(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=DURATION, default=600.0, help="How long to wait (10m; 0: for ever)"
    )


async def _get(connection: Connection, ref: str) -> Node:
    if ref == "self":
        info = await connection.call(connection.local.Info(control_pb2.Empty()))
        ref = info.node_id
    request = control_pb2.Reference(ref=ref)
    return from_message(Node, await connection.call(connection.control.GetNode(request)))


async def _list(args: Namespace, connection: Connection) -> int:
    request = control_pb2.ListRequest(filters=filters(args, _FILTERS))
    answer = await connection.call(connection.control.ListNodes(request))
    info = await connection.call(connection.local.Info(control_pb2.Empty()))
    nodes = [from_message(Node, m) for m in answer.nodes]
    facts = {}
    if args.format != "table":
        root = await _root(connection)
        tasks = await list_tasks(connection, control_pb2.Filters())
        facts = {node.id: node_facts(node, tasks, root) for node in nodes}
    columns.show_nodes(args, nodes, info.node_id, facts)
    return 0


async def _root(connection: Connection) -> str:
    """The digest of the root of which every certificate should be."""
    message = await connection.call(connection.control.GetCluster(control_pb2.Empty()))
    root = from_message(Cluster, message).root_ca
    return root.rotation.digest if root.rotation is not None else root.digest


async def _inspect(args: Namespace, connection: Connection) -> int:
    refuse_both(args)
    root = await _root(connection)

    async def one(ref: str) -> tuple[Node, NodeFacts]:
        node = await _get(connection, ref)
        tasks = await list_tasks(connection, control_pb2.Filters(nodes=[node.id]))
        return node, node_facts(node, tasks, root)

    if args.pretty:
        return await inspect_each(args.refs, one, _pretty)
    return await inspect_each(args.refs, lambda ref: _inspected(one(ref)), shown_as(args.format))


def _pretty(found: list[tuple[Node, NodeFacts]]) -> str:
    return "\n\n".join(pretty(node, facts, time.time()) for node, facts in found)


async def _inspected(found: Awaitable[tuple[Node, NodeFacts]]) -> dict[str, Any]:
    node, facts = await found
    return {**to_json(node), **to_json(facts)}


async def _ps(args: Namespace, connection: Connection) -> int:
    nodes = [await _get(connection, ref) for ref in args.refs]
    wanted = filters(args, TASK_FILTERS)
    wanted.nodes.extend(node.id for node in nodes)
    await show_tasks(args, connection, wanted)
    return 0


def changed_spec(args: Namespace, old: NodeSpec) -> NodeSpec:
    """The node's specification after the flags."""
    labels = dict(old.labels)
    for key in args.label_rm:
        if key not in labels:
            raise InvalidArgument(f"key {key} doesn't exist in node's labels")
        del labels[key]
    labels |= dict(key_values(text) for text in args.label_add)
    spec = replace(old, labels=labels)
    if args.availability:
        spec = replace(spec, availability=Availability[args.availability.upper()])
    if args.role:
        spec = replace(spec, role=NodeRole[args.role.upper()])
    return spec


async def _edit(connection: Connection, ref: str, edit: Callable[[NodeSpec], NodeSpec]) -> Node:
    """Store the node's specification after `edit`, where that changes it; the node before."""

    async def attempt() -> Node:
        node = await _get(connection, ref)
        spec = edit(node.spec)
        if spec != node.spec:
            request = control_pb2.UpdateNodeRequest(
                id=node.id, version=node.meta.version, spec=to_message(spec)
            )
            await connection.call(connection.control.UpdateNode(request))
        return node

    return await in_sequence(attempt)


async def _update(args: Namespace, connection: Connection) -> int:
    def edit(old: NodeSpec) -> NodeSpec:
        spec = changed_spec(args, old)
        if args.wait and spec.availability is not Availability.DRAIN:
            raise InvalidArgument("--wait can only be used with --availability drain")
        return spec

    node = await _edit(connection, args.ref, edit)
    if args.wait:
        return await wait_until_empty(connection, node, args.timeout)
    print(args.ref)
    return 0


async def _drain(args: Namespace, connection: Connection) -> int:
    drained = partial(replace, availability=Availability.DRAIN)
    node = await _edit(connection, args.ref, drained)
    return await wait_until_empty(connection, node, args.timeout)


async def _promote(args: Namespace, connection: Connection) -> int:
    return await _set_role(
        args, connection, NodeRole.MANAGER, "Node {} promoted to a manager in the swarm."
    )


async def _demote(args: Namespace, connection: Connection) -> int:
    return await _set_role(args, connection, NodeRole.WORKER, "Manager {} demoted in the swarm.")


async def _set_role(args: Namespace, connection: Connection, role: NodeRole, done: str) -> int:
    """Node after node; the first that is refused ends the command."""
    for ref in args.refs:
        node = await _edit(connection, ref, partial(replace, role=role))
        same = node.spec.role is role
        print(f"Node {ref} is already a {role.name.lower()}." if same else done.format(ref))
    return 0


async def _remove(args: Namespace, connection: Connection) -> int:
    def one(ref: str) -> Any:
        request = control_pb2.Reference(ref=ref, force=args.force)
        return connection.call(connection.control.RemoveNode(request))

    return await for_each(args.refs, one)
