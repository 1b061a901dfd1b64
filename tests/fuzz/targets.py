"""Everything that reads the network or the disk before trust, as a target each.

A target promises: it returns, or raises the error that its caller expects, in bounded time and
memory. Readers of sealed files get their content unsealed, since behind a seal nothing would be
reached.
"""

from __future__ import annotations

import base64
import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from backups import BACKUPS
from fuzzing import Target
from google.protobuf.message import DecodeError
from specs import SERVICE_SPECS

import pyswarm  # noqa: F401  it goes before grpc
from agent.disk import WorkerState
from certs import keyfile, x509
from certs.disk import CertificateDirectory
from certs.keyring import KeyRing
from certs.seal import Cryptor
from certs.tokens import new_token, parse_token
from certs.unlock import Lock, WrongUnlockKey, parse_unlock_key
from manager.raft import codec, messages, snapshots, wal
from manager.raft.core import Write
from manager.raft.membership import (
    AddMember,
    Member,
    Membership,
    decode_change,
    decode_membership,
    encode_change,
    encode_membership,
)
from manager.raft.messages import Entry, EntryKind, SnapshotMeta
from manager.state.changes import Chain, encode_set
from manager.state.driver import Store
from manager.state.snapshot import decode_snapshot, encode_snapshot
from manager.state.store import Transaction
from manager.state.tables import KINDS, View
from overlay import dns
from pyswarm.api.v1 import raft_pb2
from pyswarm.compose import dotenv
from pyswarm.compose.context import Context
from pyswarm.compose.convert import convert
from pyswarm.compose.document import read as read_compose
from pyswarm.compose.marked import ComposeError
from pyswarm.daemon.membership import MembershipFile, SwarmMembership
from pyswarm.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    Unauthenticated,
)
from pyswarm.model import (
    Config,
    ContainerSpec,
    EndpointSpec,
    NodeRole,
    PayloadSpec,
    PortConfig,
    Service,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)
from pyswarm.rpc import Credentials, read_identity
from pyswarm.wire import decode, encode

MEMBERS = Membership.of([Member(1, "n1", "10.0.0.1:2377"), Member(2, "n2", "b:2", learner=True)])
META = SnapshotMeta(7, 2, MEMBERS)
LENGTH = struct.Struct("<I")


class Clear:
    """Seals nothing, so that what lies behind a seal is reached."""

    def encrypt(self, data: bytes, aad: bytes) -> bytes:
        return data

    def decrypt(self, data: bytes, aad: bytes) -> bytes:
        return data


def open_clear(body: bytes, aad: bytes) -> bytes:
    return body


# ---- the log and the snapshots of raft ----


def _writes() -> list[bytes]:
    entry = Entry(8, 2, EntryKind.NORMAL, b"a change")
    change = Entry(9, 2, EntryKind.MEMBERSHIP, encode_change(AddMember(Member(3, "n3", "c:3"))))
    return [
        wal.encode_owner(1, 2, 1, 7, 0),
        wal.encode_write(Write(2, 1, 7, (entry, change))),
        wal.encode_write(Write(3, 2, 9)),
        wal.encode_reset(3, 2, 9),
    ]


def read_wal(data: bytes) -> object:
    frames = wal.Frames(data, "file", may_be_torn=True)
    replay = wal.Replay()
    for record in wal.read_records(frames, 1, open_clear, "file"):
        replay.feed(record, "file")
    return replay.saved(META, 3, "file")


def read_wal_records(data: bytes) -> object:
    """The input is a list of records, each of them in a frame that is right."""
    framed, at = [], 0
    while at + LENGTH.size <= len(data):
        (length,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size
        framed.append(wal.frame(data[at : at + min(length, 4096)]))
        at += min(length, 4096)
    return read_wal(b"".join(framed))


def read_snapshot(data: bytes) -> object:
    return snapshots.assemble(wal.Frames(data, "file", may_be_torn=False), "file", open_clear)


def read_raft_messages(data: bytes) -> object:
    envelope = raft_pb2.RaftEnvelope.FromString(data)
    return [codec.to_wire(codec.from_wire(wire)) for wire in envelope.messages]


def _raft_envelope() -> bytes:
    head = {"sender": 1, "to": 2, "term": 3}
    entries = (Entry(8, 3, EntryKind.NORMAL, b"x"), Entry(9, 3, EntryKind.NOOP, b""))
    found = [
        messages.VoteRequest(**head, last_index=7, last_term=2, pre=True),
        messages.VoteReply(**head, granted=True),
        messages.Append(**head, prev_index=7, prev_term=2, commit=7, entries=entries),
        messages.AppendReply(**head, index=9),
        messages.Heartbeat(**head, commit=7, context=5),
        messages.ReadReply(**head, request=1 << 63, index=9),
        messages.TimeoutNow(**head),
    ]
    envelope = raft_pb2.RaftEnvelope(messages=[codec.to_wire(each) for each in found])
    return envelope.SerializeToString()


SEAL = Cryptor(bytes(32), bytes(16))


# ---- the state ----


def _service() -> Service:
    spec = ServiceSpec(
        name="web",
        task=TaskSpec(container=ContainerSpec(image="web", env=("A=1",))),
        endpoint=EndpointSpec(ports=(PortConfig(target_port=80, published_port=8080),)),
    )
    return Service(id="s" * 25, spec=spec)


def _state() -> Transaction:
    tx = Transaction(View(), 1.0)
    service = _service()
    tx.put(service)
    tx.put(Config(id="c" * 25, spec=PayloadSpec(name="site", data=b"x")))
    for slot in (1, 2):
        status = TaskStatus(state=TaskState.NEW, timestamp=1.0)
        spec = service.spec.task
        tx.put(Task(id=str(slot) * 25, service_id=service.id, slot=slot, spec=spec, status=status))
    return tx


STATE = _state().view
ENTRY = encode_set(Chain(1, 1, 0), _state().encoded()[0])


def _update() -> bytes:
    task = STATE.require(Task, "1" * 25)
    tx = Transaction(STATE, 2.0)
    tx.put(replace(task, status=TaskStatus(state=TaskState.RUNNING, timestamp=2.0), node_id="n1"))
    tx.delete(Config, "c" * 25)
    return encode_set(Chain(1, 1, 0), tx.encoded()[0])


def read_entry(data: bytes) -> object:
    store = Store()
    store.view = STATE
    store.apply(9, data)
    return store.capture()()


def read_any_record(data: bytes) -> object:
    """The first byte says of which kind."""
    kinds = list(KINDS.values())
    return decode(kinds[data[0] % len(kinds)], data[1:]) if data else None


# ---- files of a node ----


def in_folder(read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A reader of the bytes by way of a file "it", for those that read files."""

    def reads(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            path.joinpath("it").touch(mode=0o600)
            path.joinpath("it").write_bytes(data)
            return read(path)

    return reads


def read_node_pem(folder: Path) -> object:
    (folder / "it").rename(folder / "node.pem")
    return CertificateDirectory(folder).load()


def read_sealed_pem(folder: Path) -> object:
    (folder / "it").rename(folder / "node.pem")
    return CertificateDirectory(folder).load(UNLOCK_KEY)


def read_swarm_json(folder: Path) -> object:
    (folder / "it").rename(folder / "swarm.json")
    found = MembershipFile(folder).load()
    assert found is not None
    MembershipFile(folder).save(found)
    assert MembershipFile(folder).load() == found
    return found


def read_worker_files(folder: Path) -> object:
    state = WorkerState(folder / "worker")
    data = (folder / "it").read_bytes()
    for place in ("tasks/t1", "networks/n1", "managers", "node"):
        (folder / "worker" / place).write_bytes(data)
    return state.tasks(), state.networks(), state.managers(), state.node()


def _swarm_json() -> bytes:
    membership = SwarmMembership(
        node_id="n", cluster_id="c", address="192.0.2.1:2377", manager=True, managers=("a:1",)
    )
    with tempfile.TemporaryDirectory() as folder:
        MembershipFile(Path(folder)).save(membership)
        return Path(folder, "swarm.json").read_bytes()


# ---- certificates ----

KEY = x509.new_key()
ROOT_KEY = x509.new_key()
ROOT = x509.new_root(ROOT_KEY, "c" * 25, 1, 1e9)
REQUEST = x509.new_request(KEY)
CERTIFICATE = x509.issue(
    ROOT,
    ROOT_KEY,
    REQUEST,
    node_id="n" * 25,
    role=NodeRole.MANAGER,
    cluster_id="c" * 25,
    serial=3,
    now=1e9,
    life_seconds=1e6,
)
UNLOCK_KEY = b"u" * 32
OPENED = keyfile.KeyFile(
    key_pem=KEY, certificate_pem=CERTIFICATE, root_pem=ROOT, ring=KeyRing({1: b"k" * 32})
)
SEALED = replace(OPENED, lock=Lock(UNLOCK_KEY, 3))


def _der(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.strip().splitlines()[1:-1]))


def pem_of(label: bytes, read: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """A reader of PEM, given the DER inside."""

    def reads(data: bytes) -> object:
        body = base64.encodebytes(data)
        return read(b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, body, label))

    return reads


def read_certificate(pem: bytes) -> object:
    x509.to_der(pem)
    read_identity.__wrapped__(pem)  # without its memory of earlier ones
    x509.check_issued_by(pem, ROOT)
    x509.check_pair(pem, KEY)
    return Credentials(pem, KEY, ROOT).identity


# ---- compose files and other text ----


def text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """A reader of text, given bytes."""
    return lambda data: read(data.decode(errors="replace"))


def read_stack(source: str) -> object:
    document = read_compose([("compose.yml", source)], {"SET": "1"})
    return convert(document.tree, Context(stack="shop", folder="/srv/shop", environ={"SET": "1"}))


COMPOSE = b"""\
name: shop
x-base: &base
  image: "web:${SET:-1}"
  environment: {A: "1", B: null}
services:
  web:
    <<: *base
    ports: ["8080:80", {target: 443, published: "8443", mode: host}]
    deploy:
      replicas: 3
      resources: {limits: {cpus: "0.5", memory: 64M}}
      update_config: {parallelism: 2, delay: 10s, order: start-first}
    healthcheck: {test: ["CMD", "true"], interval: 1m30s}
    networks: {back: {aliases: [www]}}
    configs: [{source: site, target: /etc/site, mode: 0440}]
    volumes: ["data:/data:ro"]
networks: {back: {driver_opts: {a: "b"}, ipam: {config: [{subnet: 10.1.0.0/24}]}}}
configs: {site: {external: true}}
volumes: {data: {}}
"""
DNS_QUERY = bytes.fromhex("1234010000010000000000000377777703636f6d0000010001")
WORDS = (
    b"${",
    b"${A:-",
    b"}",
    b"$",
    b"&a ",
    b"*a",
    b"<<: ",
    b"[",
    b"{",
    b"- ",
    b": ",
    b"!!",
    b"\n",
)


TARGETS = (
    SERVICE_SPECS,
    *BACKUPS,
    Target("wal", read_wal, (DataLoss,), (b"".join(map(wal.frame, _writes())),), (b"PSW1",)),
    Target(
        "wal-records",
        read_wal_records,
        (DataLoss,),
        (b"".join(LENGTH.pack(len(each)) + each for each in _writes()),),
    ),
    Target(
        "raft-snapshot",
        read_snapshot,
        (DataLoss,),
        (b"".join(snapshots.pieces(META, b"the state", Clear())),),
        (b"PSW1",),
    ),
    Target(
        "raft-snapshot-head",
        snapshots.decode_meta,
        (ValueError,),
        (snapshots.encode_meta(META, 100),),
        (b"[", b"{", b'"a":', b"9" * 5000),
    ),
    Target("raft-messages", read_raft_messages, (ValueError, DecodeError), (_raft_envelope(),)),
    Target(
        "raft-members",
        decode_membership,
        (ValueError,),
        (encode_membership(MEMBERS),),
        (b"[", b"null", b"true", b"-1", b"1e999", b"9" * 5000),
    ),
    Target(
        "raft-change",
        decode_change,
        (ValueError,),
        (encode_change(AddMember(Member(3, "n3", "c:3"))), b'["remove", 3]'),
        (b"[", b"null", b"-1", b"9" * 5000),
    ),
    Target("state-entry", read_entry, (DataLoss,), (ENTRY, _update())),
    Target("state-snapshot", decode_snapshot, (DataLoss,), (encode_snapshot(STATE),)),
    Target(
        "record",
        read_any_record,
        (InvalidArgument,),
        tuple(
            bytes([number]) + encode(_service() if kind is Service else kind())
            for number, kind in enumerate(KINDS.values())
        ),
    ),
    Target("seal", SEAL.decrypt, (DataLoss,), (SEAL.encrypt(b"a record"),)),
    Target(
        "join-token",
        text(parse_token),
        (InvalidArgument,),
        (new_token("0" * 50, bytes(range(17))).encode(), "SWMTKN-1-\u0661".encode()),
        (b"-", b"SWMTKN-1-", "\u0661".encode()),
    ),
    Target("certificate-request", x509.request_key, (InvalidArgument,), (REQUEST,)),
    Target(
        "certificate-request-der",
        pem_of(b"CERTIFICATE REQUEST", x509.request_key),
        (InvalidArgument,),
        (_der(REQUEST),),
    ),
    Target(
        "certificate-der",
        pem_of(b"CERTIFICATE", read_certificate),
        (InvalidArgument, Unauthenticated, PermissionDenied, DataLoss),
        (_der(CERTIFICATE), _der(ROOT)),
    ),
    Target("server-certificate", x509.server_name, (InvalidArgument,), (_der(CERTIFICATE),)),
    Target(
        "node.pem",
        in_folder(read_node_pem),
        (DataLoss, FailedPrecondition),
        (KEY + CERTIFICATE + ROOT,),
        (b"-----BEGIN ", b"-----"),
    ),
    Target(
        "node.pem-sealed",
        in_folder(read_sealed_pem),
        (DataLoss, FailedPrecondition, WrongUnlockKey),
        (keyfile.encode(SEALED, bytes(16)), keyfile.encode(OPENED, bytes(16))),
        (
            b"-----BEGIN ",
            b"-----",
            b"PYSWARM DATA KEYS",
            b"PYSWARM SEALED KEYS",
            b"1 " + b"ab" * 32,
        ),
    ),
    Target("unlock-key", text(parse_unlock_key), (WrongUnlockKey,), (b"SWMKEY-1-" + b"A" * 43,)),
    Target(
        "swarm.json",
        in_folder(read_swarm_json),
        (DataLoss,),
        (_swarm_json(), json.dumps({"managers": []}).encode()),
        (b"[", b"{", b"null", b"true", b"1e999", b'"node_id": 1,', b'"managers": "ab",'),
    ),
    Target("worker-files", in_folder(read_worker_files), (), (encode(_service()), b"a:1\nb:2\n")),
    Target("compose", text(read_stack), (ComposeError,), (COMPOSE,), WORDS),
    Target(
        "dotenv",
        text(lambda source: dotenv.read(source, ".env", {"SET": "1"})),
        (ComposeError,),
        (b"A=1\nB=\"x ${A} y\" # note\nexport C='z'\nD=${SET:-2}\n",),
        (b"${", b"}", b'"', b"'", b"\\", b"$", b"=", b"#", b"\n"),
    ),
    Target("dns", dns.parse, (), (DNS_QUERY,), (b"\xc0\x0c", b"\x3f")),
)
BY_NAME = {target.name: target for target in TARGETS}
