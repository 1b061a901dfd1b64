"""The whole state as bytes, and back: equal states have equal bytes.

    snapshot = magic, part*                     each part one value in MessagePack
    parts    = {version, epoch, sequence, layout, counts}, specs, then chunks of each table
    counts   = {number of a kind: its records}; a later version knows more kinds
    specs    = {digest: row} of the task specs, sorted
    chunk    = up to 500 rows, sorted by id

Rows and their layout are those of `pyswarm.wire.rows`. A task spec is written once, and
read back as one object, however many services and tasks have it; in its place they have its digest.
So a task's row depends on nothing but the task, and is kept for the next snapshot. A snapshot is
made in small pieces, so that the event loop goes on beside the thread that makes it; only the
pieces' join is one longer call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

import msgpack

from manager.state.apply import build
from manager.state.tables import KINDS, Record, View
from pyswarm.errors import DataLoss
from pyswarm.model import ServiceSpec, Task, TaskSpec
from pyswarm.wire import rows

MAGIC: Final = b"pyswarm state 3\n"

_CHUNK_ROWS: Final = 500
_DIGEST_BYTES: Final = 16
_SPECS: Final = ((Task, "spec"), (ServiceSpec, "task"))
"""Where task specs lie: there rows have the spec's digest."""

_BAD: Final = (
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError),
    msgpack.OutOfData,
)
"""What reading raises for bytes that are no snapshot."""

Rows = dict[str, tuple[Task, bytes]]
"""Of each task the record and its row."""


def encode_snapshot(view: View) -> bytes:
    """The state as bytes; pure on an immutable value, so any thread may do it."""
    return encode_again(view, {})[0]


def encode_again(view: View, known: Rows) -> tuple[bytes, Rows]:
    """The same bytes, made faster: with the rows that an earlier call has made, and those for the
    next one."""
    pack = msgpack.Packer(autoreset=True).pack
    specs = _Specs(pack)
    writers = rows.Writers(dict.fromkeys(_SPECS, specs.digest))
    kept: Rows = {}
    tables = []
    for kind in KINDS.values():
        write = writers.of(kind)
        records = view.tables[kind]
        for ids in _chunks(_sorted(records)):
            if kind is Task:
                tables.append(_task_chunk([records[each] for each in ids], known, kept, specs))
            else:
                tables.append(pack([write(records[each]) for each in ids]))
    head = {
        "version": view.version,
        "epoch": view.epoch,
        "sequence": view.sequence,
        "layout": rows.layout_of(KINDS.values()),
        "counts": {number: len(view.tables[kind]) for number, kind in KINDS.items()},
    }
    return b"".join([MAGIC, pack(head), pack(dict(sorted(specs.rows.items()))), *tables]), kept


def _task_chunk(tasks: list[Task], known: Rows, kept: Rows, specs: _Specs) -> bytes:
    """One chunk. A task that is the object of last time has the row of last time."""
    write, pack = specs.write_task, specs.pack
    packed = []
    for task in tasks:
        entry = known.get(task.id)
        if entry is None or entry[0] is not task:
            entry = (task, pack(write(task)))
        else:
            specs.digest(task.spec)
        kept[task.id] = entry
        packed.append(entry[1])
    return b"".join([msgpack.Packer().pack_array_header(len(tasks)), *packed])


class _Specs:
    """The task specs of a snapshot, each once."""

    def __init__(self, pack: Callable[[Any], bytes]) -> None:
        self.rows: dict[bytes, rows.Row] = {}
        self.pack = pack
        self.write_task = rows.Writers(dict.fromkeys(_SPECS, self.digest)).of(Task)
        self._by_identity: dict[int, bytes] = {}
        self._write = rows.Writers().of(TaskSpec)

    def digest(self, spec: TaskSpec) -> bytes:
        """The digest of a spec, which is put into `rows` if it is new."""
        # The view keeps every spec alive meanwhile, so an identity means one object.
        digest = self._by_identity.get(id(spec))
        if digest is None:
            row = self._write(spec)
            digest = blake2b(self.pack(row), digest_size=_DIGEST_BYTES).digest()
            self._by_identity[id(spec)] = digest
            self.rows[digest] = row
        return digest


def _chunks(ids: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(ids, _CHUNK_ROWS)):
        yield chunk


def _sorted(ids: Any) -> Iterator[str]:
    """All ids in order, without one long call: by their first characters, then each group."""
    groups: dict[str, list[str]] = {}
    for each in ids:
        groups.setdefault(each[:2], []).append(each)
    for start in sorted(groups):
        yield from sorted(groups[start])


def decode_snapshot(data: bytes) -> View:
    """The state back from its bytes; raises DataLoss where they are not a snapshot."""
    if not data.startswith(MAGIC):
        raise DataLoss("this is not a snapshot that this version of pyswarm can read")
    try:
        return _decode(data)
    except _BAD as error:
        raise DataLoss("the snapshot ends early or is damaged") from error


def _decode(data: bytes) -> View:
    # The counts have numbers for keys.
    unpacker = msgpack.Unpacker(use_list=False, strict_map_key=False, max_buffer_size=len(data))
    unpacker.feed(memoryview(data)[len(MAGIC) :])
    head = unpacker.unpack()
    layout = head["layout"]
    read_spec = rows.Readers(layout).of(TaskSpec)
    specs = {digest: read_spec(row) for digest, row in unpacker.unpack().items()}
    readers = rows.Readers(layout, dict.fromkeys(_SPECS, specs.__getitem__))
    tables: dict[type[Record], dict[str, Any]] = {kind: {} for kind in KINDS.values()}
    for number, count in head["counts"].items():
        kind = KINDS[number]
        read = readers.of(kind)
        table = tables[kind]
        while len(table) < count:
            table |= {record.id: record for record in map(read, unpacker.unpack())}
    view = build(tables)
    view.version, view.epoch, view.sequence = head["version"], head["epoch"], head["sequence"]
    return view


Capture = Callable[[], bytes]
"""Encodes the state of the moment at which it was made."""
