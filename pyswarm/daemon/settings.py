"""The daemon's settings: one record, made from its command line."""

from __future__ import annotations

import socket
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 2377


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the daemon keeps things and whom it talks to."""

    state_directory: Path = Path("/var/lib/pyswarm")
    run_directory: Path = Path("/run/pyswarm")
    containerd_socket: Path = Path("/run/containerd/containerd.sock")
    hostname: str = ""
    advertise_address: str = ""
    listen_port: int = DEFAULT_PORT
    insecure_registries: tuple[str, ...] = ()
    cgroup_parent: str = "/pyswarm"
    engine_labels: tuple[str, ...] = ()

    @property
    def socket_path(self) -> Path:
        """The unix socket of the command line."""
        return self.run_directory / "pyswarm.sock"


def add_options(parser: ArgumentParser) -> None:
    """The options of `pyswarm daemon`."""
    default = Settings()
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=default.state_directory,
        help="what must survive a reboot (default %(default)s)",
    )
    parser.add_argument(
        "--run-dir",
        type=Path,
        default=default.run_directory,
        help="sockets, namespaces, secrets in memory (default %(default)s)",
    )
    parser.add_argument(
        "--containerd-socket",
        type=Path,
        default=default.containerd_socket,
        help="the socket of containerd (default %(default)s)",
    )
    parser.add_argument("--hostname", default="", help="the node's name (default: the machine's)")
    parser.add_argument(
        "--advertise-addr", default="", help="this node's address (default: of the default route)"
    )
    parser.add_argument(
        "--listen-port",
        type=int,
        default=DEFAULT_PORT,
        help="port of managers (default %(default)s); the next one is for joining nodes",
    )
    parser.add_argument(
        "--insecure-registry",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="a registry that speaks HTTP; HOST alone is each of its ports",
    )
    parser.add_argument(
        "--cgroup-parent", default=default.cgroup_parent, help="cgroup of the containers"
    )
    parser.add_argument(
        "--label", action="append", default=[], metavar="KEY=VALUE", help="an engine label"
    )
    parser.add_argument("--debug", action="store_true", help="log more")


def from_arguments(args: Namespace) -> Settings:
    """The settings that the command line asks for."""
    return Settings(
        state_directory=args.state_dir.absolute(),
        run_directory=args.run_dir.absolute(),
        containerd_socket=args.containerd_socket.absolute(),
        hostname=args.hostname or socket.gethostname(),
        advertise_address=args.advertise_addr,
        listen_port=args.listen_port,
        insecure_registries=tuple(args.insecure_registry),
        cgroup_parent=args.cgroup_parent,
        engine_labels=tuple(args.label),
    )
