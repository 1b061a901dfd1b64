"""`pyswarm volume`: create, ls, inspect, rm, prune, release."""

from __future__ import annotations

import asyncio
import secrets
import sys
from argparse import Namespace
from collections.abc import Collection
from typing import Any, Final

from pyswarm.api.v1 import control_pb2, volumes_pb2
from pyswarm.cli.commands import Parsers, command, group
from pyswarm.cli.connection import Connection
from pyswarm.cli.each import for_each, inspect_each
from pyswarm.cli.formats import add_format, shown_as
from pyswarm.cli.jsonview import timestamp
from pyswarm.cli.options import add_list_options, filters
from pyswarm.cli.pairs import key_values
from pyswarm.cli.render import clean
from pyswarm.cli.tasks import node_names
from pyswarm.cli.usage_text import decimal_size
from pyswarm.cli.volume_listings import VolumeSeen, volumes
from pyswarm.errors import InvalidArgument, NotFound, SwarmError
from pyswarm.model import Node, Volume, VolumeSpec
from pyswarm.wire import from_message, to_message

REMOVAL_SECONDS: Final = 60.0
"""How long a removal waits for its nodes; one that is down removes it when it is back."""

_FILTERS = {"name": "names", "label": "labels", "driver": "drivers"}
_WARNING = """WARNING! This will remove {what} on all nodes.
Are you sure you want to continue? [y/N] """


def register(parsers: Parsers) -> None:
    """Add the commands."""
    volume = group(parsers, "volume", "Manage volumes")
    create = command(volume, "create", "Create a volume", _create)
    create.add_argument("-d", "--driver", default="local", help="Volume driver (local)")
    create.add_argument("--label", action="append", default=[], help="Labels of the volume")
    create.add_argument("-o", "--opt", action="append", default=[], help="Driver options")
    create.add_argument("name", metavar="VOLUME", nargs="?", default="")
    listing = command(volume, "ls", "List volumes", _list, aliases=["list"])
    add_list_options(listing, truncates=False)
    inspect = command(volume, "inspect", "Display detailed information on volumes", _inspect)
    add_format(inspect)
    inspect.add_argument("refs", metavar="VOLUME", nargs="+")
    remove = command(volume, "rm", "Remove volumes on all their nodes", _remove, aliases=["remove"])
    remove.add_argument("-f", "--force", action="store_true", help="No error where there is none")
    remove.add_argument("refs", metavar="VOLUME", nargs="+")
    prune = command(volume, "prune", "Remove unused volumes on all nodes", _prune)
    prune.add_argument("-a", "--all", action="store_true", help="Named volumes, too")
    prune.add_argument("-f", "--force", action="store_true", help="Do not ask")
    prune.add_argument("--filter", action="append", default=[], help="label=KEY[=VALUE]")
    release = command(
        volume,
        "release",
        "Give up a volume's data on a node, so that its tasks go elsewhere",
        _release,
    )
    release.add_argument("--node", default="", help="default: each node that takes no tasks now")
    release.add_argument("refs", metavar="VOLUME", nargs="+")


async def _create(args: Namespace, connection: Connection) -> int:
    spec = VolumeSpec(
        name=args.name or secrets.token_hex(32),
        labels=dict(key_values(text) for text in args.label),
        driver=args.driver,
        driver_options=dict(key_values(text) for text in args.opt),
    )
    request = volumes_pb2.CreateVolumeRequest(spec=to_message(spec))
    await connection.call(connection.volumes.CreateVolume(request))
    print(spec.name)
    return 0


def _seen(message: Any) -> VolumeSeen:
    return VolumeSeen(
        volume=from_message(Volume, message.volume),
        services=tuple(message.services),
        tasks=tuple(message.tasks),
    )


async def _list(args: Namespace, connection: Connection) -> int:
    dangling = [text.partition("=")[2] for text in args.filter if text.startswith("dangling=")]
    if any(word.lower() not in ("true", "1", "false", "0") for word in dangling):
        raise InvalidArgument("invalid filter 'dangling', use true or false")
    args.filter = [text for text in args.filter if not text.startswith("dangling=")]
    request = control_pb2.ListRequest(filters=filters(args, _FILTERS))
    answer = await connection.call(connection.volumes.ListVolumes(request))
    found = [_seen(message) for message in answer.volumes]
    for word in dangling:
        unused = word.lower() in ("true", "1")
        found = [s for s in found if unused != bool(s.services or s.tasks)]
    text = volumes(found, await node_names(connection)).text(args.format, quiet=args.quiet)
    if text:
        print(text)
    return 0


def _details(seen: VolumeSeen, names: dict[str, str]) -> dict[str, Any]:
    volume = seen.volume
    return {
        "CreatedAt": timestamp(volume.meta.created_at),
        "Driver": volume.spec.driver or "local",
        "ID": volume.id,
        "Labels": dict(volume.spec.labels),
        "Name": volume.spec.name,
        "Nodes": [
            {
                "ID": node.node_id,
                "Hostname": names.get(node.node_id, node.node_id),
                "CreatedAt": timestamp(node.created_at),
                "Slots": list(node.slots),
                "Released": node.released,
            }
            for node in volume.nodes
        ],
        "Options": dict(volume.spec.driver_options),
        "Removing": volume.pending_delete,
        "Scope": "swarm",
        "UsedBy": {"Services": list(seen.services), "Tasks": list(seen.tasks)},
    }


async def volume_details(ref: str, connection: Connection) -> dict[str, Any]:
    """What `inspect` shows of a volume; raises NotFound."""
    call = connection.volumes.GetVolume(control_pb2.Reference(ref=ref))
    seen = _seen(await connection.call(call))
    return _details(seen, await node_names(connection))


async def _inspect(args: Namespace, connection: Connection) -> int:
    async def one(ref: str) -> dict[str, Any]:
        try:
            return await volume_details(ref, connection)
        except NotFound as error:
            raise SwarmError(f"get {ref}: no such volume") from error

    return await inspect_each(args.refs, one, shown_as(args.format))


async def _remove(args: Namespace, connection: Connection) -> int:
    async def one(ref: str) -> None:
        try:
            call = connection.volumes.GetVolume(control_pb2.Reference(ref=ref))
            name = (await connection.call(call)).volume.spec.name
            reference = control_pb2.Reference(ref=name)
            await connection.call(connection.volumes.RemoveVolume(reference))
        except NotFound as error:
            if args.force:
                return
            raise NotFound(f"get {ref}: no such volume") from error
        await _until_gone(connection, {name})

    return await for_each(args.refs, one)


async def _prune(args: Namespace, connection: Connection) -> int:
    labels = []
    for text in args.filter:
        key, _, value = text.partition("=")
        if key != "label" or not value:
            raise InvalidArgument(f"invalid filter '{text}', use label=KEY[=VALUE]")
        labels.append(value)
    what = "all volumes" if args.all else "volumes without a name of their own"
    if not args.force:
        answer = await asyncio.to_thread(input, _WARNING.format(what=f"{what} not in use"))
        if answer.strip().lower() not in ("y", "yes"):
            raise SwarmError("volume prune has been cancelled")
    request = volumes_pb2.PruneVolumesRequest(all=args.all, labels=labels)
    names = list((await connection.call(connection.volumes.PruneVolumes(request))).names)
    if names:
        print("Deleted Volumes:")
        print("\n".join(names), flush=True)
    freed = await _until_gone(connection, set(names))
    print(f"\nTotal reclaimed space: {decimal_size(freed)}" if names else _nothing())
    return 0


def _nothing() -> str:
    return f"Total reclaimed space: {decimal_size(0)}"


async def _release(args: Namespace, connection: Connection) -> int:
    async def one(ref: str) -> None:
        request = volumes_pb2.ReleaseVolumeRequest(ref=ref, node=args.node)
        await connection.call(connection.volumes.ReleaseVolume(request))

    return await for_each(args.refs, one)


async def _until_gone(connection: Connection, names: Collection[str]) -> int:
    """Wait until the nodes have removed these volumes, and answer the bytes that this freed.

    A node that is down cannot: that is said, and not waited for.
    """
    waiting, freed = set(names), 0
    volumes_left: dict[str, Volume] = {}
    nodes: dict[str, Node] = {}
    request = control_pb2.WatchRequest(kinds=["volume", "node"], follow=True)
    try:
        async with asyncio.timeout(REMOVAL_SECONDS):
            async for event in connection.stream(connection.control.Watch(request)):
                if not waiting:
                    return freed
                kind = event.WhichOneof("object")
                if kind == "node":
                    node = from_message(Node, event.node)
                    nodes[node.id] = node
                elif kind == "volume":
                    volume = from_message(Volume, event.volume)
                    volumes_left[volume.spec.name] = volume
                    if event.action == control_pb2.WatchEvent.DELETE:
                        if volume.spec.name in waiting:
                            freed += volume.freed_bytes
                        waiting.discard(volume.spec.name)
                        del volumes_left[volume.spec.name]
                elif event.action == control_pb2.WatchEvent.SYNCED:
                    # Those that went before the watch began.
                    waiting &= volumes_left.keys()
                if not waiting or _only_down(waiting, volumes_left, nodes):
                    break
    except TimeoutError:
        pass
    for name in sorted(waiting):
        left = volumes_left.get(name)
        where = (
            [nodes[n.node_id].hostname for n in left.nodes if n.node_id in nodes] if left else []
        )
        print(
            clean(f"volume {name}: its removal waits for {', '.join(where) or 'its nodes'}"),
            file=sys.stderr,
        )
    return freed


def _only_down(waiting: Collection[str], left: dict[str, Volume], nodes: dict[str, Node]) -> bool:
    """Whether all that is left is on nodes that are down."""
    holders = {n.node_id for name in waiting if name in left for n in left[name].nodes}
    known = all(name in left and left[name].pending_delete for name in waiting)
    down = all(i in nodes and nodes[i].status.state.name != "READY" for i in holders)
    return known and bool(holders) and down
