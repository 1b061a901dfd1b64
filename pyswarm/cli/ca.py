"""`pyswarm swarm ca`: shows the root, and rotates it."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.commands import Parsers, command
from pyswarm.cli.connection import Connection
from pyswarm.cli.flags.declared import checked
from pyswarm.cli.pairs import parts
from pyswarm.cli.service_flags import DURATION
from pyswarm.cli.waiting import Painter
from pyswarm.errors import InvalidArgument, Unavailable
from pyswarm.model import Cluster, ExternalCA, Node, NodeState
from pyswarm.wire import from_message, to_message

POLL_SECONDS: Final = 0.2
LEADERLESS_SECONDS: Final = 60.0
"""How long the progress outlives managers that do not answer; the rotation itself goes on."""
FILE_BYTES_MOST: Final = 64 * 1024
NAMES_SHOWN: Final = 5


def register(swarm: Parsers) -> None:
    """Add the command to the group `swarm`."""
    ca = command(swarm, "ca", "Display and rotate the root CA", _ca)
    ca.add_argument("--rotate", action="store_true", help="Rotate the swarm CA")
    ca.add_argument("--ca-cert", metavar="PEM-FILE", help="root CA certificate to rotate to")
    ca.add_argument("--ca-key", metavar="PEM-FILE", help="key of that root CA certificate")
    ca.add_argument("--cert-expiry", type=DURATION, help="Validity of node certificates (2160h)")
    add_external_ca(ca)
    # Not `detach`: what Ctrl-C says to that is of services.
    ca.add_argument(
        "-d", "--detach", dest="background", action="store_true", help="Do not wait for the end"
    )
    ca.add_argument("-q", "--quiet", action="store_true", help="Suppress progress output")


def add_external_ca(parser: ArgumentParser) -> None:
    """The flag that names who signs instead of the managers."""
    parser.add_argument(
        "--external-ca",
        action="append",
        default=[],
        type=checked("external-ca", external_ca),
        metavar="protocol=cfssl,url=URL[,cacert=PEM-FILE]",
        help="Who signs certificates instead of the managers",
    )


def external_ca(text: str) -> ExternalCA:
    """The one of `protocol=cfssl,url=URL[,cacert=FILE]`; InvalidArgument in Docker's words."""
    fields = {}
    for field in parts(text, "external CA"):
        key, equals, value = field.partition("=")
        if not equals:
            raise InvalidArgument(f"invalid field '{field}' must be a key=value pair")
        fields[key.strip().lower()] = value
    protocol, url = fields.pop("protocol", ""), fields.pop("url", "")
    if not protocol:
        raise InvalidArgument("the external-ca option needs a protocol= parameter")
    if protocol.lower() != "cfssl":
        raise InvalidArgument(f"unrecognized external CA protocol {protocol}")
    if not url:
        raise InvalidArgument("the external-ca option needs a url= parameter")
    certificate = fields.pop("cacert", "")
    if fields:
        raise InvalidArgument(f"the external-ca option has no parameter {sorted(fields)[0]}")
    return ExternalCA(url=url, certificate_pem=_read(certificate) if certificate else b"")


def _read(path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"unable to read {path}: {error.strerror}") from error
    if len(content) > FILE_BYTES_MOST:
        raise InvalidArgument(f"{path} is larger than a PEM file of one certificate or key")
    return content


def request_of(args: Namespace) -> control_pb2.RotateRootRequest:
    """What the flags of `ca --rotate` ask for; InvalidArgument where they do not fit."""
    if args.external_ca and not args.ca_cert:
        raise InvalidArgument(
            "rotating to an external CA requires the `--ca-cert` flag to specify the external "
            "CA's cert - to add an external CA with the current root CA certificate, use the "
            "`update` command instead"
        )
    if args.ca_key and not args.ca_cert:
        raise InvalidArgument("the --ca-key flag requires the --ca-cert flag as well")
    if args.ca_cert and not args.external_ca and not args.ca_key:
        raise InvalidArgument(
            "the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag be "
            "provided as well"
        )
    certificate = _read(args.ca_cert) if args.ca_cert else b""
    key = _read(args.ca_key) if args.ca_key else b""
    cas = [
        each if each.certificate_pem else ExternalCA(url=each.url, certificate_pem=certificate)
        for each in args.external_ca
    ]
    return control_pb2.RotateRootRequest(
        certificate=certificate,
        key=key,
        external_cas=[to_message(each) for each in cas],
        certificate_life_seconds=args.cert_expiry or 0,
    )


async def _ca(args: Namespace, connection: Connection) -> int:
    if not args.rotate:
        for flag in ("ca_cert", "ca_key", "cert_expiry", "external_ca"):
            if getattr(args, flag):
                name = flag.replace("_", "-")
                raise InvalidArgument(
                    f"`--{name}` flag requires the `--rotate` flag to update the CA"
                )
        cluster = await _cluster(connection)
        print(cluster.root_ca.certificate_pem.decode(), end="")
        return 0
    await connection.call(connection.control.RotateRoot(request_of(args)))
    if args.background:
        return 0
    cluster = await _wait(connection, args.quiet)
    print(cluster.root_ca.certificate_pem.decode(), end="")
    return 0


async def _cluster(connection: Connection) -> Cluster:
    message = await connection.call(connection.control.GetCluster(control_pb2.Empty()))
    return from_message(Cluster, message)


async def _wait(connection: Connection, quiet: bool) -> Cluster:
    painter, heard = Painter(), time.monotonic()
    while True:
        try:
            cluster = await _cluster(connection)
            answer = await connection.call(connection.control.ListNodes(control_pb2.ListRequest()))
            heard = time.monotonic()
        except Unavailable:
            # A leader that goes does not end the rotation.
            if time.monotonic() - heard > LEADERLESS_SECONDS:
                raise
        else:
            progress = measure(cluster, [from_message(Node, each) for each in answer.nodes])
            if not quiet:
                painter.show(progress.lines())
            if progress.over:
                return cluster
        await asyncio.sleep(POLL_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationProgress:
    """How far a rotation is: of `total` nodes, those with a certificate of the new root, and those
    that trust nothing else. `missing` names nodes that are waited for, and are not there."""

    digest: str
    total: int
    certificates: int
    roots: int
    missing: tuple[str, ...] = ()
    over: bool = False

    def lines(self) -> list[str]:
        """What the user sees."""
        shown = [
            f"desired root digest: sha256:{self.digest}",
            f"  rotated TLS certificates:  {self.certificates}/{self.total} nodes",
            f"  rotated CA certificates:   {self.roots}/{self.total} nodes",
        ]
        if self.missing:
            names = ", ".join(self.missing[:NAMES_SHOWN])
            more = len(self.missing) - NAMES_SHOWN
            shown.append(
                f"  waiting for {names}{f' and {more} more' if more > 0 else ''}, not "
                "ready: the rotation ends once they are back, or removed with 'pyswarm node rm'"
            )
        return shown


def measure(cluster: Cluster, nodes: Iterable[Node]) -> RotationProgress:
    """The progress of the rotation that is under way, or of the one that has just ended.

    A node that is away counts as done once the rotation is over: it has its certificate.
    """
    root, nodes = cluster.root_ca, list(nodes)
    wanted, certificate = root.digest, root.certificate_pem
    if root.rotation is not None:
        wanted, certificate = root.rotation.digest, root.rotation.certificate_pem
    done = [node for node in nodes if node.description.certificate_root == wanted]
    alone = [node for node in done if node.description.trusted_roots == (wanted,)]
    lagging = [node for node in nodes if node not in done]
    up = [node for node in nodes if node.status.state == NodeState.READY]
    return RotationProgress(
        digest=hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).hexdigest(),
        total=len(nodes),
        certificates=len(done),
        roots=len(alone),
        missing=tuple(n.hostname for n in lagging if n.status.state != NodeState.READY),
        over=root.rotation is None and all(node in alone for node in up),
    )
