"""`pyswarm swarm`: init, join, join-token, leave, update; the others have modules of their own."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from typing import Any, Final

from pyswarm.api.v1 import control_pb2, local_pb2
from pyswarm.cli import ca, recovery, unlock
from pyswarm.cli.commands import Parsers, command, group
from pyswarm.cli.connection import Connection
from pyswarm.cli.flags.declared import DURATION, whole
from pyswarm.cli.sequence import in_sequence
from pyswarm.cli.unlock import add_autolock, how_to_unlock, unlock_key
from pyswarm.errors import InvalidArgument
from pyswarm.model import Cluster, ClusterSpec, ImagePolicy, PlacementStrategy
from pyswarm.wire import from_message, to_message


def register(parsers: Parsers) -> None:
    """Add the commands."""
    swarm = group(parsers, "swarm", "Manage the swarm")
    init = command(swarm, "init", "Initialize a swarm", _init)
    init.add_argument("--advertise-addr", default="", help="Advertised address (ADDR or interface)")
    init.add_argument(
        "--availability", default="active", choices=("active", "pause", "drain"), help="of the node"
    )
    init.add_argument("--data-path-port", type=whole(), default=0, help="UDP port of VXLAN (4789)")
    init.add_argument("--default-addr-pool", action="append", default=[], help="in CIDR format")
    init.add_argument("--default-addr-pool-mask-length", type=whole(), default=24, help="(24)")
    init.add_argument(
        "--force-new-cluster",
        action="store_true",
        help="Go on with this manager alone, after the others were lost",
    )
    init.add_argument(
        "--dry-run", action="store_true", help="with --force-new-cluster: only say what it does"
    )
    _add_settings(init)
    init.set_defaults(untouched=vars(init.parse_args([])))
    join = command(swarm, "join", "Join a swarm as a node and/or manager", _join)
    join.add_argument("--token", required=True, help="Token for entry into the swarm")
    join.add_argument("--advertise-addr", default="", help="Advertised address (ADDR or interface)")
    join.add_argument(
        "--availability", default="active", choices=("active", "pause", "drain"), help="of the node"
    )
    join.add_argument("address", metavar="HOST:PORT", nargs="+", help="managers of the swarm")
    token = command(swarm, "join-token", "Manage join tokens", _join_token)
    token.add_argument("role", metavar="worker|manager")
    token.add_argument("-q", "--quiet", action="store_true", help="Only display token")
    token.add_argument("--rotate", action="store_true", help="Rotate join token")
    leave = command(swarm, "leave", "Leave the swarm", _leave)
    leave.add_argument("-f", "--force", action="store_true", help="also as a manager")
    update = command(swarm, "update", "Update the swarm", _update)
    _add_settings(update)
    ca.register(swarm)
    unlock.register(swarm)
    recovery.register(swarm)


def _add_settings(parser: Any) -> None:
    parser.add_argument(
        "--cert-expiry", type=DURATION, help="Validity of node certificates (2160h)"
    )
    parser.add_argument("--dispatcher-heartbeat", type=DURATION, help="Heartbeat period (1s)")
    parser.add_argument(
        "--dispatcher-heartbeat-misses", type=whole(), help="missed beats until a node is down (3)"
    )
    parser.add_argument(
        "--task-history-limit", type=whole(-1), help="Task history retention limit (5)"
    )
    parser.add_argument("--snapshot-interval", type=whole(), help="Log entries between snapshots")
    for name, read, text in _IMAGES:
        parser.add_argument(f"--image-{name}", type=read, help=text)
    parser.add_argument(
        "--placement-strategy",
        choices=[each.name.lower() for each in PlacementStrategy],
        help="spread tasks over nodes (default), or fill one node after the other",
    )
    ca.add_external_ca(parser)
    add_autolock(parser)


_IMAGES: Final = (
    ("max-age", DURATION, "Nodes remove images that nothing needed for so long (168h; 0s: never)"),
    ("grace", DURATION, "Images stay at least so long after their last use (1h)"),
    ("disk-high", whole(), "Percent of disk use from which images are removed (85; 0: never)"),
    ("disk-low", whole(), "Percent of disk use at which that ends (75)"),
)


def _image_policy(args: Namespace, old: ImagePolicy) -> ImagePolicy:
    given = {
        "max_age_seconds": args.image_max_age,
        "grace_seconds": args.image_grace,
        "disk_high_percent": args.image_disk_high,
        "disk_low_percent": args.image_disk_low,
    }
    return replace(old, **{key: value for key, value in given.items() if value is not None})


def settings_of(args: Namespace, old: ClusterSpec) -> ClusterSpec:
    """The cluster's settings with those that the flags name."""
    strategy = args.placement_strategy
    given = {
        "certificate_life_seconds": args.cert_expiry,
        "heartbeat_period_seconds": args.dispatcher_heartbeat,
        "heartbeat_misses": args.dispatcher_heartbeat_misses,
        "task_history_limit": args.task_history_limit,
        "snapshot_interval_entries": args.snapshot_interval,
        "autolock": args.autolock,
        "external_cas": tuple(args.external_ca) or None,
        "images": _image_policy(args, old.images),
        "placement_strategy": strategy and PlacementStrategy[strategy.upper()],
    }
    return replace(old, **{key: value for key, value in given.items() if value is not None})


async def _init(args: Namespace, connection: Connection) -> int:
    if args.force_new_cluster:
        _require_no_settings(args)
        return await recovery.force_new_cluster(args, connection)
    if args.dry_run:
        raise InvalidArgument("--dry-run belongs to --force-new-cluster")
    answer = await connection.call(
        connection.local.Init(
            local_pb2.InitRequest(
                advertise_address=args.advertise_addr,
                address_pools=args.default_addr_pool,
                subnet_bits=args.default_addr_pool_mask_length,
                vxlan_port=args.data_path_port,
                availability=args.availability,
                spec=to_message(settings_of(args, ClusterSpec())),
            )
        )
    )
    print(
        f"Swarm initialized: current node ({answer.node_id}) is now a manager.\n\n"
        "To add a worker to this swarm, run the following command:\n\n"
        f"    pyswarm swarm join --token {answer.worker_token} {answer.manager_address}\n\n"
        "To add a manager to this swarm, run 'pyswarm swarm join-token manager' and follow the "
        "instructions."
    )
    if args.autolock:
        print("\n" + how_to_unlock(await unlock_key(connection)))
    return 0


def _require_no_settings(args: Namespace) -> None:
    """Refuse flags of a new swarm where an old one goes on."""
    known = {"force_new_cluster", "dry_run", "advertise_addr"}
    for name, default in args.untouched.items():
        if name not in known and getattr(args, name) != default:
            raise InvalidArgument(
                f"--{name.replace('_', '-')} is of a new swarm, and --force-new-cluster keeps the "
                "settings of this one: change them afterwards with 'pyswarm swarm update' or "
                "'pyswarm node update'"
            )


async def _join(args: Namespace, connection: Connection) -> int:
    answer = await connection.call(
        connection.local.Join(
            local_pb2.JoinRequest(
                token=args.token,
                addresses=args.address,
                advertise_address=args.advertise_addr,
                availability=args.availability,
            )
        )
    )
    print(f"This node joined a swarm as a {'manager' if answer.manager else 'worker'}.")
    return 0


async def _join_token(args: Namespace, connection: Connection) -> int:
    if args.role not in ("worker", "manager"):
        raise InvalidArgument(f"unknown role {args.role}: use worker or manager")
    if args.rotate:
        request = control_pb2.UpdateClusterRequest(
            rotate_worker_token=args.role == "worker", rotate_manager_token=args.role == "manager"
        )
        await connection.call(connection.control.UpdateCluster(request))
        if not args.quiet:
            print(f"Successfully rotated {args.role} join token.\n")
    tokens = await connection.call(connection.control.GetJoinTokens(control_pb2.Empty()))
    token = tokens.manager if args.role == "manager" else tokens.worker
    if args.quiet:
        print(token)
    else:
        print(
            f"To add a {args.role} to this swarm, run the following command:\n\n"
            f"    pyswarm swarm join --token {token} {tokens.manager_address}\n"
        )
    return 0


async def _leave(args: Namespace, connection: Connection) -> int:
    await connection.call(connection.local.Leave(local_pb2.LeaveRequest(force=args.force)))
    print("Node left the swarm.")
    return 0


async def _update(args: Namespace, connection: Connection) -> int:
    async def attempt() -> tuple[ClusterSpec, ClusterSpec]:
        message = await connection.call(connection.control.GetCluster(control_pb2.Empty()))
        cluster = from_message(Cluster, message)
        spec = settings_of(args, cluster.spec)
        if spec == cluster.spec:
            raise InvalidArgument(
                "nothing to update: name a setting, see 'pyswarm swarm update -h'"
            )
        request = control_pb2.UpdateClusterRequest(
            version=cluster.meta.version, spec=to_message(spec)
        )
        await connection.call(connection.control.UpdateCluster(request))
        return cluster.spec, spec

    old, new = await in_sequence(attempt)
    print("Swarm updated.")
    if new.autolock and not old.autolock:
        print(how_to_unlock(await unlock_key(connection)))
    return 0
